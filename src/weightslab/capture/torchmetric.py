"""torchmetrics objects as watched signals: batch values and what `compute` says.

torchmetrics is never imported here: an object that is one has loaded it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from weightslab.capture.patch import InstancePatch
from weightslab.capture.tap import Tap

__all__ = ["watch_torchmetric"]

_Method = Callable[..., Any]


def watch_torchmetric(metric: Any, tap: Tap) -> Any:
    """Watch a metric in place; the same object comes back.

    `forward` records the value of its batch, `compute` called by the user the
    value so far. Watching it again replaces the name that it is kept under.
    """
    around = _Around(tap)
    for method in ("forward", "update", "compute"):
        # Not by setattr: torchmetrics and nn.Module look at what is assigned.
        metric.__dict__[method] = InstancePatch(metric, method, getattr(around, method))
    return metric


class _Around:
    """What the three methods of a watched metric do beside their work."""

    def __init__(self, tap: Tap) -> None:
        self.tap = tap
        self._depth = 0

    def forward(self, original: _Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given, rest = self.tap.take(kwargs)
        kept = kwargs if rest is None else rest
        self._depth += 1  # `forward` calls `update` and `compute` on the way
        try:
            result = original(*args, **kept)
        finally:
            self._depth -= 1
        if result is not None:
            self.tap.record(None, args, kept, result, given, scalar_is_fine=True)
        return result

    def update(self, original: _Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        _, rest = self.tap.take(kwargs)
        return original(*args, **(kwargs if rest is None else rest))

    def compute(self, original: _Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = original(*args, **kwargs)
        if self._depth == 0:
            self.tap.record(None, args, kwargs, result, {}, curve_only=True)
        return result
