"""Sees torch's losses being called, wherever in the code within, and changes nothing.

A `TorchFunctionMode` is held strictly around one call of a trainer (a training step). Open
across a `yield` it could take somebody else's mode off the stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from weightslab.capture.loss import FUNCTIONS
from weightslab.capture.tap import observable

__all__ = ["LossMode", "Seen"]

Seen = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any], torch.Tensor], None]
"""Hears of a loss function, its arguments and its result, right after the call."""


class LossMode(TorchFunctionMode):
    """Tells `seen` of every loss function of torch that is called within."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = {} if kwargs is None else kwargs
        result = func(*args, **kwargs)
        if func in FUNCTIONS and isinstance(result, torch.Tensor) and observable(result):
            self._seen(func, args, kwargs, result)
        return result
