"""Rows that were made by name, "<origin>/<index>", and then turned out to be a dataset's.

Somebody saves or tags "train/3" before the dataset "train" is known. When it comes, that
very row is its sample 3: nothing moves, and no second row gets the name.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from weightslab.ledger.ids.blocks import Indices

__all__ = ["Places"]


class Places:
    """Place by row and row by place, of rows that no block holds."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[int, int]] = {}
        self._of: dict[int, tuple[str, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._of)

    def put(self, origin: str, index: int, row: int) -> None:
        """Let a row stand for an index of a dataset."""
        self._rows.setdefault(origin, {})[index] = row
        self._of[row] = (origin, index)

    def of(self, row: int) -> tuple[str, int] | None:
        """Origin and index that a row stands for."""
        return self._of.get(row)

    def name(self, row: int) -> str | None:
        """The place of a row, as a name."""
        place = self._of.get(row)
        return None if place is None else f"{place[0]}/{place[1]}"

    def names(self) -> dict[int, str]:
        """Every place as a name, by row."""
        return {row: f"{origin}/{index}" for row, (origin, index) in self._of.items()}

    def origins(self) -> Iterable[str]:
        """Origins of which some place is held."""
        return self._rows

    def rows_of(self, origin: str, indices: Indices) -> Indices:
        """Row of each index, -1 where none is held."""
        held = self._rows.get(origin)
        if held is None:
            return np.full(len(indices), -1, np.int64)
        found = (held.get(index, -1) for index in indices.tolist())
        return np.fromiter(found, np.int64, len(indices))
