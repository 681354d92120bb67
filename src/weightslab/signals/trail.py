"""The last values of each sample in the order of the queue, numbered.

Training runs ahead of its signals: what the ledger holds when a signal is computed includes
values that came later. So each value carries its number, how many the same sample had
before it, and history is what has a smaller one, however late anybody looks.

Shapes: B values in a batch, P places; a place is a sample, or an instance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.ledger.history.recent import RecentRing, ring_of
from weightslab.ledger.history.segments import Chunk
from weightslab.ledger.table.samples import grown_rows
from weightslab.signals.past import SignalHistory

__all__ = ["Numbers", "Trail"]

Places = npt.NDArray[np.int32]


class Numbers:
    """How many values each place has had."""

    def __init__(self) -> None:
        self._counts = np.zeros(0, np.int64)

    def take(self, places: Places) -> npt.NDArray[np.int64]:
        """Count one value of each place [B]; gives how many each had before, [B].

        A place that stands there twice had as many before both.
        """
        if len(places):
            self._counts = grown_rows(self._counts, int(places.max()) + 1)
        before: npt.NDArray[np.int64] = self._counts[places]
        np.add.at(self._counts, places, 1)
        return before


class Trail:
    """Last values of each place; used by one thread alone.

    Begins with `pieces`, values of this launch by experiment hash, whose column "sample"
    holds places: all that there are at the moment, however far the queue has come.
    """

    def __init__(self, pieces: Iterable[tuple[object, Chunk]], launch: int) -> None:
        self._ends = np.zeros(0, np.int64)
        """Number of the next value that the ring takes."""
        self._starts = np.zeros(0, np.int64)
        """Number of the value that the ring begins with: values were missed before it."""
        self._ring: RecentRing = ring_of(self._counted(pieces), launch)

    def _counted(self, pieces: Iterable[tuple[object, Chunk]]) -> Iterator[tuple[object, Chunk]]:
        for experiment, piece in pieces:
            places = piece.columns["sample"]
            if len(places):
                self._make_room(places)
                np.add.at(self._ends, places, 1)
            yield experiment, piece

    @property
    def size_bytes(self) -> int:
        """Memory that it takes."""
        return self._ring.size_bytes + self._ends.nbytes + self._starts.nbytes

    def _make_room(self, places: Places) -> None:
        rows = int(places.max(initial=-1)) + 1
        self._ends = grown_rows(self._ends, rows)
        self._starts = grown_rows(self._starts, rows)

    def feed(
        self,
        places: Places,
        earlier: npt.NDArray[np.int64],
        step: int,
        values: npt.NDArray[Any],
    ) -> None:
        """Take `values` [B] with their numbers `earlier` [B]; those that it has are left out."""
        self._make_room(places)
        ends = self._ends[places]
        if not np.array_equal(ends, earlier):
            missed = earlier > ends
            self._starts[places[missed]] = self._ends[places[missed]] = earlier[missed]
            fresh = earlier >= ends
            places, values = places[fresh], values[fresh]
        self._ring.put(places, step, values)
        np.add.at(self._ends, places, 1)

    def last(self, places: Places, earlier: npt.NDArray[np.int64], n: int) -> SignalHistory | None:
        """The last `n` values that came before number `earlier` [B]; None if some are not here."""
        self._make_room(places)
        counts = np.minimum(earlier, n)
        back = self._ends[places] - earlier
        some = counts > 0
        if (back < 0).any() or (back + counts > self._ring.held(places))[some].any():
            return None
        if ((earlier - counts) < self._starts[places])[some].any():
            return None
        steps, values = self._ring.before(places, back, counts)
        return SignalHistory(steps.astype(np.int64, copy=False), values, counts)
