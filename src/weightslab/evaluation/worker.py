"""The thread that evaluates where no training does it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from weightslab.evaluation.controller import Controller
from weightslab.evaluation.request import Request

__all__ = ["Worker"]

_LOOK_S = 0.1
_CLOSING_S = 5.0


class Worker:
    """Starts with a request, and ends when none waits.

    Args:
        run: runs the oldest request if the worker may take it; whether it did.
        say_late: says that nobody takes a request; called once for each, at most.
    """

    def __init__(
        self,
        controller: Controller,
        run: Callable[[], bool],
        say_late: Callable[[Request], None],
        *,
        late_s: float = 30.0,
    ) -> None:
        self._controller = controller
        self._run = run
        self._say_late = say_late
        self.late_s = late_s
        """How long a request may wait before that is said."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None

    def wake(self) -> None:
        """A request came."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="weightslab-evaluation", daemon=True
                )
                self._thread.start()

    def join(self) -> None:
        """Wait for the thread, for a bounded time: a batch of it may take long."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CLOSING_S)

    def _work(self) -> None:
        said = 0
        while self._goes_on():
            if self._run():
                continue
            late = self._controller.overdue(self.late_s)
            if late is not None and late.id > said:
                said = late.id
                self._say_late(late)
            self._controller.wait(_LOOK_S)

    def _goes_on(self) -> bool:
        with self._lock:
            if not self._controller.has_waiting:
                self._thread = None
                return False
            return True
