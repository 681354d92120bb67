"""What defines a signal of the user's: its name, its function, and when it is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Signal"]


@dataclass(frozen=True, slots=True)
class Signal:
    """One definition. Names are without the prefix of a column, `signals//`."""

    name: str
    function: Callable[[Any], Any]
    """Takes a `SignalContext`; gives a number, or None for no value."""
    subscribe_to: str | None = None
    """The signal whose values fire this one; None: it is static, computed on request."""
    every: int = 1
    """It fires at each n-th distinct step of the subscribed signal."""
    include_history: bool = False
    include_history_metadata: bool = False
    log: bool = True
    """Whether its values also feed the global curve."""
    batched: bool = False
    """Whether one call takes a whole batch of B values and gives [B] back."""

    @property
    def is_dynamic(self) -> bool:
        """Whether values of another signal fire it."""
        return self.subscribe_to is not None
