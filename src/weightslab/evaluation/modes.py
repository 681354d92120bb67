"""While a background thread evaluates a model, nobody else switches it to train or eval mode.

That thread puts the mode back as it found it: a `model.train()` in between, at the top of
a loop that begins, would be undone, and training would go on in eval mode.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["held_modes"]

_TRAIN = "train"


class _Waiting:
    """Stands in for `train` of one model, which `eval` calls as well; copies get their own."""

    def __init__(self, model: Any, wait: Callable[[], None]) -> None:
        self._model = model
        self._original: Callable[..., Any] = model.train
        self._wait = wait
        self._evaluating = threading.get_ident()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != self._evaluating:
            self._wait()
        return self._original(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, str]]:
        return (getattr, (self._model, _TRAIN))


@contextmanager
def held_modes(models: Iterable[Any], wait: Callable[[], None]) -> Iterator[None]:
    """Within, `train()` and `eval()` of these models call `wait` first, on every other thread."""
    held = []
    for model in dict.fromkeys(models):
        if hasattr(model, "__dict__") and callable(getattr(model, _TRAIN, None)):
            held.append((model.__dict__, model.__dict__.get(_TRAIN)))
            # Not by setattr: nn.Module looks at what is assigned.
            model.__dict__[_TRAIN] = _Waiting(model, wait)
    try:
        yield
    finally:
        for attributes, former in held:
            if former is None:
                attributes.pop(_TRAIN, None)
            else:
                attributes[_TRAIN] = former
