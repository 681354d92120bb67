"""The loader that an evaluation function receives: it counts, shows and ends on request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from weightslab.errors import EvaluationCancelled, EvaluationTimeout
from weightslab.evaluation.unpack import count_samples

__all__ = ["ManagedLoader", "Steps", "end_workers", "length_of"]


class Steps(Protocol):
    """Whatever shows how far a pass is, such as `weightslab.progress.Progress`."""

    def advance(self, pieces: int = 1) -> None:
        """So many more batches are done."""


class ManagedLoader:
    """The batches of a loader, as they come, for one evaluation.

    Whatever else it is asked (`dataset`, `batch_size`) the loader answers. Going through it
    again is a second pass, which counts from 0.

    Args:
        loader: what gives the batches.
        total: number of batches; None: as the loader says, if it does.
        progress: told of every batch that the function is done with.
        should_stop: why the evaluation is to end now, else None; asked before each batch.
        deadline: when it must have ended, in seconds of `now`; None: whenever.
        now: the clock.

    Raises, while it is iterated:
        EvaluationCancelled: `should_stop` gave a reason.
        EvaluationTimeout: the deadline has passed.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        *,
        total: int | None = None,
        progress: Steps | None = None,
        should_stop: Callable[[], str | None] = lambda: None,
        deadline: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.loader = loader
        self.total = length_of(loader) if total is None else total
        """Batches of a pass; None where nobody knows."""
        self.batches = 0
        """Batches that were evaluated so far."""
        self.samples = 0
        """Samples in them."""
        self.at_hand: int | None = None
        """Samples of the batch that the function works on; None: it works on none."""
        self._progress = progress
        self._should_stop = should_stop
        self._deadline = deadline
        self._now = now

    def __len__(self) -> int:
        if self.total is None:
            raise TypeError("how many batches there are is known when the last one was given")
        return self.total

    def __getattr__(self, name: str) -> Any:
        if name == "loader" or name.startswith("__"):  # not yet set, while it is copied
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Any]:
        self.batches = self.samples = 0
        self._check()
        batches = iter(self.loader)
        try:
            for batch in batches:
                self.at_hand = count_samples(batch)
                yield batch
                self.batches += 1
                self.samples += self.at_hand
                if self._progress is not None:
                    self._progress.advance()
                self._check()
        finally:
            self.at_hand = None
            end_workers(batches)

    def _check(self) -> None:
        reason = self._should_stop()
        if reason is not None:
            raise EvaluationCancelled(f"the evaluation was ended after {self._done()}: {reason}")
        if self._deadline is not None and self._now() > self._deadline:
            raise EvaluationTimeout(
                f"the evaluation took longer than it may and was ended after {self._done()}: allow "
                f"it more time, or evaluate fewer samples (tags=)"
            )

    def _done(self) -> str:
        return f"{self.batches} of {'?' if self.total is None else self.total} batches"


def length_of(loader: Any) -> int | None:
    """Batches of a pass over a loader; None where it does not know."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError, AttributeError):
        return None


def end_workers(batches: Any) -> None:
    """End the workers of a loader's iterator now.

    The traceback of an error holds the iterator, and where that is collected in a circle its
    queues go first: torch then waits 5 seconds for each worker, at any moment of a training.
    """
    shut_down = getattr(batches, "_shutdown_workers", None)
    if shut_down is not None:
        shut_down()
