"""One evaluation: a pass over a loader, apart from the training, and its results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weightslab.errors import EvaluationCancelled, EvaluationError, InputError, StateError
from weightslab.evaluation.buffer import Buffer
from weightslab.evaluation.controller import Controller
from weightslab.evaluation.managed_loader import ManagedLoader, length_of
from weightslab.evaluation.publish import next_marker, publish
from weightslab.evaluation.request import Outcome, Request
from weightslab.progress import Progress
from weightslab.queries.names import origin_spellings

if TYPE_CHECKING:
    from weightslab.session.session import Session

__all__ = ["Given", "evaluate"]


@dataclass(frozen=True, slots=True)
class Given:
    """What a call of `run_pending_evaluation` puts in place of what is registered."""

    loaders: Mapping[str, Any] = field(default_factory=dict)
    loader: Any = None
    """One for whatever is asked for."""
    model: Any = None
    eval_fn: Callable[[Any], object] | None = None
    device: Any = None

    def loader_of(self, name: str) -> Any:
        """The given loader that a name means; None: none."""
        for spelling in (name, *sorted(origin_spellings(name))):
            if spelling in self.loaders:
                return self.loaders[spelling]
        return self.loader


def evaluate(session: Session, controller: Controller, request: Request, given: Given) -> Outcome:
    """Run a pass and publish what it recorded; the outcome is "done", or an error is raised.

    The values belong to the experiment hash, and to the step, of the moment at which the
    pass began. Everything that the signals have still to say is in the ledger before.

    Raises:
        EvaluationCancelled: somebody did not want it any more.
        Exception: what the loader, the model, the user's function or the disk raises.
    """
    ledger = session.settled()
    plain = session.naming.for_evaluation()
    step = session.training.step
    batches = _batches(session, request, given)
    is_watched = getattr(batches, "weightslab", None) is not None
    progress = Progress(f"evaluating {request.loader_name}", length_of(batches))
    managed = _managed(controller, request, batches, progress)
    buffer = Buffer((lambda: _batch_size(session)) if is_watched else lambda: managed.at_hand)
    controller.begin(step, progress)
    _pass(session, given, managed, buffer, progress)
    reason = controller.publishes()
    if reason is not None:  # a function that catches everything does not end before its end
        raise EvaluationCancelled(reason)
    results = buffer.means()
    if not results:
        return Outcome(request, "done")
    marker = next_marker(ledger, plain)
    publish(ledger, buffer, marker, step)
    return Outcome(request, "done", results=results, marker=marker)


def _managed(
    controller: Controller, request: Request, batches: Iterable[Any], progress: Progress
) -> ManagedLoader:
    timeout_s = request.timeout_s
    return ManagedLoader(
        batches,
        total=progress.total,
        progress=progress,
        should_stop=controller.should_stop,
        deadline=None if timeout_s is None else time.monotonic() + timeout_s,
    )


def _pass(
    session: Session, given: Given, managed: ManagedLoader, buffer: Buffer, progress: Progress
) -> None:
    from weightslab.evaluation.isolation import isolated  # torch
    from weightslab.evaluation.runner import run_pass

    registry = session.registry
    evaluations = session.evaluations
    eval_fn = given.eval_fn or evaluations.eval_fn or evaluations.by_trainer
    model = _model(session, given, needed=eval_fn is None)
    with (
        isolated((*registry.models.values(), model), registry.signals.values()),
        session.batches.apart(),
        session.recording.diverted(buffer),
        progress,
    ):
        run_pass(
            managed,
            model=model,
            signals=dict(registry.signals),
            eval_fn=eval_fn,
            device=given.device,
            say=lambda key, text: session.notices.warn_once(("evaluation", key), text),
        )


def _batches(session: Session, request: Request, given: Given) -> Iterable[Any]:
    """A fresh pass over the loader that was asked for."""
    loader = given.loader_of(request.loader_name)
    if loader is None:
        loader = session.loader(request.loader_name)
    source = getattr(loader, "weightslab", None)
    if source is not None:
        watched: Iterable[Any] = source.evaluation_loader(request.tags)
        return watched
    if request.tags is not None:
        raise InputError(
            f"the loader {request.loader_name!r} is not watched, so which of its samples have "
            f"the tags {list(request.tags)} is not known: "
            f"wl.watch_or_edit(loader, flag='data', loader_name={request.loader_name!r})"
        )
    plain: Iterable[Any] = loader
    return plain


def _model(session: Session, given: Given, *, needed: bool) -> Any:
    """The model to evaluate; None where a function of the user's knows its own."""
    if given.model is not None or not session.registry.models:
        return given.model  # where there is none, the pass says so
    try:
        return session.model
    except StateError:
        if not needed:
            return None
        several = ", ".join(map(repr, session.registry.models))
        raise EvaluationError(
            f"of the models {several} none is called 'model', so which one to evaluate is not "
            f"known: name one so, give it (wl.run_pending_evaluation(model=...)), or say how to "
            f"evaluate with @wl.eval_fn"
        ) from None


def _batch_size(session: Session) -> int | None:
    """Samples of the batch that this thread works on; None: it has none."""
    top = session.batches.top
    if top is None:
        return None
    return 1 if top.batch is None else len(top.batch)
