"""The evaluations of a session: from a request to its markers, whoever runs it."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Literal

from weightslab.errors import EvaluationCancelled, ReadOnlyError, StateError, UnknownOptionError
from weightslab.evaluation.controller import Controller, Taker
from weightslab.evaluation.modes import held_modes
from weightslab.evaluation.publish import enter
from weightslab.evaluation.report import line, say
from weightslab.evaluation.request import Actor, Outcome, Request
from weightslab.evaluation.whereabouts import Whereabouts
from weightslab.evaluation.worker import Worker
from weightslab.queries.names import origin_spellings
from weightslab.session import slot
from weightslab.session.evaluating import Given, evaluate

if TYPE_CHECKING:
    from weightslab.evaluation.ambient import Ambient
    from weightslab.session.session import Session

__all__ = ["Evaluations"]

PAUSE: Literal["evaluation"] = "evaluation"
"""The reason of the pauses that requests make."""

_NOTE_S = 0.25

_CLOSED = "this session is closed: make a new one with wl.Session(...)"


class Evaluations:
    """Takes requests from any thread, and runs one at a time.

    An evaluation that fails is said and counted, leaves no marker, and training goes on.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.eval_fn: Callable[[Any], object] | None = None
        """What `@wl.eval_fn` decorated last; None: the default function."""
        self.by_trainer: Callable[[Any], object] | None = None
        """How the trainer at work evaluates, where the user decorated no function of theirs."""
        self.controller = Controller(lambda: session.recording.saved_at)
        self.worker = Worker(self.controller, self._run_by_worker, self._say_late)
        self._offered: dict[str, None] = {}
        """Names of loaders that a loop has brought along."""
        self._ambient: Ambient | None = None
        self._noted_at = float("-inf")
        self.where = Whereabouts()

    # -- asking ---------------------------------------------------------------

    def request(
        self,
        loader_name: str,
        tags: tuple[str, ...] | None = None,
        *,
        by: Actor = "script",
        timeout_s: float | None = None,
    ) -> int:
        """Ask for an evaluation; gives the number of the request.

        Raises:
            UnknownOptionError: no such loader is watched.
            ReadOnlyError: the session only looks at its folder.
            StateError: the session is closed.
        """
        if self._session.mode == "r":
            raise ReadOnlyError(
                "an evaluation is recorded, and this session only looks at its folder: open it "
                'with mode="w" to evaluate'
            )
        if self.controller.is_closed:  # and holds no loader any more
            raise StateError(_CLOSED)
        name = self._known(loader_name)
        if by == "script":
            self._note(first=True)
        request = self.controller.ask(name, tags, by=by, timeout_s=timeout_s)
        if request is None:
            raise StateError(_CLOSED)
        self._follow()
        self._session.control.wake()
        self.worker.wake()
        return request.id

    def _known(self, loader_name: str) -> str:
        known = self._session.registry.loaders | self._offered
        spellings = (loader_name, *sorted(origin_spellings(loader_name)))
        for names in (self._session.registry.loaders, self._offered):
            for spelling in spellings:
                if spelling in names:
                    return spelling
        raise UnknownOptionError("loader", loader_name, known)

    def cancel(self, request_id: int) -> bool:
        """Let a request not be run, or stop at its next batch; whether that was possible."""
        outcome = self.controller.cancel(request_id)
        if outcome is None:
            return False
        if outcome.state == "cancelled":
            self._report(outcome)
            self._follow()
        return True

    def status(self) -> dict[str, Any]:
        """What waits, what runs and how far, and what was last."""
        return self.controller.status()

    def resumed(self) -> None:
        """Somebody let training go on."""
        self.controller.resumed()

    def close(self) -> None:
        """Cancel what waits, which is said; what runs stops at its next batch."""
        waiting = self.controller.close("the session was closed")
        for outcome in waiting:
            self._report(outcome)
        if waiting:
            names = ", ".join(repr(outcome.request.loader_name) for outcome in waiting)
            self._session.notices.warn_once(
                ("evaluation", "closed"),
                f"the session was closed before somebody ran the evaluation of {names}: call "
                f"wl.run_pending_evaluation(), or wl.keep_serving(timeout=...), before the end",
                count=len(waiting),
            )
        self.worker.join()

    # -- where training is ----------------------------------------------------

    def errands(self, taker: Taker = "safe point") -> None:
        """A safe point: run what waits, if it is to be run here."""
        self.controller.stand_aside()
        if taker == "safe point":
            # Drawn ahead: while it is paused here, the others come to the end of their batches.
            if self.where.steps_elsewhere or (
                self.where.may_only_draw and not self.controller.is_still()
            ):
                return
            self._note()
        while (request := self.controller.take(taker)) is not None:
            beside = taker == "serving" and self.where.is_elsewhere
            self._run(request, Given(), self._as_on_the_training_thread() if beside else None)

    def is_beside_training(self) -> bool:
        """Whether a training is under way, and on other threads than this one alone."""
        return self.where.is_elsewhere and not self.controller.is_quiet()

    def saved_by_hand(self) -> None:
        """A value came in a loop without a watched optimizer, which is all that shows it."""
        self.where.saved()
        self.controller.sign()

    def lets_go(self) -> bool:
        """Whether a paused thread is to pass its safe point, for what waits is not run there."""
        controller = self.controller
        return controller.only_a_loop_takes or (
            self.where.steps_elsewhere and controller.has_waiting
        )

    def run_pending(self, given: Given) -> bool:
        """Run the oldest request on this thread; whether one was started, whatever came of it."""
        if self._session.recording.is_diverted or self._session.signals.computes_here:
            return False
        self._offered |= dict.fromkeys(given.loaders)
        self.controller.loop_calls()
        self._note()
        request = self.controller.take("loop")
        if request is None:
            return False
        self._run(request, given)
        return True

    def _run_by_worker(self) -> bool:
        request = self.controller.take("worker")
        if request is None:
            return False
        with suppress(BaseException):  # a thread's boundary: `_run` has said it
            self._run(request, Given(), self._as_on_the_training_thread())
        return True

    @contextmanager
    def _as_on_the_training_thread(self) -> Iterator[None]:
        """Work with torch as training does, and keep others off the modes of its models."""
        models = self._session.registry.models.values()
        ambient = self._ambient
        with (
            slot.acting(self._session),
            held_modes(models, self.controller.stand_aside),
            nullcontext() if ambient is None else ambient.applied(),
        ):
            yield

    def _note(self, *, first: bool = False) -> None:
        """Remember how torch is set on this thread, four times a second at most."""
        now = time.monotonic()
        known = self._ambient is not None
        if (known and (first or now - self._noted_at < _NOTE_S)) or "torch" not in sys.modules:
            return
        from weightslab.evaluation.ambient import Ambient

        self._ambient, self._noted_at = Ambient.here(), now

    # -- one evaluation -------------------------------------------------------

    def _run(
        self, request: Request, given: Given, around: AbstractContextManager[None] | None = None
    ) -> None:
        """Run a request that was taken. What is no `Exception` passes, with all in order."""
        outcome = Outcome(request, "failed", error="it did not begin")
        try:
            with around or nullcontext():
                outcome = evaluate(self._session, self.controller, request, given)
        except Exception as error:  # noqa: BLE001  # the user's function, loader, model or disk
            outcome = self._failed(request, error)
        except BaseException as error:
            outcome = Outcome(request, "failed", error=_named(error))
            raise
        finally:
            outcome = self.controller.finish(outcome)
            self._report(outcome)
            self._follow()

    # -- what became of it ------------------------------------------------------

    def _failed(self, request: Request, error: Exception) -> Outcome:
        if isinstance(error, EvaluationCancelled):
            return Outcome(request, "cancelled", error=str(error))
        where = "".join(traceback.format_exception(error, limit=-3))
        self._session.notices.warn_once(
            ("evaluation", request.loader_name, type(error).__name__),
            f"the evaluation of {request.loader_name!r} failed; training goes on: {where}",
        )
        return Outcome(request, "failed", error=_named(error))

    def _report(self, outcome: Outcome) -> None:
        """Journal and terminal; neither keeps the other from being told."""
        try:
            enter(self._session.ledger, outcome)
        except Exception as error:  # noqa: BLE001  # a disk that fails ends nothing
            self._session.notices.warn_once(
                ("evaluation", "journal"), f"an evaluation is not in the journal: {error}"
            )
        say(line(outcome))

    def _follow(self) -> None:
        """Let training be paused for evaluations exactly while one holds it.

        Meanwhile another thread may ask, be through or resume: it is looked at again.
        """
        control = self._session.control
        while True:
            wanted = self.controller.holds
            (control.pause if wanted else control.resume)(PAUSE, actor="evaluation")
            if self.controller.holds == wanted:
                return

    def _say_late(self, request: Request) -> None:
        if self.controller.only_a_loop_takes:
            why = "a loop calls wl.run_pending_evaluation(), which is taken to do it, and does not"
        else:
            why = (
                "training seems to be under way, and reaches no safe point (a batch of a watched "
                "training loader, a step of a watched optimizer)"
            )
        self._session.notices.warn_once(
            ("evaluation", "late"),
            f"the evaluation of {request.loader_name!r} has waited for "
            f"{self.worker.late_s:g} s: {why}. Call wl.run_pending_evaluation() at the top of "
            f"every iteration, or wl.keep_serving(timeout=...) where training is over",
        )


def _named(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
