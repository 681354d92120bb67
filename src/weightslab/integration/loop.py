"""The loop of a trainer, as it tells WeightsLab of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TypeVar

from torch.utils.data import DataLoader

from weightslab.capture.feed import leaves_of
from weightslab.capture.loader import watch_loader
from weightslab.capture.losses.step import Scope, StepCapture
from weightslab.capture.shadow import source_of
from weightslab.capture.source import OnDiscard
from weightslab.capture.tracking import IdFunction
from weightslab.session import Session, current

__all__ = ["Loop"]

AnyLoader = TypeVar("AnyLoader")


class Loop:
    """One trainer's loop over one session. For the thread that trains, but for `close`.

    In the order of a run: `track` every loader before it is iterated; then, for each step,
    `safe_point` (training only), `receive` the batch, and run the step within `step`.

    Args:
        session: the run; None: the current one.
        capture: auto looks for every loss, losses for those of torch alone, off for none.
        signals: what is kept of each sample: loss, margin, probability, prediction.
        on_discard: what becomes of a discarded sample's place in a training epoch.
        id_fn: the id of an item, as in `wl.watch_or_edit(loader, id_fn=...)`.
        every_n_steps: record every n-th step of training only.
        strict: whether what cannot be captured is an error.
    """

    def __init__(
        self,
        session: Session | None = None,
        *,
        capture: Literal["auto", "losses", "off"] = "auto",
        signals: Iterable[str] = ("loss", "margin", "prediction"),
        on_discard: OnDiscard = "replace",
        id_fn: IdFunction | None = None,
        every_n_steps: int = 1,
        strict: bool = False,
    ) -> None:
        self.session = current() if session is None else session
        self._on_discard = on_discard
        self._id_fn = id_fn
        self._every_n_steps = every_n_steps
        self._capture: StepCapture | None = None
        if capture != "off":
            self._capture = StepCapture(
                self.session,
                signals=frozenset(signals),
                handwritten=capture == "auto",
                strict=strict,
            )

    # -- loaders --------------------------------------------------------------

    def track(self, loader: AnyLoader, origin: str, *, is_training: bool) -> AnyLoader:
        """A loader whose batches stay as they are, and whose samples are known.

        What is no `DataLoader` comes back as it is, and has no ids. The number of batches
        is never changed. Each batch waits, under its loader, until it is received.
        """
        if not isinstance(loader, DataLoader):
            return loader
        return watch_loader(
            self.session,
            loader,
            name=origin,
            is_training=is_training,
            append_ids=False,
            id_fn=self._id_fn,
            on_discard=self._on_discard if is_training else "off",
            queued=True,
        )  # type: ignore[return-value]  # a shadow is of the loader's class

    def receive(self, parts: Iterable[tuple[Any, Any]]) -> None:
        """The step that follows works on these: each a loader that was tracked, and its batch.

        Batches of one loader are received in the order in which they were drawn.
        """
        for loader, batch in parts:
            source = source_of(loader)
            if source is None:
                continue
            batch_ids = source.queue.popleft() if source.queue else None
            self.session.batches.enter(batch_ids, None, leaves_of(batch))

    def forget(self, loaders: Iterable[Any]) -> None:
        """An epoch is over: batches of these loaders that were drawn and not received are lost."""
        for loader in loaders:
            source = source_of(loader)
            if source is not None:
                source.queue.clear()
        self.session.batches.enter(None)

    # -- steps ----------------------------------------------------------------

    def safe_point(self, step: int) -> None:
        """The top of a training step, after `step` updates: edits, pauses, evaluations."""
        self.session.clock.drive(step)
        self.session.safe_point()

    def step(self, prefix: str) -> AbstractContextManager[Scope]:
        """Record what the step within computes of the samples received, as `<prefix>/loss`.

        Set `returned` of what you get to what the step returned.
        """
        if self._capture is None:
            return nullcontext(Scope())
        return self._capture.around(prefix)

    def curves(self, values: Mapping[str, float], step: int) -> None:
        """Put numbers on their curves."""
        if values:
            self.session.recording.scalars(values, step=step)

    def evaluates_with(self, function: Callable[[Any], object] | None) -> None:
        """How this trainer runs an evaluation over the loader that it is given; None: no more.

        A function of the user's own (`@wl.eval_fn`) goes before it.
        """
        self.session.evaluations.by_trainer = function

    def close(self) -> None:
        """The trainer is through: all that it told is in files."""
        self.evaluates_with(None)
        self.session.batches.enter(None)
        self.session.clock.let_go()
        self.session.flush()
