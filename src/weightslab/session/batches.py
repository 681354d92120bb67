"""Which batch the training thread is working on."""

from __future__ import annotations

import threading
from collections.abc import Callable

from weightslab.types import BatchIds

__all__ = ["CurrentBatch"]


class CurrentBatch:
    """The batch in the consumer's hands, by thread.

    Ids never cross threads: a thread that did not receive the batch has none,
    rather than those of a batch that was fetched ahead.
    """

    def __init__(self, age: Callable[[], int]) -> None:
        self._age = age
        self._local = threading.local()

    @property
    def current(self) -> BatchIds | None:
        """Ids of this thread's batch; None outside of a watched loader."""
        return getattr(self._local, "batch", None)

    def enter(self, batch: BatchIds | None) -> None:
        """This thread works on `batch` from now on."""
        self._local.batch = batch
        self._local.step = None if batch is None else self._age()

    @property
    def step(self) -> int | None:
        """Training updates completed when this thread received its batch.

        A value that is saved after `optimizer.step()` belongs to the batch before it.
        """
        return getattr(self._local, "step", None)
