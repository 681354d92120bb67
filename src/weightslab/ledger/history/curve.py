"""A curve in blocks, made of pieces that may speak of the same steps.

A step that a flush cut in two, a scalar that was logged anew and several writers at one step
are one point: where the blocks of two pieces overlap, their points are folded first, as a
merge would.

Shapes: B blocks of all pieces, R ranges of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weightslab.ledger.history.partitions import fold_curve
from weightslab.ledger.history.pyramid import Blocks, blocks_of
from weightslab.ledger.history.segments import Chunk, concat_chunks

__all__ = ["CurvePiece", "Span", "folded_blocks", "folded_points"]

Span = tuple[int | None, int | None]
"""First and last step; None: no bound."""
Steps = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CurvePiece:
    """A segment or a tail of a curve."""

    blocks: Blocks
    points: Callable[[Steps, Steps], Chunk]
    """Rows by launch, then step: at least those between one of the lows and its high."""

    def touches(self, span: Span) -> bool:
        """Whether some block may have a step between the two of `span`."""
        if not len(self.blocks):
            return False
        start, stop = span
        return (start is None or int(self.blocks.last.max()) >= start) and (
            stop is None or int(self.blocks.first.min()) <= stop
        )


def folded_points(pieces: Sequence[CurvePiece], span: Span) -> Blocks:
    """Every point of the curve between two steps as a block of its own."""
    every = np.iinfo(np.int64)
    low = every.min if span[0] is None else span[0]
    high = every.max if span[1] is None else span[1]
    bounds = np.array([low]), np.array([high])
    parts = [piece.points(*bounds) for piece in pieces if piece.touches(span)]
    return blocks_of(fold_curve(concat_chunks("global", parts)), 1)


def folded_blocks(pieces: Sequence[CurvePiece], span: Span) -> Blocks:
    """The curve between two steps in blocks; each step stands in one of them."""
    held = [piece for piece in pieces if piece.touches(span)]
    if len(held) < 2:
        return held[0].blocks if held else Blocks.none()
    columns = [
        np.concatenate(parts)
        for parts in zip(*(piece.blocks.columns() for piece in held), strict=True)
    ]
    whole = Blocks.of(columns)
    owner = np.repeat(np.arange(len(held)), [len(piece.blocks) for piece in held])
    shared, ranges = _shared(whole, owner)
    if not shared.any():
        return whole
    parts = []
    for number in np.unique(owner[shared]).tolist():
        own = shared & (owner == number)
        chunk = held[number].points(whole.first[own], whole.last[own])
        parts.append(chunk.take(_range_of(chunk, ranges) >= 0))
    folded = fold_curve(concat_chunks("global", parts))
    fresh = blocks_of(folded, groups=_range_of(folded, ranges))
    return Blocks.of(
        np.concatenate((column[~shared], new))
        for column, new in zip(columns, fresh.columns(), strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Ranges:
    """Steps that several pieces speak of: R ranges, by launch, then step."""

    launch: npt.NDArray[np.int32]
    low: Steps
    high: Steps


def _shared(whole: Blocks, owner: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.bool_], _Ranges]:
    """Which blocks overlap one of another piece, directly or by others between; and where."""
    order = np.lexsort((whole.first, whole.launch))
    shared = np.zeros(len(whole), np.bool_)
    found: list[tuple[int, int, int]] = []
    launches = whole.launch[order]
    cuts = np.flatnonzero(np.concatenate(([True], launches[1:] != launches[:-1], [True])))
    for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        own = order[start:stop]
        reach = np.maximum.accumulate(whole.last[own])
        apart = np.concatenate(([True], whole.first[own][1:] > reach[:-1]))
        starts = np.flatnonzero(apart)
        ends = np.append(starts[1:], len(own)) - 1
        several = np.minimum.reduceat(owner[own], starts) != np.maximum.reduceat(owner[own], starts)
        shared[own] = several[np.cumsum(apart) - 1]
        # Ranges with no block between them are one.
        edges = np.flatnonzero(np.diff(np.concatenate(([False], several, [False]))))
        for first, behind in edges.reshape(-1, 2).tolist():
            low, high = whole.first[own[starts[first]]], reach[ends[behind - 1]]
            found.append((int(launches[start]), int(low), int(high)))
    launch, low, high = np.array(found, np.int64).reshape(-1, 3).T
    return shared, _Ranges(launch.astype(np.int32), low, high)


def _range_of(chunk: Chunk, ranges: _Ranges) -> npt.NDArray[np.int64]:
    """Number of the range that each row lies in; -1 for none."""
    launch, step = chunk.columns["launch"], chunk.columns["step"]
    found = np.full(len(chunk), -1, np.int64)
    for number in np.unique(ranges.launch).tolist():
        own = np.flatnonzero(ranges.launch == number)
        rows = np.flatnonzero(launch == number)
        at = np.searchsorted(ranges.low[own], step[rows], side="right") - 1
        inside = (at >= 0) & (step[rows] <= ranges.high[own][at])
        found[rows[inside]] = own[at[inside]]
    return found
