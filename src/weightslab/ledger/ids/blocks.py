"""Rows that are named by their place: the samples of one origin, "<origin>/<index>"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Block", "Indices", "grouped_places", "parsed_place"]

Indices = npt.NDArray[np.int64]
"""Dataset indices."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows `start..start+count` named "<origin>/<index>"; `origin` None: named one by one."""

    start: int
    count: int
    origin: str | None
    first: int = 0
    indices: Indices | None = None
    """Sorted dataset indices [count] when they are not `first..first+count`."""

    def index_at(self, row: int) -> int:
        """Dataset index of a row of this block."""
        if self.indices is not None:
            return int(self.indices[row - self.start])
        return self.first + row - self.start

    def index_array(self) -> Indices:
        """All dataset indices, int64 [count]."""
        if self.indices is not None:
            return self.indices
        return np.arange(self.first, self.first + self.count, dtype=np.int64)

    def rows_of(self, indices: Indices) -> npt.NDArray[np.int64]:
        """Row of each index, -1 where the block does not hold it."""
        if self.indices is None:
            rows = indices - self.first
            inside = (rows >= 0) & (rows < self.count)
        else:
            rows = np.searchsorted(self.indices, indices)
            inside = (
                self.indices.take(np.minimum(rows, self.count - 1)) == indices
                if self.count
                else np.zeros(len(indices), bool)
            )
        return np.where(inside, rows + self.start, -1)


def parsed_place(name: str) -> tuple[str, int] | None:
    """Origin and index of "<origin>/<index>", None for any other name."""
    origin, slash, tail = name.rpartition("/")
    if not slash or not tail.isascii() or not tail.isdigit():
        return None
    if len(tail) > 18 or (tail[0] == "0" and tail != "0"):
        return None
    return origin, int(tail)


def grouped_places(
    names: Sequence[str], which: Sequence[int]
) -> dict[str, tuple[Sequence[int], Indices]]:
    """Of the names at `which` those of the form "<origin>/<index>": by origin, where and which."""
    at_once = _of_one_origin([names[at] for at in which])
    if at_once is not None:
        return {at_once[0]: (which, at_once[1])}
    where: dict[str, list[int]] = {}
    indices: dict[str, list[int]] = {}
    for at in which:
        parsed = parsed_place(names[at])
        if parsed is not None:
            where.setdefault(parsed[0], []).append(at)
            indices.setdefault(parsed[0], []).append(parsed[1])
    return {origin: (at, np.array(indices[origin], np.int64)) for origin, at in where.items()}


def _of_one_origin(names: list[str]) -> tuple[str, Indices] | None:
    """Origin and indices where all names are places of one origin, several times quicker."""
    origin, slash, _ = names[0].rpartition("/") if names else ("", "", "")
    prefix = origin + slash
    tails = [name[len(prefix) :] for name in names if name.startswith(prefix)]
    text = "".join(tails)
    if not slash or len(tails) < len(names) or not all(tails):
        return None
    if not (text.isascii() and text.isdigit()) or max(map(len, tails)) > 18:
        return None
    indices = np.fromiter(map(int, tails), np.int64, len(tails))
    # A leading zero makes another name: then there are more characters than digits.
    digits = np.searchsorted(_POWERS, indices, side="right") + 1
    return (origin, indices) if int(digits.sum()) == len(text) else None


_POWERS = 10 ** np.arange(1, 19, dtype=np.int64)
