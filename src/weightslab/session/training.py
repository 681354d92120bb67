"""The training as a session sees it: where its steps begin, and what is done between them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from weightslab.evaluation.controller import Taker
from weightslab.signals.firing import Firing

if TYPE_CHECKING:
    from weightslab.session.session import Session

__all__ = ["Training"]


class Training:
    """Safe points of a training, and the errands that its thread does there."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def safe_point(self) -> None:
        """The top of a training step: what was edited since the last one takes effect.

        Where training is paused it waits here, and the experiment hash with it: what is
        edited meanwhile opens one with the step that follows. An error of ours is said once
        and counted; the training that called never sees it.
        """
        session = self._session
        if session.control.is_inside() or session.recording.is_diverted:
            return
        self._begin_step()
        session.control.stop(self.errands, session.evaluations.lets_go)
        if session.mode == "w":
            session.naming.refresh()

    def begin_epoch(self) -> None:
        """A training loader is about to be iterated: a batch size edited by now counts for it."""
        if not (self._session.recording.is_diverted or self._session.control.is_inside()):
            self._session.tuning.take(at_once=True)

    def step_by_hand(self) -> int | None:
        """A value comes in a loop without an optimizer; the step of it, in an evaluation."""
        session = self._session
        if session.recording.is_diverted:
            return self.step
        # Inside a batch of a watched loader, the loader's own safe point has passed; and what
        # a signal saves is no step of the training.
        if session.mode == "w" and session.batches.current is None and Firing.current() is None:
            self._begin_step()
            session.tuning.take()
            session.naming.refresh()
        return None

    def errands(self, taker: Taker = "safe point") -> None:
        """What the training thread does between two steps, and while it is paused."""
        session = self._session
        session.tuning.take()
        if session.evaluations.controller.has_waiting:
            session.naming.refresh()  # what it finds stands under what is applied
        session.evaluations.errands(taker)

    def keep_serving(self, timeout_s: float | None) -> None:
        """Do errands on this thread for a while; None: until Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt):
            self._session.control.stop(
                lambda: self.errands("serving"),
                timeout_s=float("inf") if timeout_s is None else timeout_s,
            )

    @property
    def step(self) -> int:
        """Where training is: the updates completed, else the step of what was saved last."""
        session = self._session
        return session.clock.age if session.clock.has_optimizer else session.recording.last_step

    def _begin_step(self) -> None:
        session = self._session
        session.naming.has_trained = True
        if session.mode == "w" and session.open_ledger is None:
            try:
                _ = session.ledger
            except Exception as error:  # noqa: BLE001  # nothing of ours may end a training run
                session.say_failed("nothing is recorded", error)
