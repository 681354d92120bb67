"""Which samples are discarded, for whoever draws the next batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weightslab.ledger.edits.others import Others
from weightslab.ledger.store import Store
from weightslab.types import Rows

__all__ = ["DiscardView"]


class DiscardView:
    """Which samples are discarded, by this process or another, for whoever draws a batch."""

    def __init__(self, store: Store, others: Others) -> None:
        self._store = store
        self._others = others

    @property
    def count(self) -> int:
        """Number of discarded samples, with those that only other processes know."""
        merged = self._others.merged
        if merged is None:
            return self._store.samples.discarded_count
        return merged.discards.count + len(self._others.unknown_discards)

    @property
    def version(self) -> int:
        """Grows with every edit, whoever made it."""
        return self._store.samples.version + self._others.version

    @property
    def elsewhere(self) -> frozenset[str]:
        """Ids of discarded samples that other processes know and this one does not."""
        return self._others.unknown_discards

    def _column(self) -> npt.NDArray[np.bool_]:
        merged = self._others.merged
        return self._store.samples.discarded if merged is None else merged.discards.values

    def of(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Whether each of `rows` [n] is discarded. bool [n]."""
        column = self._column()
        inside = rows < len(column)
        if len(column) == 0:
            return inside
        result: npt.NDArray[np.bool_] = column[np.where(inside, rows, 0)] & inside
        return result

    def row(self, row: int) -> bool:
        """Whether one row is discarded."""
        column = self._column()
        return row < len(column) and bool(column[row])
