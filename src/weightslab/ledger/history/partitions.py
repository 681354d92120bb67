"""One partition of the history: published segments, and the tail that is not yet published.

A partition is one signal of one experiment hash at one layer (global, sample or
instance). The training thread only appends to its tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from weightslab.ledger.history.segments import Chunk
from weightslab.ledger.layout import Kind
from weightslab.ledger.log.records import Floats
from weightslab.types import Rows

__all__ = [
    "Entry",
    "Partition",
    "PartitionKey",
    "Segment",
    "chunk_of",
    "fold_curve",
]


@dataclass(frozen=True, slots=True, order=True)
class PartitionKey:
    """What a partition holds."""

    kind: Kind
    experiment_hash: str | None
    signal: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A published, immutable file of a partition."""

    path: Path
    first: int
    last: int
    lsn: int
    """Every record up to this number is in this segment or an earlier one."""
    rows: int
    samples: int
    """Highest sample that it speaks of, and one; 0 for curves."""
    tier: int = 0
    """How often its rows were merged: 0 as flushed, one more with each merge."""


class Entry(NamedTuple):
    """One saved array on its way to a segment."""

    lsn: int
    step: int
    launch: int
    values: Floats
    rows: Rows | None
    annotations: Rows | None


@dataclass(slots=True)
class Partition:
    """Segments and tail of one partition; guarded by the ledger's lock."""

    key: PartitionKey
    segments: list[Segment] = field(default_factory=list)
    tail: list[Entry] = field(default_factory=list)
    applied: int = 0
    """How many entries of the tail are already in the sample table."""
    _sorted: Chunk | None = None
    _sorted_entries: int = 0

    @property
    def watermark(self) -> int:
        """Number of the last record that is in a segment; 0 for none."""
        return self.segments[-1].lsn if self.segments else 0

    def published(self, segment: Segment | None, entries: int) -> None:
        """The first `entries` of the tail are in `segment` now."""
        if segment is not None:
            self.segments.append(segment)
        del self.tail[:entries]
        self.applied = max(0, self.applied - entries)
        self._sorted = None
        self._sorted_entries = 0

    def merged(self, inputs: Sequence[Segment], segment: Segment) -> None:
        """`segment` holds what `inputs` held, which stood one after the other."""
        at = self.segments.index(inputs[0])
        assert self.segments[at : at + len(inputs)] == list(inputs)
        self.segments[at : at + len(inputs)] = [segment]

    def tail_parts(self) -> tuple[Chunk | None, list[Entry], int]:
        """What `settle` needs: the sorted part, the entries behind it, and all entries' number."""
        return self._sorted, self.tail[self._sorted_entries :], len(self.tail)

    def settle(self, chunk: Chunk, entries: int) -> None:
        """Keep `chunk` as the sorted form of the first `entries` of the tail."""
        if self._sorted_entries <= entries <= len(self.tail):
            self._sorted = chunk
            self._sorted_entries = entries


def chunk_of(kind: Kind, entries: list[Entry]) -> Chunk:
    """Entries as columns, in order of arrival."""
    if not entries:
        return Chunk.empty(kind)
    if kind == "global":
        return _curve_of(entries)
    counts = np.fromiter((len(e.values) for e in entries), np.int64, len(entries))
    steps = np.fromiter((e.step for e in entries), np.int64, len(entries))
    launches = np.fromiter((e.launch for e in entries), np.int32, len(entries))
    columns: dict[str, npt.NDArray[np.generic]] = {
        "sample": np.concatenate([e.rows for e in entries if e.rows is not None]),
        "step": np.repeat(steps, counts),
        "value": np.concatenate([e.values for e in entries]).astype(np.float64, copy=False),
        "launch": np.repeat(launches, counts),
    }
    if kind == "instance":
        columns["annotation_id"] = np.concatenate(
            [e.annotations for e in entries if e.annotations is not None]
        )
    return Chunk(kind, columns)


def _curve_of(entries: list[Entry]) -> Chunk:
    n = len(entries)
    value, low, high = (np.empty(n, np.float64) for _ in range(3))
    count = np.empty(n, np.int64)
    for at, entry in enumerate(entries):
        values = entry.values
        if entry.rows is None:
            value[at] = low[at] = high[at] = values[0]
            count[at] = 0
        else:
            with np.errstate(invalid="ignore", over="ignore"):
                value[at] = values.mean(dtype=np.float64)
            low[at], high[at], count[at] = values.min(), values.max(), len(values)
    return Chunk(
        "global",
        {
            "step": np.fromiter((e.step for e in entries), np.int64, n),
            "value": value,
            "min": low,
            "max": high,
            "count": count,
            "launch": np.fromiter((e.launch for e in entries), np.int32, n),
        },
    )


def fold_curve(chunk: Chunk) -> Chunk:
    """One row per (launch, step): means weighted by count; of scalars the newest.

    Where scalars and means meet at one step, the newest scalar wins.
    """
    if len(chunk) < 2:
        return chunk
    c = chunk.columns
    order = np.lexsort((c["step"], c["launch"]))
    launch, step, count = c["launch"][order], c["step"][order], c["count"][order]
    starts = np.flatnonzero(np.concatenate(([True], (np.diff(launch) != 0) | (np.diff(step) != 0))))
    if len(starts) == len(order):
        return chunk.take(order)
    value, low, high = (c[name][order] for name in ("value", "min", "max"))
    total = np.add.reduceat(count, starts)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        weighted = np.where(count > 0, value * count, 0.0)
        mean = np.add.reduceat(weighted, starts) / total
    folded = {
        "step": step[starts],
        "value": mean,
        "min": np.minimum.reduceat(low, starts),
        "max": np.maximum.reduceat(high, starts),
        "count": total,
        "launch": launch[starts],
    }
    # Newest scalar of each group, if it has one: the order is stable, so the last.
    position = np.where(count == 0, np.arange(len(order)), -1)
    newest = np.maximum.reduceat(position, starts)
    has = newest >= 0
    for name, source in (("value", value), ("min", value), ("max", value)):
        folded[name] = np.where(has, source[newest], folded[name])
    folded["count"] = np.where(has, 0, folded["count"])
    alone = np.diff(np.append(starts, len(order))) == 1
    folded["value"] = np.where(alone, value[starts], folded["value"])
    return Chunk("global", folded)
