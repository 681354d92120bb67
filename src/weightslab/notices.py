"""What went wrong without stopping anything: said once, counted always."""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Hashable

from weightslab.errors import WeightsLabWarning

__all__ = ["Notices"]


_INSIDE = frozenset({"contextlib", "torch", "weightslab"})
"""Packages through which a call comes from a user's line to a notice."""


class Notices:
    """Counts events by key and warns of each key once.

    A warning filter that turns warnings into errors must not end a training
    run, so a raised `WeightsLabWarning` is dropped here; the count remains.
    Safe to call from any thread.
    """

    def __init__(self) -> None:
        self._counts: Counter[Hashable] = Counter()
        self._messages: dict[Hashable, str] = {}
        self._lock = threading.Lock()

    def warn_once(self, key: Hashable, message: str, *, count: int = 1) -> None:
        """Add `count` to `key`; the first time, also warn with `message`."""
        with self._lock:
            first = key not in self._messages
            self._counts[key] += count
            if first:
                self._messages[key] = message
        if first:
            with contextlib.suppress(WeightsLabWarning):
                warnings.warn(message, WeightsLabWarning, stacklevel=_users_level())

    def forget(self, key: Hashable) -> None:
        """Let `key` be said again, after what caused it has passed."""
        with self._lock:
            self._messages.pop(key, None)

    def counts(self) -> dict[str, int]:
        """Number of events by key, as text, for the status."""
        with self._lock:
            return {str(key): number for key, number in self._counts.items()}

    def messages(self) -> list[str]:
        """Every message that was said, in order."""
        with self._lock:
            return list(self._messages.values())


def _users_level() -> int:
    """The `stacklevel` of a warning that shows the user's line, not one of ours."""
    level, frame = 2, sys._getframe(2)  # noqa: SLF001  # `inspect.stack` reads source files
    while frame.f_back is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _INSIDE:
            break
        level, frame = level + 1, frame.f_back
    return level
