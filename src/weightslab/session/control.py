"""Pause and resume: who stopped the training, and where its thread waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Control"]

_LOOK_S = 0.2
"""How often a waiting thread looks up, so that Ctrl-C and a signal of the system reach it."""


class Control:
    """Whether training may go on. Any thread pauses and resumes; the training thread waits.

    A pause has a reason, so that one does not end another's: `"user"`, `"hyperparameters"`
    (`is_training` is false) and `"evaluation"` (a client asked for one).
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._changed = threading.Condition()
        self._reasons: dict[str, None] = {}
        self._now = now
        self.heard: Callable[[str, str, str], None] = lambda *_: None
        """Called with verb ("pause", "resume"), reason and actor of each that changed something."""
        self._inside: set[int] = set()
        """Threads that stand at a safe point, or evaluate: they do not enter a second one."""
        self._ended = False
        self.waiting = False
        """Whether the training thread waits at a safe point now."""
        self.last_safe_point = float("-inf")
        """When training last passed one, in seconds of `time.monotonic`."""

    @property
    def paused(self) -> bool:
        """Whether training stops at its next safe point, or stands there."""
        return bool(self._reasons)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is paused, in order."""
        with self._changed:
            return tuple(self._reasons)

    def pause(self, reason: str = "user", *, actor: str = "user") -> bool:
        """Let training stop at its next safe point; whether it was not paused for this yet."""
        with self._changed:
            new = reason not in self._reasons
            self._reasons[reason] = None
        if new:
            self.heard("pause", reason, actor)
        return new

    def resume(self, reason: str | None = None, *, actor: str = "user") -> bool:
        """Let training go on: for one reason, or for all; whether that changed anything."""
        with self._changed:
            gone = [one for one in self._reasons if reason in (None, one)]
            for one in gone:
                del self._reasons[one]
            self._changed.notify_all()
        for one in gone:
            self.heard("resume", one, actor)
        return bool(gone)

    def end(self) -> None:
        """Let nobody wait from now on, whatever pauses: there is nobody left who would resume."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wake(self) -> None:
        """Let whoever waits at a safe point look for errands."""
        with self._changed:
            self._changed.notify_all()

    def is_inside(self) -> bool:
        """Whether this thread stands at a safe point already."""
        return threading.get_ident() in self._inside

    def stop(
        self,
        errands: Callable[[], None],
        let_go: Callable[[], bool] = lambda: False,
        *,
        timeout_s: float | None = None,
    ) -> None:
        """The safe point: run errands, and while training is paused wait for more of them.

        Args:
            errands: what the training thread does between two steps; called again whenever
                somebody wakes it.
            let_go: whether to go on although it is paused.
            timeout_s: how long to stay although it is not paused, and at most.
        """
        me = threading.get_ident()
        if me in self._inside:
            return
        self._inside.add(me)
        self.last_safe_point = self._now()
        try:
            errands()
            if self._reasons or timeout_s is not None:
                self._wait(errands, let_go, timeout_s)
        finally:
            self._inside.discard(me)
            self.waiting = False
            self.last_safe_point = self._now()

    def _wait(
        self, errands: Callable[[], None], let_go: Callable[[], bool], timeout_s: float | None
    ) -> None:
        end = None if timeout_s is None else self._now() + timeout_s
        while not (self._ended or let_go()):
            left = _LOOK_S if end is None else min(_LOOK_S, end - self._now())
            with self._changed:
                if (end is None and not self._reasons) or left <= 0:
                    return
                self.waiting = True
                self._changed.wait(left)
            errands()
