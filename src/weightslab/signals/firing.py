"""What the signal thread works on now, and what user code shares that a signal calls with it.

A signal function may tag and discard, and read its sample's history, sample by sample. While
a firing is at work, edits are collected for one journal entry and one flush, and history is
read once for all samples of the batch.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from weightslab.ledger import Ledger
from weightslab.ledger.edits.group import EditGroup
from weightslab.queries.trajectories import Trajectory, trajectories
from weightslab.types import Rows, SampleIds

__all__ = ["Firing"]


class _Here(threading.local):
    firing: Firing | None = None


_here = _Here()


class Firing:
    """The samples that a batch of values fires signals for, B of them, on the thread that does.

    A context manager: when it is left, also by an error, what was edited within is applied
    and brought to the disk. Nothing of it may be used by another thread.

    Args:
        rows: int32 [B], none where the value belongs to no sample.
        step: training step of the values.
    """

    def __init__(self, ledger: Ledger, rows: Rows, step: int) -> None:
        self.ledger = ledger
        self.rows = rows
        self.step = step
        self._outer: Firing | None = None
        self._edits: EditGroup | None = None
        self._read: dict[str | None, list[list[Trajectory]]] = {}

    @staticmethod
    def current(ledger: Ledger | None = None) -> Firing | None:
        """The firing that this thread is at work on, if it is one of `ledger` (None: of any)."""
        firing = _here.firing
        if firing is None or ledger is None or firing.ledger is ledger:
            return firing
        return None

    def __enter__(self) -> Self:
        self._outer = _here.firing
        _here.firing = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _here.firing = self._outer
        if self._edits is not None:
            self._edits.finish()

    @cached_property
    def ids(self) -> SampleIds:
        """Ids of the rows, made when somebody looks at them."""
        return SampleIds(self.rows, self.ledger.ids.names)

    @cached_property
    def _places(self) -> dict[str, int]:
        # Of an id that stands in the batch twice any place will do.
        return {name: place for place, name in enumerate(self.ids)}

    # -- edits ---------------------------------------------------------------

    @property
    def edits(self) -> EditGroup:
        """What user code edits meanwhile.

        Raises:
            ReadOnlyError: the ledger was opened for reading, or is closed.
        """
        if self._edits is None:
            ledger = self.ledger
            ledger.check_writable()
            self._edits = EditGroup(lambda: ledger.edit, ledger.ids, actor="signal")
        return self._edits

    def apply(self) -> None:
        """Let whoever reads now see what was edited so far."""
        if self._edits is not None:
            self._edits.apply()

    def rows_of(self, ids: Any) -> list[int] | None:
        """Rows of ids that are strings and all of this batch; None where they are not."""
        if ids is self.ids:
            return list(self.rows.tolist())
        wanted = (ids,) if isinstance(ids, str) else ids
        if not isinstance(wanted, (list, tuple)):
            return None
        places, rows = self._places, self.rows
        try:
            return [rows.item(places[name]) for name in wanted]
        except (KeyError, TypeError):
            return None

    # -- history --------------------------------------------------------------

    def history(self, sample_id: str, signal: str | None, home: str) -> list[Trajectory] | None:
        """A sample's history in a signal (None: in all); None for a sample outside of the batch.

        The first call for a signal reads it for the whole batch: later ones see that moment.
        `home` is the split that a bare id means to other writers.
        """
        place = self._places.get(sample_id)
        if place is None:
            return None
        read = self._read.get(signal)
        if read is None:
            read = self._read[signal] = trajectories(
                self.ledger, self.ids, signal, home, rows=self.rows
            )
        return read[place]

    def forget(self, signals: Iterable[str]) -> None:
        """This thread has saved values of these signals: what was read of them is old."""
        for signal in (None, *signals):
            self._read.pop(signal, None)
