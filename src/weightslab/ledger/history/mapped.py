"""One segment, mapped: a few samples' values are read out of their pages.

Shapes: m distinct samples of a row group.
"""

from __future__ import annotations

import mmap
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from weightslab.ledger.history.pages import PageList, list_pages
from weightslab.ledger.history.segments import (
    COLUMNS,
    Chunk,
    columns_of,
    concat_chunks,
    footer_of,
    names_of,
)
from weightslab.ledger.layout import Kind

__all__ = ["Edges", "Indices", "SegmentFile", "SegmentIndexes", "take_rows"]

Indices = npt.NDArray[np.int64]
"""Sample or row numbers."""
Edges = tuple[Indices, Indices, Indices]
"""Lowest sample, highest sample and number of rows of each row group."""

_MANY = 64
"""Samples of one row group from which on decoding all of it is quicker than page by page."""


class _Group(NamedTuple):
    """What is known of a row group once somebody looked into it."""

    samples: npt.NDArray[np.int32]
    """Its distinct samples, sorted; [m]."""
    starts: npt.NDArray[np.int32]
    """First row of each sample and, last, the number of rows; [m + 1]."""
    columns: dict[str, PageList | int | None]
    """By name: the pages, the one value that all rows have, or None for another form."""


class SegmentIndexes:
    """What is known of row groups, of many files; least recently used first out. For any thread.

    Args:
        budget_bytes: memory for it: 8 bytes for each distinct sample of a row group.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._held: OrderedDict[tuple[int, int], _Group] = OrderedDict()
        self._lock = Lock()
        self.size_bytes = 0

    def get(self, file: int, number: int) -> _Group | None:
        """What is known of a row group of the file with a number of its own."""
        with self._lock:
            found = self._held.get((file, number))
            if found is not None:
                self._held.move_to_end((file, number))
            return found

    def put(self, file: int, number: int, group: _Group) -> None:
        """Keep it while there is room."""
        with self._lock:
            if (file, number) not in self._held:
                self._held[file, number] = group
                self.size_bytes += _size(group)
            while self.size_bytes > self._budget and len(self._held) > 1:
                self.size_bytes -= _size(self._held.popitem(last=False)[1])

    def forget(self, file: int) -> None:
        """Let go of a file that is read no more."""
        with self._lock:
            for key in [key for key in self._held if key[0] == file]:
                self.size_bytes -= _size(self._held.pop(key))


def _size(group: _Group) -> int:
    return group.samples.nbytes + group.starts.nbytes


_NUMBERS = count()


class SegmentFile:
    """A mapped segment of samples or instances.

    Args:
        indexes: where to keep what is known of its row groups; None: nowhere.

    Raises:
        FileNotFoundError: it is gone: merged into another one meanwhile.
        OSError, ValueError: it is damaged.
    """

    def __init__(self, path: Path, kind: Kind, indexes: SegmentIndexes | None = None) -> None:
        with path.open("rb") as stream:
            self._map = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)
        self._view = memoryview(self._map)
        self._kind = kind
        source = pa.BufferReader(pa.py_buffer(self._map))
        self._parquet = pq.ParquetFile(source, page_checksum_verification=True)
        self._metadata = self._parquet.metadata
        self._names = names_of(kind)
        self.number = next(_NUMBERS)
        """What `indexes` know it by."""
        self._indexes = indexes
        self._latest = (-1, Chunk.empty(kind))
        bounds = np.array(self._bounds(), np.int64).reshape(-1, 2)
        self._lows, self._highs = bounds[:, 0], bounds[:, 1]

    def _bounds(self) -> Sequence[tuple[int, int]]:
        """First and last sample of each row group; of a file of somebody else's by statistics."""
        count = self._metadata.num_row_groups
        found: Sequence[tuple[int, int]] | None = footer_of(self._metadata).get("groups")
        if found is None:
            columns = [self._column(group, "sample").statistics for group in range(count)]
            found = [(column.min, column.max) for column in columns]
        if len(found) != count:
            raise ValueError(f"{count} row groups, and the bounds of {len(found)}")
        return found

    @property
    def rows(self) -> int:
        """Number of rows."""
        number: int = self._metadata.num_rows
        return number

    def _column(self, group: int, name: str) -> Any:
        return self._metadata.row_group(group).column(self._names.index(name))

    def groups(self) -> Iterator[Chunk]:
        """The whole segment, one row group at a time."""
        for group in range(self._metadata.num_row_groups):
            yield self._decoded(group)

    def between(self, low: int, high: int) -> Iterator[Chunk]:
        """Rows of the samples `low..high` (exclusive), one row group at a time.

        The last row group is kept: whoever goes through a segment asks for it again.
        """
        for group in range(
            int(np.searchsorted(self._highs, low)), int(np.searchsorted(self._lows, high))
        ):
            if self._latest[0] != group:
                self._latest = (group, self._decoded(group))
            chunk = self._latest[1]
            sample = chunk.columns["sample"]
            start, stop = np.searchsorted(sample, np.array((low, high), sample.dtype))
            if start < stop:
                yield chunk.take(slice(int(start), int(stop)))

    def edges(self) -> Edges:
        """Where the row groups begin and end."""
        counts = [
            self._metadata.row_group(group).num_rows
            for group in range(self._metadata.num_row_groups)
        ]
        return self._lows, self._highs, np.array(counts, np.int64)

    def of(self, wanted: Indices) -> Chunk:
        """Rows of the samples `wanted` (sorted, each once), sorted by sample."""
        first = int(np.searchsorted(self._highs, wanted[0]))
        last = int(np.searchsorted(self._lows, wanted[-1], side="right"))
        parts = []
        for group in range(first, last):
            low, high = np.searchsorted(wanted, (self._lows[group], self._highs[group] + 1))
            if low < high:
                parts.append(self._of_group(group, wanted[low:high]))
        return concat_chunks(self._kind, parts)

    def _of_group(self, number: int, wanted: Indices) -> Chunk:
        group = self._group(number)
        at = np.searchsorted(group.samples, wanted)
        inside = at < len(group.samples)
        at = at[inside][group.samples[at[inside]] == wanted[inside]]
        if len(at) > _MANY or any(pages is None for pages in group.columns.values()):
            return take_rows(self._decoded(number), wanted)
        lows, highs = group.starts[at], group.starts[at + 1]
        spans = list(zip(lows.tolist(), highs.tolist(), strict=True))
        columns: dict[str, npt.NDArray[Any]] = {
            "sample": np.repeat(group.samples[at], highs - lows),
        }
        total = len(columns["sample"])
        for name, dtype, _ in COLUMNS[self._kind]:
            pages = group.columns.get(name)
            if isinstance(pages, int):
                columns[name] = np.full(total, pages, dtype)
            elif pages is not None:
                parts = [pages.rows(self._view, low, high) for low, high in spans]
                columns[name] = np.concatenate(parts) if parts else np.zeros(0, dtype)
        return Chunk(self._kind, columns)

    def _group(self, number: int) -> _Group:
        found = None if self._indexes is None else self._indexes.get(self.number, number)
        if found is None:
            found = self._look_into(number)
            if self._indexes is not None:
                self._indexes.put(self.number, number, found)
        return found

    def _look_into(self, number: int) -> _Group:
        table = self._parquet.read_row_group(number, columns=["sample"], use_threads=False)
        parts = [np.frombuffer(c.buffers()[1], np.int32, len(c)) for c in table.column(0).chunks]
        sample = np.concatenate(parts)
        starts = np.flatnonzero(np.concatenate(([True], sample[1:] != sample[:-1])))
        columns: dict[str, PageList | int | None] = {}
        for name, dtype, _ in COLUMNS[self._kind]:
            if name == "sample":
                continue
            column = self._column(number, name)
            extremes = column.statistics
            if name == "launch" and extremes is not None and extremes.min == extremes.max:
                columns[name] = int(extremes.min)
            else:
                columns[name] = list_pages(self._view, column, np.dtype(dtype))
        bounds = np.append(starts, len(sample)).astype(np.int32)
        return _Group(sample[starts], bounds, columns)

    def _decoded(self, group: int) -> Chunk:
        table = self._parquet.read_row_group(group, columns=self._names, use_threads=False)
        return columns_of(table, self._kind)


def take_rows(chunk: Chunk, wanted: Indices) -> Chunk:
    """Rows of the samples `wanted` (sorted, each once) of a chunk that is sorted by sample."""
    sample = chunk.columns["sample"]
    # Same dtype on both sides, or numpy casts the whole column first.
    keys = wanted.astype(sample.dtype)
    lows = np.searchsorted(sample, keys)
    highs = np.searchsorted(sample, keys, side="right")
    if len(wanted) == 1:
        return chunk.take(slice(int(lows[0]), int(highs[0])))
    counts = highs - lows
    shift = np.repeat(lows - np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
    return chunk.take(np.arange(counts.sum()) + shift)
