"""Which evaluations wait, which one runs, and who may run it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from weightslab.evaluation.request import Actor, Outcome, Request
from weightslab.evaluation.underway import Underway

__all__ = ["Controller", "Extent", "Taker"]

Taker = Literal["loop", "safe point", "serving", "worker"]
"""Who asks for work: `run_pending_evaluation`, a safe point of training, `keep_serving`, the
background worker."""

_LOOK_S = 0.2
"""How often a waiting thread looks up, so that Ctrl-C reaches it."""
_REMEMBERED = 100
"""Outcomes that are kept."""


class Extent(Protocol):
    """How far a pass is."""

    done: int
    total: int | None


@dataclass(slots=True)
class _Running:
    request: Request
    thread: int
    taker: Taker
    step: int | None = None
    extent: Extent | None = None
    stop: str | None = None
    is_published: bool = False


class Controller:
    """One queue of requests, of which one runs at a time. Every method: any thread.

    Requests are taken in order: by `run_pending_evaluation` once a loop has ever called
    it, else by a safe point of training; by `keep_serving` always; by the worker only when
    no training is under way. While one runs, no other thread passes a safe point.

    Args:
        saved_at: when a value of training was saved last.
        quiet_s: how long a training must not have been seen before the worker runs one.
        now: the clock, in seconds.
    """

    def __init__(
        self,
        saved_at: Callable[[], float] = lambda: float("-inf"),
        *,
        quiet_s: float = 2.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._changed = threading.Condition()
        self._now = now
        self.underway = Underway(quiet_s, saved_at)
        self._waiting: deque[Request] = deque()
        self._running: _Running | None = None
        self._outcomes: deque[Outcome] = deque(maxlen=_REMEMBERED)
        self._asked = 0
        self._moved_at = float("-inf")
        self._loop_takes = False
        self._held = False
        self._closed: str | None = None

    # -- asking ---------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether nothing is taken into the queue any more."""
        return self._closed is not None

    def ask(
        self,
        loader_name: str,
        tags: tuple[str, ...] | None = None,
        *,
        by: Actor = "script",
        timeout_s: float | None = None,
    ) -> Request | None:
        """Put a request into the queue; None when that is closed."""
        with self._changed:
            if self._closed is not None:
                return None
            self._asked += 1
            request = Request(self._asked, loader_name, tags, by, timeout_s, self._now())
            self._waiting.append(request)
            self._held |= by == "client"
            self._changed.notify_all()
            return request

    def cancel(self, request_id: int, reason: str = "it was cancelled") -> Outcome | None:
        """Take a request out of the queue, or let it stop at its next batch.

        Gives what has become of it so far; None when it does not wait and does not run.
        """
        with self._changed:
            running = self._running
            if running is not None and running.request.id == request_id:
                if running.is_published:
                    return None
                running.stop = running.stop or reason
                return self._snapshot(running)
            for request in self._waiting:
                if request.id == request_id:
                    self._waiting.remove(request)
                    outcome = Outcome(request, "cancelled", error=reason)
                    self._outcomes.append(outcome)
                    return outcome
            return None

    def close(self, reason: str) -> list[Outcome]:
        """Cancel everything, and take no more; what had waited."""
        with self._changed:
            self._closed = reason
            waiting = [Outcome(one, "cancelled", error=reason) for one in self._waiting]
            self._waiting.clear()
            self._outcomes.extend(waiting)
            if self._running is not None:
                self._running.stop = self._running.stop or reason
            self._changed.notify_all()
            return waiting

    # -- taking ---------------------------------------------------------------

    def sign(self) -> None:
        """The script is at work: the worker keeps away for a while."""
        with self._changed:
            self.underway.sign(self._now())

    def stand_aside(self) -> None:
        """Training is here: wait while another thread evaluates."""
        me = threading.get_ident()
        with self._changed:
            self.underway.stays(self._now())
            while self._running is not None and self._running.thread != me:
                self._changed.wait(_LOOK_S)
                self.underway.stays(self._now())

    def iterates(self, iteration: Callable[[], object]) -> None:
        """An epoch of training begins; `iteration` gives its iterator while that is held."""
        with self._changed:
            self.underway.begin(iteration)

    def iterated(self, iteration: Callable[[], object]) -> None:
        """An epoch is over."""
        with self._changed:
            self.underway.end(iteration)

    def loop_calls(self) -> None:
        """A loop calls `run_pending_evaluation`: from now on it takes, and no safe point."""
        self._loop_takes = True
        self.sign()
        self.stand_aside()

    def take(self, taker: Taker) -> Request | None:
        """The oldest request, which runs from now on, on this thread; None: nothing to do."""
        with self._changed:
            if not self._waiting or self._running is not None or not self._may(taker):
                return None
            request = self._waiting.popleft()
            self._running = _Running(request, threading.get_ident(), taker)
            return request

    def _may(self, taker: Taker) -> bool:
        if taker == "safe point":
            return not self._loop_takes
        if taker == "worker":
            # A script that asks, and then begins to train, is to be found at its safe point.
            now, asked_at = self._now(), self._waiting[0].requested_at
            return now - asked_at >= self.underway.quiet_s and self.underway.is_quiet(now)
        return True

    def is_quiet(self) -> bool:
        """Whether no training is under way."""
        with self._changed:
            return self.underway.is_quiet(self._now())

    def is_still(self) -> bool:
        """Whether nobody was seen to save values for a while: a paused training stands still."""
        with self._changed:
            return self.underway.is_still(self._now())

    def begin(self, step: int | None, extent: Extent) -> None:
        """The pass that runs speaks of a step, and says in `extent` how far it is."""
        with self._changed:
            if self._running is not None:
                self._running.step, self._running.extent = step, extent

    def should_stop(self) -> str | None:
        """Why the pass that runs should end; None: it should not."""
        running = self._running
        return None if running is None else running.stop

    def publishes(self) -> str | None:
        """The pass is through, and cannot be cancelled any more; why it is not to be published."""
        with self._changed:
            if self._running is None:
                return None
            self._running.is_published = True
            return self._running.stop

    def finish(self, outcome: Outcome) -> Outcome:
        """The pass is over; gives the outcome with how far it got."""
        with self._changed:
            running, self._running = self._running, None
            if running is not None:
                seen = self._snapshot(running)
                outcome = replace(outcome, step=seen.step, done=seen.done, total=seen.total)
                if running.taker != "worker":
                    self.underway.stays(self._now())
            self._outcomes.append(outcome)
            self._moved_at = self._now()
            self._changed.notify_all()
            return outcome

    @staticmethod
    def _snapshot(running: _Running) -> Outcome:
        extent = running.extent
        done, total = (0, None) if extent is None else (extent.done, extent.total)
        return Outcome(running.request, "running", done, total, running.step)

    # -- pausing --------------------------------------------------------------

    @property
    def holds(self) -> bool:
        """Whether training has a reason to stay paused."""
        return bool(self._held or self._waiting or self._running)

    def resumed(self) -> None:
        """Somebody let training go on: what a client asked for holds it no longer."""
        self._held = False

    @property
    def only_a_loop_takes(self) -> bool:
        """Whether a request waits for a call that training must reach first."""
        return self._loop_takes and bool(self._waiting)

    # -- looking --------------------------------------------------------------

    @property
    def has_waiting(self) -> bool:
        """Whether a request waits."""
        return bool(self._waiting)

    def wait(self, seconds: float) -> None:
        """Wait until something changed, at most so long."""
        with self._changed:
            self._changed.wait(seconds)

    def overdue(self, limit_s: float) -> Request | None:
        """The oldest request, if nobody has taken any for so long."""
        with self._changed:
            if self._running is not None or not self._waiting:
                return None
            oldest = self._waiting[0]
            since = max(oldest.requested_at, self._moved_at)
            return oldest if self._now() - since >= limit_s else None

    @property
    def outcomes(self) -> list[Outcome]:
        """What is over, oldest first; the last 100."""
        with self._changed:
            return list(self._outcomes)

    def find(self, request_id: int) -> Outcome | None:
        """What has become of a request so far; None when nobody remembers it."""
        with self._changed:
            if self._running is not None and self._running.request.id == request_id:
                return self._snapshot(self._running)
            for request in self._waiting:
                if request.id == request_id:
                    return Outcome(request, "waiting")
            return next((one for one in self._outcomes if one.request.id == request_id), None)

    def status(self) -> dict[str, Any]:
        """What waits, what runs and how far, and what was last."""
        with self._changed:
            running, last = self._running, self._outcomes[-1] if self._outcomes else None
            return {
                "pending": [Outcome(one, "waiting").shown() for one in self._waiting],
                "running": None if running is None else self._snapshot(running).shown(),
                "last": None if last is None else last.shown(),
            }
