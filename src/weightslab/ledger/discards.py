"""Which samples are discarded, for whoever draws the next batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weightslab.ledger.store import Store
from weightslab.types import Rows

__all__ = ["DiscardView"]


class DiscardView:
    """Which samples are discarded, for whoever draws the next batch."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def count(self) -> int:
        """Number of discarded samples of this ledger."""
        return self._store.samples.discarded_count

    @property
    def version(self) -> int:
        """Grows with every edit."""
        return self._store.samples.version

    def of(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Whether each of `rows` [n] is discarded. bool [n]."""
        column = self._store.samples.discarded
        inside = rows < len(column)
        if len(column) == 0:
            return inside
        result: npt.NDArray[np.bool_] = column[np.where(inside, rows, 0)] & inside
        return result

    def row(self, row: int) -> bool:
        """Whether one row is discarded."""
        column = self._store.samples.discarded
        return row < len(column) and bool(column[row])
