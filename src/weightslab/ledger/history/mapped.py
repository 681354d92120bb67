"""One segment, mapped: a few samples' values are read out of their pages.

Shapes: m distinct samples of a row group, P pages.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from weightslab.ledger.history.page_index import PageIndex
from weightslab.ledger.history.pages import PageList, list_pages, pages_at
from weightslab.ledger.history.segments import (
    COLUMNS,
    Chunk,
    columns_of,
    concat_chunks,
    footer_of,
    names_of,
)
from weightslab.ledger.history.spans import Places, find_spans, joined, ranges, read_spans
from weightslab.ledger.layout import Kind

__all__ = ["Edges", "Indices", "SegmentFile", "SegmentIndexes", "map_file", "take_rows"]

Indices = npt.NDArray[np.int64]
"""Sample or row numbers."""
Edges = tuple[Indices, Indices, Indices]
"""Lowest sample, highest sample and number of rows of each row group."""

_MANY = 1024
"""Samples of one row group from which on decoding all of it is quicker than page by page."""


class _Group(NamedTuple):
    """How the rows of a row group are found and read."""

    columns: dict[str, PageList | int | None]
    """By name: the pages, the one value that all rows have, or None for another form."""
    samples: npt.NDArray[np.int32]
    """Its distinct samples, sorted; [m]. Empty where `sample`'s own pages are looked into."""
    starts: npt.NDArray[np.int32]
    """First row of each sample and, last, the number of rows; [m + 1]."""
    first: npt.NDArray[np.int32]
    """First sample of each page; [P]."""


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


def map_file(path: Path) -> pa.Buffer:
    """A file's bytes, mapped: they stay when it is removed, and cost no descriptor.

    Raises OSError when it cannot be opened.
    """
    with pa.memory_map(str(path)) as file:
        return file.read_buffer()


class SegmentFile:
    """A mapped segment of samples or instances; `data` is its bytes where they are held.

    Args:
        indexes: where to keep what is known of its row groups; None: nowhere.

    Raises:
        FileNotFoundError: it is gone: merged into another one meanwhile.
        OSError, ValueError: it is damaged.
    """

    def __init__(
        self,
        path: Path,
        kind: Kind,
        *,
        indexes: SegmentIndexes | None = None,
        data: pa.Buffer | None = None,
    ) -> None:
        held = map_file(path) if data is None else data
        self._view = memoryview(held).cast("B")
        self._kind = kind
        self._parquet = pq.ParquetFile(pa.BufferReader(held), page_checksum_verification=True)
        self._metadata = self._parquet.metadata
        self._names = names_of(kind)
        self.number = next(_NUMBERS)
        """What `indexes` know it by."""
        self._indexes = indexes
        self._latest = (-1, Chunk.empty(kind))
        words = footer_of(self._metadata).get("pages")
        self._index = None if words is None else PageIndex.of(words, len(self._names))
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

    def groups(self, columns: Collection[str] | None = None) -> Iterator[Chunk]:
        """The whole segment, or some `columns` of it, one row group at a time."""
        names = [name for name in self._names if columns is None or name in columns]
        for group in range(self._metadata.num_row_groups):
            # Without any, the rows still count.
            yield self._decoded(group, names or ["sample"])

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
        shares: dict[int, Indices] = {}
        for group in range(first, last):
            low, high = np.searchsorted(wanted, (self._lows[group], self._highs[group] + 1))
            if low < high:
                shares[group] = wanted[low:high]
        if len(shares) > 1 and len(wanted) <= _MANY * len(shares):
            found = self._of_groups(list(shares), wanted)
            if found is not None:
                return found
        return concat_chunks(self._kind, [self._of_group(*share) for share in shares.items()])

    def _of_groups(self, numbers: Sequence[int], wanted: Indices) -> Chunk | None:
        """Rows of samples out of several row groups at once; None where their forms differ."""
        groups = [self._group(number) for number in numbers]
        sample = joined([group.columns["sample"] for group in groups])
        if sample is None:
            return None
        keys = wanted.astype(np.int32)
        first = np.concatenate([group.first for group in groups])
        lows, highs = find_spans(sample, self._view, first, keys)
        held = lows < highs
        keys, lows, highs = keys[held], lows[held], highs[held]
        found: dict[str, npt.NDArray[Any]] = {"sample": np.repeat(keys, highs - lows)}
        for name, dtype, _ in COLUMNS[self._kind]:
            if name == "sample":
                continue
            columns = [group.columns[name] for group in groups]
            pages = joined(columns)
            if pages is not None:
                found[name] = read_spans(pages, self._view, lows, highs)
            elif all(isinstance(column, int) for column in columns):
                ends = np.cumsum([self._metadata.row_group(number).num_rows for number in numbers])
                each = np.searchsorted(ends, ranges(lows, highs), side="right")
                found[name] = np.array(columns, dtype)[each]
            else:
                return None
        return Chunk(self._kind, found)

    def _of_group(self, number: int, wanted: Indices) -> Chunk:
        group = self._group(number)
        columns = {name: pages for name, pages in group.columns.items() if name != "sample"}
        if len(wanted) > _MANY or any(pages is None for pages in columns.values()):
            return take_rows(self._decoded(number), wanted)
        samples, lows, highs = self._spans(group, wanted)
        found: dict[str, npt.NDArray[Any]] = {"sample": np.repeat(samples, highs - lows)}
        for name, dtype, _ in COLUMNS[self._kind]:
            pages = columns.get(name)
            if isinstance(pages, int):
                found[name] = np.full(len(found["sample"]), pages, dtype)
            elif pages is not None and len(samples) == 1:
                found[name] = pages.rows(self._view, int(lows[0]), int(highs[0]))
            elif pages is not None:
                found[name] = read_spans(pages, self._view, lows, highs)
        return Chunk(self._kind, found)

    def _spans(
        self, group: _Group, wanted: Indices
    ) -> tuple[npt.NDArray[np.int32], Places, Places]:
        """Those of the samples that have rows in a row group, and their first and last rows."""
        pages = group.columns["sample"]
        if isinstance(pages, PageList):
            keys = wanted.astype(np.int32)
            if len(keys) == 1:
                low, high = self._span(pages, group.first, int(keys[0]))
                lows, highs = np.array([low]), np.array([high])
            else:
                lows, highs = find_spans(pages, self._view, group.first, keys)
            held = lows < highs
            return keys[held], lows[held], highs[held]
        at = np.searchsorted(group.samples, wanted)
        inside = at < len(group.samples)
        at = at[inside][group.samples[at[inside]] == wanted[inside]]
        starts = group.starts.astype(np.int64)
        return group.samples[at], starts[at], starts[at + 1]

    def _span(self, pages: PageList, first: npt.NDArray[np.int32], row: int) -> tuple[int, int]:
        """The rows of one sample, looked up in the pages that may hold its first and last."""
        key = np.int32(row)
        low_page = max(int(np.searchsorted(first, key)) - 1, 0)
        high_page = max(int(np.searchsorted(first, key, side="right")) - 1, 0)
        start, stop = int(pages.starts[low_page]), int(pages.starts[low_page + 1])
        head = pages.rows(self._view, start, stop)
        low = start + int(np.searchsorted(head, key))
        if high_page != low_page:
            start, stop = int(pages.starts[high_page]), int(pages.starts[high_page + 1])
            head = pages.rows(self._view, start, stop)
        return low, start + int(np.searchsorted(head, key, side="right"))

    def _group(self, number: int) -> _Group:
        found = None if self._indexes is None else self._indexes.get(self.number, number)
        if found is None:
            found = self._look_into(number)
            if self._indexes is not None:
                self._indexes.put(self.number, number, found)
        return found

    def _look_into(self, number: int) -> _Group:
        columns = {name: self._pages(number, name, dtype) for name, dtype, _ in COLUMNS[self._kind]}
        if self._index is not None and isinstance(columns["sample"], PageList):
            nothing = np.zeros(0, np.int32)
            return _Group(columns, nothing, np.zeros(1, np.int32), self._index.first[number])
        table = self._parquet.read_row_group(number, columns=["sample"], use_threads=False)
        parts = [np.frombuffer(c.buffers()[1], np.int32, len(c)) for c in table.column(0).chunks]
        sample = np.concatenate(parts)
        starts = np.flatnonzero(np.concatenate(([True], sample[1:] != sample[:-1])))
        columns["sample"] = None
        bounds = np.append(starts, len(sample)).astype(np.int32)
        return _Group(columns, sample[starts], bounds, sample[:0])

    def _pages(self, number: int, name: str, dtype: Any) -> PageList | int | None:
        column = self._column(number, name)
        bounds = column.statistics
        if name == "launch" and bounds is not None and bounds.min == bounds.max:
            return int(bounds.min)
        if self._index is None:
            return None if name == "sample" else list_pages(self._view, column, np.dtype(dtype))
        places = self._index.places[number][self._names.index(name)]
        return pages_at(self._view, column, np.dtype(dtype), places, self._index.page)

    def _decoded(self, group: int, names: list[str] | None = None) -> Chunk:
        wanted = names or self._names
        table = self._parquet.read_row_group(group, columns=wanted, use_threads=False)
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
