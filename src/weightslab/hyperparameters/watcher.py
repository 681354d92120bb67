"""The thread that looks after a file: it polls, since not every file system tells of a change."""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

from weightslab.errors import InputError
from weightslab.notices import Notices

__all__ = ["POLL_S", "Watched", "Watcher", "checked_interval"]

POLL_S = 1.0
"""How often a file is looked at where nobody says it."""
_SHORTEST_S = 0.01
_LONGEST_S = 86_400.0
_TICK_S = 1.0
"""How often a thread that waits for longer sees whether it is still needed."""


class Watched(Protocol):
    """What looks at its file when it is told to."""

    notices: Notices

    def look(self, wait: Callable[[float], bool]) -> None:
        """Take up what stands in the file; `wait` waits, and says whether to give up."""


def checked_interval(interval_s: object) -> float:
    """A poll interval in seconds.

    Raises:
        InputError: it is no number between 0.01 and a day.
    """
    is_number = isinstance(interval_s, (int, float)) and not isinstance(interval_s, bool)
    seconds = float(interval_s) if is_number else math.nan  # type: ignore[arg-type]
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise InputError(
            f"poll_interval is a number of seconds from {_SHORTEST_S} to {_LONGEST_S:.0f}, "
            f"got {interval_s!r}"
        )
    return seconds


class Watcher:
    """A daemon thread that makes `watched` look, until it is stopped or nobody holds `watched`."""

    def __init__(self, watched: Watched, interval_s: float) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=_watch,
            args=(weakref.ref(watched), self._stop, interval_s),
            name="weightslab-hyperparameters",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a second call does nothing."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=_TICK_S)


def _watch(reference: weakref.ref[Watched], stop: threading.Event, interval_s: float) -> None:
    next_s = time.monotonic() + interval_s
    while not stop.wait(min(max(next_s - time.monotonic(), 0.0), _TICK_S)):
        watched = reference()
        if watched is None:
            return
        if time.monotonic() >= next_s:
            try:
                watched.look(stop.wait)
            except Exception as error:  # noqa: BLE001  # a thread that ends follows nothing
                watched.notices.warn_once(
                    ("hyperparameters watcher", type(error).__name__),
                    f"looking at the file of hyperparameters failed, and is tried again: "
                    f"{type(error).__name__}: {error}",
                )
            next_s = time.monotonic() + interval_s
        del watched
