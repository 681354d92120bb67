"""The last values of each sample of one signal, in memory: for whoever asks at every step.

Shapes: n rows of a call, `DEPTH` values that are kept of each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.ledger.history.segments import Chunk
from weightslab.ledger.table.samples import grown_rows
from weightslab.types import Rows

__all__ = ["DEPTH", "RecentRing", "ring_of"]

DEPTH = 32
"""Values that are kept of each sample; a power of two."""
_MERGED_ROWS = 1 << 16

_TURNS = (np.arange(DEPTH)[:, None] + np.arange(DEPTH)) % DEPTH
"""[DEPTH, DEPTH] the places of a ring in order, by the place of its oldest value."""


class RecentRing:
    """A ring of `DEPTH` (step, value) pairs for each row; 264 bytes a row.

    Steps and values are kept in 32 bits until one of them would not be exact there; from
    then on in 64. Not safe for several threads: the store's lock guards it.
    """

    def __init__(self) -> None:
        self._steps: npt.NDArray[Any] = np.zeros((0, DEPTH), np.int32)
        self._values: npt.NDArray[Any] = np.zeros((0, DEPTH), np.float32)
        self._written = np.zeros(0, np.int64)
        """How many values each row ever got."""

    def __len__(self) -> int:
        """Rows that there is room for."""
        return len(self._written)

    @property
    def size_bytes(self) -> int:
        """Memory of the ring."""
        return self._steps.nbytes + self._values.nbytes + self._written.nbytes

    def put(self, rows: Rows, steps: npt.NDArray[np.int64] | int, values: npt.NDArray[Any]) -> None:
        """Take `values` [n] of `rows` [n] at `steps` [n], or all at one step.

        A row that stands there several times keeps its values in order.
        """
        if not len(rows):
            return
        steps = np.broadcast_to(np.asarray(steps, np.int64), rows.shape)
        self._make_room(int(rows.max()) + 1)
        self._widen(steps, values)
        order, earlier, later = _repeats(rows)
        if order is not None:
            rows, steps, values = rows[order], steps[order], values[order]
        at = self._written[rows] + earlier
        last = later == 0
        self._written[rows[last]] = at[last] + 1
        # Of more values than there is room for, only the last are written: never twice one place.
        kept = later < DEPTH
        if not kept.all():
            rows, steps, values, at = rows[kept], steps[kept], values[kept], at[kept]
        places = rows.astype(np.int64) * DEPTH + (at & (DEPTH - 1))
        self._steps.reshape(-1)[places] = steps
        self._values.reshape(-1)[places] = values

    def get(self, rows: Rows) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Steps [n, DEPTH], values [n, DEPTH] and their numbers [n] of `rows`, oldest first.

        A row's values stand at the left; what stands right of them is 0. The arrays are
        copies: int32 and float32, or int64 and float64 where 32 bits are not exact.
        """
        if len(rows):
            self._make_room(int(rows.max()) + 1)
        written = self._written[rows]
        counts = np.minimum(written, DEPTH)
        # Whole rows first, which lie together; then each is turned so that its oldest is left.
        turned = _TURNS[(written - counts) & (DEPTH - 1)]
        turned += (np.arange(len(rows)) * DEPTH)[:, None]
        steps, values = self._steps[rows], self._values[rows]
        return steps.reshape(-1).take(turned), values.reshape(-1).take(turned), counts

    def held(self, rows: Rows) -> npt.NDArray[np.int64]:
        """How many values of each of `rows` [n] are here, at most `DEPTH`."""
        if len(rows):
            self._make_room(int(rows.max()) + 1)
        return np.minimum(self._written[rows], DEPTH)

    def before(
        self, rows: Rows, back: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Steps and values [n, T] that stand before the newest `back` [n] of each row.

        The last `counts` [n] of them, T at most, oldest first at the left, with 0 right of
        them; `back + counts` is at most what is held. Only these are touched, which of a few
        values takes a fraction of `get`.
        """
        columns = np.arange(int(counts.max(initial=0)))
        first = self._written[rows] - back - counts
        places = (first[:, None] + columns) & (DEPTH - 1)
        places += (rows.astype(np.int64) * DEPTH)[:, None]
        steps, values = self._steps.reshape(-1)[places], self._values.reshape(-1)[places]
        absent = columns >= counts[:, None]
        if absent.any():
            steps[absent], values[absent] = 0, 0
        return steps, values

    def _make_room(self, rows: int) -> None:
        if rows > len(self._written):
            self._written = grown_rows(self._written, rows)
            self._steps = grown_rows(self._steps, rows)
            self._values = grown_rows(self._values, rows)

    def _widen(self, steps: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> None:
        """Go over to 64 bits where 32 do not hold what comes."""
        if self._steps.itemsize == 4 and (steps.max() >= 2**31 or steps.min() < -(2**31)):
            self._steps = self._steps.astype(np.int64)
        if self._values.itemsize == 4 and values.dtype != np.float32:
            with np.errstate(over="ignore"):
                narrow = values.astype(np.float32)
            if not np.array_equal(narrow, values, equal_nan=True):
                self._values = self._values.astype(np.float64)


def ring_of(pieces: Iterable[tuple[object, Chunk]], launch: int) -> RecentRing:
    """A ring that holds the last values of one launch.

    `pieces` are (experiment hash, rows) of a signal: those of one hash sorted by sample, or
    oldest first. Memory: the rings, and one piece.
    """
    rings: dict[object, RecentRing] = {}
    for experiment, piece in pieces:
        own = piece.take(piece.columns["launch"] == launch)
        if len(own):
            columns = own.columns
            ring = rings.setdefault(experiment, RecentRing())
            ring.put(columns["sample"], columns["step"], columns["value"])
    if len(rings) == 1:
        return next(iter(rings.values()))
    return _merged(list(rings.values()))


def _merged(rings: list[RecentRing]) -> RecentRing:
    """Rings of several hashes as one: files do not say which came first, the step does."""
    merged = RecentRing()
    most = max(map(len, rings), default=0)
    for start in range(0, most, _MERGED_ROWS):
        rows = np.arange(start, min(most, start + _MERGED_ROWS), dtype=np.int32)
        found = [ring.get(rows) for ring in rings]
        filled = np.concatenate([np.arange(DEPTH) < counts[:, None] for _, _, counts in found])
        steps = np.concatenate([steps for steps, _, _ in found])[filled]
        values = np.concatenate([values for _, values, _ in found])[filled]
        own = np.repeat(np.tile(rows, len(rings)), DEPTH).reshape(-1, DEPTH)[filled]
        # Within a hash and a step the order of arrival stays.
        order = np.argsort(steps, kind="stable")
        merged.put(own[order], steps[order].astype(np.int64), values[order])
    return merged


def _repeats(
    rows: Rows,
) -> tuple[npt.NDArray[np.int64] | None, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """How often each row stands earlier and later in the call, in an order that groups rows.

    The order is None where no row stands twice: then nothing needs sorting.
    """
    n = len(rows)
    key = rows.astype(np.int64) << 32
    key |= np.arange(n)
    key.sort()
    starts = np.empty(n, np.bool_)
    starts[0] = True
    np.not_equal(key[1:] >> 32, key[:-1] >> 32, out=starts[1:])
    if starts.all():
        none = np.zeros(n, np.int64)
        return None, none, none
    first = np.flatnonzero(starts)
    sizes = np.diff(first, append=n)
    earlier = np.arange(n) - np.repeat(first, sizes)
    return key & 0xFFFFFFFF, earlier, np.repeat(sizes, sizes) - 1 - earlier
