"""Several sorted segments become one: a counting merge, window by window.

Inputs are sorted by sample, so a window of samples is a slice of each; where every row goes
follows from counting how many each input has of each sample. Nothing is compared, but where
few rows lie far apart, and memory holds one window and a row group of each input, however
long the segments are.

Shapes: n rows of a window, m samples of a window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from weightslab.ledger.history.mapped import Edges, SegmentFile
from weightslab.ledger.history.partitions import fold_curve
from weightslab.ledger.history.pyramid import blocks_of, packed
from weightslab.ledger.history.segments import (
    Chunk,
    SegmentWriter,
    concat_chunks,
    read_chunk,
    read_footer,
    sort_chunk,
)
from weightslab.ledger.layout import Kind

__all__ = ["merge_segments", "merge_sorted", "windows"]

_WINDOW_ROWS = 1 << 20
"""About as many rows are merged at a time."""
_SPARSE = 4
"""Rows are sorted instead of counted where there are so many counts for each."""


def merge_sorted(kind: Kind, parts: Sequence[Chunk]) -> Chunk:
    """Chunks that are sorted by sample as one; of one sample, earlier parts come first."""
    parts = [part for part in parts if len(part)]
    if len(parts) < 2:
        return concat_chunks(kind, list(parts))
    if kind == "instance":
        # Annotations of one sample interleave as well: rare enough for a plain stable sort.
        return sort_chunk(concat_chunks(kind, list(parts)))
    samples = [part.columns["sample"] for part in parts]
    low = min(int(sample[0]) for sample in samples)
    m = max(int(sample[-1]) for sample in samples) - low + 1
    if len(parts) * m > _SPARSE * sum(map(len, parts)):
        # Few rows of many samples: counts would take far more memory than the rows.
        return sort_chunk(concat_chunks(kind, list(parts)))
    counts = [np.bincount(sample - low, minlength=m) for sample in samples]
    total = np.sum(counts, axis=0)
    places = np.cumsum(total) - total
    n = int(total.sum())
    merged: dict[str, npt.NDArray[Any]] = {
        name: np.empty(n, column.dtype) for name, column in parts[0].columns.items()
    }
    merged["sample"] = np.repeat(np.arange(low, low + m, dtype=np.int32), total)
    for part, count in zip(parts, counts, strict=True):
        target = np.repeat(places - (np.cumsum(count) - count), count)
        target += np.arange(len(part))
        for name, column in part.columns.items():
            if name != "sample":
                merged[name][target] = column
        places += count
    return Chunk(kind, merged)


def windows(edges: Sequence[Edges], most_rows: int) -> Iterator[tuple[int, int]]:
    """Ranges of samples (low, high exclusive) with about `most_rows` rows each, in order.

    As if a row group's rows were spread evenly over its samples; `edges` are those of each file.
    """
    lows, highs, rows = (np.concatenate(column) for column in zip(*edges, strict=True))
    cuts = np.unique(np.concatenate([lows, highs + 1]))
    density = rows / (highs + 1 - lows)
    per_sample = np.zeros(len(cuts))
    np.add.at(per_sample, np.searchsorted(cuts, lows), density)
    np.subtract.at(per_sample, np.searchsorted(cuts, highs + 1), density)
    per_sample = np.cumsum(per_sample)[:-1]
    behind = np.concatenate(([0.0], np.cumsum(per_sample * np.diff(cuts))))
    pieces = max(1, int(np.ceil(behind[-1] / most_rows)))
    bounds = np.interp(np.linspace(0, behind[-1], pieces + 1), behind, cuts).astype(np.int64)
    bounds[-1] = cuts[-1]
    bounds = np.unique(bounds)
    yield from zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)


def _merged_windows(kind: Kind, files: Sequence[SegmentFile]) -> Iterator[Chunk]:
    for low, high in windows([file.edges() for file in files], _WINDOW_ROWS):
        if high - low == 1 and kind == "sample":
            # One sample, however many rows: it stands in order as the inputs do.
            for file in files:
                yield from file.between(low, high)
            continue
        parts = [concat_chunks(kind, list(file.between(low, high))) for file in files]
        yield merge_sorted(kind, parts)


def merge_segments(
    kind: Kind, inputs: Sequence[Path], stream: BinaryIO, *, tier: int, level: int = 1
) -> int:
    """Write one segment that holds what `inputs` hold, oldest first; gives its number of rows.

    Raises:
        OSError, ValueError: an input that is damaged, or a disk that refuses.
    """
    footers = [read_footer(path) for path in inputs]
    footer = footers[0] | {
        "lsn": max(f["lsn"] for f in footers),
        "last": max(f["last"] for f in footers),
        "samples": max(f["samples"] for f in footers),
        "tier": tier,
    }
    pieces: Iterable[Chunk]
    if kind == "global":
        curve = fold_curve(concat_chunks(kind, [read_chunk(path, kind) for path in inputs]))
        footer["blocks"] = packed(blocks_of(curve))
        pieces = [curve]
    else:
        pieces = _merged_windows(kind, [SegmentFile(path, kind) for path in inputs])
    rows = 0
    with SegmentWriter(kind, stream, level=level, clustered=True) as writer:
        for piece in pieces:
            writer.write(piece)
            rows += len(piece)
        writer.finish(footer)
    return rows
