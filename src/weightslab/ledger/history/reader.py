"""Segments as whoever asks needs them: small ones decoded and kept, large ones page by page."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from weightslab.ledger.history.mapped import (
    Edges,
    Indices,
    SegmentFile,
    SegmentIndexes,
    map_file,
    take_rows,
)
from weightslab.ledger.history.partitions import Segment
from weightslab.ledger.history.pyramid import Blocks, blocks_of, unpacked
from weightslab.ledger.history.segments import (
    COLUMNS,
    ROW_GROUP,
    Chunk,
    columns_of,
    names_of,
    read_chunk,
    read_footer,
)
from weightslab.ledger.layout import Kind

__all__ = ["SegmentReader"]

_SMALL_ROWS = 4 * ROW_GROUP
"""Segments up to this are decoded whole when somebody asks for samples again and again."""
_TINY_ROWS = 1 << 14
"""Segments up to this are always decoded whole: that takes as long as finding the pages."""
_OFTEN = 8
"""How often that is."""
_OFTEN_SHARE = 0.75
"""Share of the budget for such segments; the rest is for tiny ones, and whole reads."""
_OPEN_FILES = 128
"""Most mapped segments; those of others may be of files that are gone, whose bytes they hold."""
_MOST_HELD = 8192
"""Most files whose bytes are held for a long look: the system maps 65,530 for a process."""
_MOST_KNOWN = 4096
"""Most curves in blocks, and most segments of which is known how often they were asked for."""


class _Decoded(NamedTuple):
    chunk: Chunk
    size_bytes: int


@dataclass(slots=True)
class _Asked:
    """How often, since when and when last samples of a segment were asked for."""

    since: int
    count: int = 0
    last: int = 0


class SegmentReader:
    """Reads segments; decoded ones are kept, least recently used first out. For any thread.

    Every method raises FileNotFoundError for a file that is gone (merged by its writer),
    another OSError or ValueError for a damaged one.

    Args:
        budget_bytes: memory for decoded segments; a quarter as much again may be taken by
            what is known of those that are read page by page.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._decoded: OrderedDict[Path, _Decoded] = OrderedDict()
        self._bytes = 0
        self._files: OrderedDict[Path, SegmentFile] = OrderedDict()
        self._indexes = SegmentIndexes(budget_bytes // 4)
        self._blocks: OrderedDict[Path, Blocks] = OrderedDict()
        self._asked: dict[Path, _Asked] = {}
        self._often: dict[Path, int] = {}
        """Segments that are decoded whole because they are asked often, and their bytes."""
        self._clock = 0
        self._held: dict[Path, pa.Buffer] = {}
        self._holders: Counter[Path] = Counter()
        self._lock = Lock()

    def whole(self, segment: Segment, kind: Kind) -> Chunk:
        """Every row."""
        kept = self._kept(segment.path)
        if kept is not None:
            return kept
        chunk = self._read(segment.path, kind)
        size = chunk.size_bytes
        with self._lock:
            if segment.path not in self._decoded and size <= self._budget:
                self._decoded[segment.path] = _Decoded(chunk, size)
                self._bytes += size
                while self._bytes > self._budget:
                    _, old = self._decoded.popitem(last=False)
                    self._bytes -= old.size_bytes
        return chunk

    def _read(self, path: Path, kind: Kind) -> Chunk:
        held = self._held.get(path)
        return read_chunk(path if held is None else pa.BufferReader(held), kind)

    @contextmanager
    def held(self, paths: Iterable[Path]) -> Iterator[None]:
        """These files can be read meanwhile, also when others remove them; the first thousands.

        Raises FileNotFoundError where one is gone already.
        """
        mine: list[Path] = []
        try:
            for path in islice(paths, _MOST_HELD):
                try:
                    self._hold(path)
                except FileNotFoundError:
                    raise
                except OSError:
                    # Whoever reads it says so.
                    continue
                mine.append(path)
            yield
        finally:
            with self._lock:
                self._holders.subtract(mine)
                for path in mine:
                    if not self._holders[path]:
                        self._held.pop(path, None)
                self._holders = +self._holders

    def _hold(self, path: Path) -> None:
        data = self._held.get(path)
        data = map_file(path) if data is None else data
        with self._lock:
            self._held[path] = data
            self._holders[path] += 1

    def _kept(self, path: Path) -> Chunk | None:
        with self._lock:
            found = self._decoded.get(path)
            if found is None:
                return None
            self._decoded.move_to_end(path)
            self._ask(path)
            return found.chunk

    def _ask(self, path: Path) -> _Asked:
        self._clock += 1
        asked = self._asked.pop(path, None) or _Asked(self._clock)
        # The last one stands last: what nobody asks for any more goes first.
        self._asked[path] = asked
        if len(self._asked) > _MOST_KNOWN:
            oldest = next(iter(self._asked))
            del self._asked[oldest]
            self._often.pop(oldest, None)
        asked.count += 1
        asked.last = self._clock
        return asked

    def of_rows(self, segment: Segment, kind: Kind, rows: Indices) -> Chunk:
        """The values of the samples `rows` (sorted, each once), sorted by sample."""
        kept = self._kept(segment.path)
        if kept is not None:
            return take_rows(kept, rows)
        if segment.rows <= _TINY_ROWS or self._is_asked_often(segment, kind):
            return take_rows(self.whole(segment, kind), rows)
        return self._file(segment.path, kind).of(rows)

    def _is_asked_often(self, segment: Segment, kind: Kind) -> bool:
        """Whether to decode a segment: only while memory holds all that are asked that often.

        Others would push each other out, and every question would decode one anew.
        """
        if segment.rows > _SMALL_ROWS:
            return False
        with self._lock:
            asked = self._ask(segment.path)
            if segment.path in self._often:
                return True
            if asked.count <= _OFTEN:
                return False
            # Those that nobody asked for meanwhile make room.
            for path in [p for p in self._often if self._asked[p].last < asked.since]:
                del self._often[path]
            size = segment.rows * sum(np.dtype(dtype).itemsize for _, dtype, _ in COLUMNS[kind])
            if sum(self._often.values()) + size > self._budget * _OFTEN_SHARE:
                self._asked[segment.path] = _Asked(self._clock, 0, self._clock)
                return False
            self._often[segment.path] = size
            return True

    def blocks(self, segment: Segment) -> Blocks:
        """A curve in blocks: as its file carries them, else made of its points."""
        with self._lock:
            found = self._blocks.get(segment.path)
            if found is not None:
                self._blocks.move_to_end(segment.path)
        if found is None:
            text: str = read_footer(segment.path).get("blocks", "")
            found = unpacked(text) if text else blocks_of(self.whole(segment, "global"))
            with self._lock:
                self._blocks[segment.path] = found
                if len(self._blocks) > _MOST_KNOWN:
                    self._blocks.popitem(last=False)
        return found

    def steps(self, segment: Segment, lows: Indices, highs: Indices) -> Chunk:
        """The rows of a curve, but for row groups with no step between a low and its high."""
        kept = self._kept(segment.path)
        if kept is not None:
            return kept
        if segment.rows <= ROW_GROUP:
            return self.whole(segment, "global")
        with pq.ParquetFile(segment.path, page_checksum_verification=True) as file:
            wanted = []
            for group in range(file.num_row_groups):
                bounds = file.metadata.row_group(group).column(0).statistics
                if bounds is None or ((lows <= bounds.max) & (highs >= bounds.min)).any():
                    wanted.append(group)
            if len(wanted) < file.num_row_groups:
                table = file.read_row_groups(wanted, names_of("global"), use_threads=False)
                return columns_of(table, "global")
        return self.whole(segment, "global")

    def groups(
        self, segment: Segment, kind: Kind, columns: Collection[str] | None = None
    ) -> Iterator[Chunk]:
        """Every row, at most a row group at a time; of large ones only the `columns` asked for."""
        kept = self._kept(segment.path)
        if kept is not None:
            yield kept
        elif kind == "global" or segment.rows <= ROW_GROUP:
            yield self._read(segment.path, kind)
        else:
            held = self._held.get(segment.path)
            yield from SegmentFile(segment.path, kind, data=held).groups(columns)

    def edges(self, segment: Segment, kind: Kind) -> Edges:
        """Where the row groups of samples or instances begin and end."""
        return self._file(segment.path, kind).edges()

    def _file(self, path: Path, kind: Kind) -> SegmentFile:
        with self._lock:
            file = self._files.get(path)
            if file is None:
                file = self._files[path] = SegmentFile(
                    path, kind, indexes=self._indexes, data=self._held.get(path)
                )
                while len(self._files) > _OPEN_FILES:
                    self._indexes.forget(self._files.popitem(last=False)[1].number)
            self._files.move_to_end(path)
            return file

    def forget(self, path: Path) -> None:
        """Let go of a file that was merged or replaced."""
        with self._lock:
            file = self._files.pop(path, None)
            if file is not None:
                self._indexes.forget(file.number)
            self._blocks.pop(path, None)
            self._asked.pop(path, None)
            self._often.pop(path, None)
            dropped = self._decoded.pop(path, None)
            if dropped is not None:
                self._bytes -= dropped.size_bytes
