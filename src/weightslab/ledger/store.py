"""Everything that one writer knows, in memory: the state that its files and log add up to.

Live, the ledger logs a record and then applies it here; after a kill, recovery
loads the files and applies what the log has beyond them. Both take this way, so
what a reader sees and what a kill leaves are the same by construction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.ledger.array_table import ArrayTable
from weightslab.ledger.arrays import ArrayRecord
from weightslab.ledger.ids import IdStore
from weightslab.ledger.journal import JournalEntry, categories_of
from weightslab.ledger.large import LargeArrays
from weightslab.ledger.layout import Kind
from weightslab.ledger.partitions import (
    Entry,
    Partition,
    PartitionKey,
    Segment,
    chunk_of,
    fold_curve,
)
from weightslab.ledger.pyramid import Blocks, blocks_of
from weightslab.ledger.recent import RecentRing, ring_of
from weightslab.ledger.records import Values, decode_values
from weightslab.ledger.samples import CategoryColumn, SampleTable
from weightslab.ledger.segment_file import take_rows
from weightslab.ledger.segment_reader import SegmentReader
from weightslab.ledger.segments import Chunk, concat_chunks, sort_chunk

__all__ = ["Pending", "Store"]


@dataclass(slots=True)
class Pending:
    """Changes that are logged and not yet in files."""

    journal: list[JournalEntry] = field(default_factory=list)
    arrays: list[tuple[int, ArrayRecord]] = field(default_factory=list)
    array_bytes: int = 0
    """Bytes of `arrays`."""
    ids_from: int = 0
    """First row that no ids file holds."""


class Store:
    """State of one writer. Every method holds `lock`, which is reentrant.

    `foreign`: another process's, as its files were at one moment.
    """

    def __init__(
        self,
        log_change: Callable[[dict[str, Any], bytes], None],
        *,
        reader: SegmentReader,
        large: LargeArrays,
        on_damage: Callable[[str, OSError], None],
        array_memory_bytes: int = 256 << 20,
        foreign: bool = False,
    ) -> None:
        self.lock = RLock()
        self.ids = IdStore(self.lock, log_change)
        self.samples = SampleTable()
        self.arrays = ArrayTable(array_memory_bytes)
        self.large = large
        self.partitions: dict[PartitionKey, Partition] = {}
        self.pending = Pending()
        self.signals: list[str] = []
        """Signal names by code."""
        self.experiment_hash: str | None = None
        self.launch = 0
        self.covered = 0
        """Last record that the loaded snapshot of latest values holds."""
        self.newest_us = 0
        """Time of the newest edit that was seen, whoever made it."""
        self.tail_rows = 0
        """Rows of every tail, with those on curves counted once."""
        self.recent: dict[str, RecentRing] = {}
        """Last values of this launch, for the signals whose history somebody reads."""
        self.codes: dict[str, int] = {}
        """Codes by signal name."""
        self._inbox: list[tuple[int, bytes]] = []
        """Logged records of values that no tail holds yet."""
        self._routes: dict[tuple[int, Kind], Partition] = {}
        self._pins: Counter[Path] = Counter()
        """How many readers each segment has."""
        self._retired: list[Path] = []
        self._reader = reader
        self._on_damage = on_damage
        self._foreign = foreign

    # -- signals and partitions -------------------------------------------

    def take_signal(self, code: int, name: str) -> None:
        """Let `code` stand for `name`."""
        while len(self.signals) <= code:
            self.signals.append("")
        self.signals[code] = name
        self.codes[name] = code
        self._routes.clear()

    def take_hash(self, experiment_hash: str | None) -> None:
        """Values that follow belong to this experiment hash."""
        self._settle()
        self.experiment_hash = experiment_hash
        self._routes.clear()

    def partition(self, key: PartitionKey) -> Partition:
        """The partition of a key, made when it is missing."""
        found = self.partitions.get(key)
        if found is None:
            found = self.partitions[key] = Partition(key)
        return found

    # -- applying records ---------------------------------------------------

    def take_values(self, lsn: int, payload: bytes, size: int) -> None:
        """Take a logged record of `size` values; whoever looks next sorts it into the tails."""
        self._inbox.append((lsn, payload))
        self.tail_rows += size

    def restore_values(self, lsn: int, record: Values) -> None:
        """Apply a record of the log where files lack it."""
        self.tail_rows += self._apply_values(lsn, record)

    def most_rows(self) -> int:
        """How many rows the tails speak of."""
        return max(
            (
                int(entry.rows.max()) + 1
                for partition in self.partitions.values()
                for entry in partition.tail
                if entry.rows is not None and len(entry.rows)
            ),
            default=0,
        )

    def _settle(self) -> None:
        """Sort what was taken into the tails."""
        if self._inbox:
            inbox, self._inbox = self._inbox, []
            for lsn, payload in inbox:
                self._apply_values(lsn, decode_values(payload))

    def _apply_values(self, lsn: int, record: Values) -> int:
        """Put a record of values into the tails that lack it; how many values went in."""
        step, codes, block, rows, annotations, on_curve = record
        kind: Kind = "sample" if annotations is None else "instance"
        taken = 0
        for at, code in enumerate(codes):
            entry = Entry(lsn, step, self.launch, block[at], rows, annotations)
            if rows is not None and self._append(code, kind, entry):
                taken += len(rows)
            if (rows is None or on_curve) and self._append(code, "global", entry):
                taken += rows is None
        return taken

    def _append(self, code: int, kind: Kind, entry: Entry) -> bool:
        partition = self._routes.get((code, kind))
        if partition is None:
            partition = self.partition(PartitionKey(kind, self.experiment_hash, self.signals[code]))
            self._routes[code, kind] = partition
        if entry.lsn <= partition.watermark:
            return False
        partition.tail.append(entry)
        return True

    def apply_edit(self, entry: JournalEntry) -> None:
        """Apply an edit of the journal."""
        self.see(entry.time_us)
        samples = self.samples
        if entry.verb == "tag" and entry.name is not None:
            samples.set_tag(entry.name, entry.rows, entry.value == "true")
        elif entry.verb == "category" and entry.name is not None:
            samples.set_category(entry.name, entry.rows, entry.value)
        elif entry.verb == "register" and entry.name is not None:
            column = samples.categories.setdefault(entry.name, CategoryColumn())
            for value in categories_of(entry.value):
                column.code(value)
        elif entry.verb == "discard":
            samples.set_discarded(entry.rows, entry.value == "true")
        elif entry.verb == "experiment":
            self.take_hash(entry.value)
        elif entry.verb == "launch":
            self._settle()
            self.launch = entry.launch
            self.recent = {signal: RecentRing() for signal in self.recent}

    def see(self, time_us: int) -> None:
        """Know of an edit at a time: what is edited from now on is newer."""
        self.newest_us = max(self.newest_us, time_us)

    def take_edit(self, entry: JournalEntry) -> None:
        """Apply an edit and keep it for the next journal file."""
        self.apply_edit(entry)
        self.pending.journal.append(entry)

    def take_arrays(self, lsn: int, record: ArrayRecord) -> None:
        """Apply arrays and keep them for the next file."""
        self.arrays.put(record)
        self.pending.arrays.append((lsn, record))
        self.pending.array_bytes += record.values.nbytes

    def published_arrays(self, path: Path, count: int) -> None:
        """`path` holds the first `count` pending records of arrays."""
        with self.lock:
            pending = self.pending
            pending.array_bytes -= sum(r.values.nbytes for _, r in pending.arrays[:count])
            del pending.arrays[:count]
            self.arrays.published(path, [record for _, record in pending.arrays])

    def drain(self) -> None:
        """Bring the latest values of the sample table up to date with the tails."""
        with self.lock:
            self._settle()
            waiting: dict[str, list[Entry]] = {}
            for partition in self.partitions.values():
                if partition.key.kind != "global" and partition.applied < len(partition.tail):
                    fresh = partition.tail[partition.applied :]
                    if fresh[0].lsn <= self.covered:
                        fresh = [entry for entry in fresh if entry.lsn > self.covered]
                    waiting.setdefault(partition.key.signal, []).extend(fresh)
                    partition.applied = len(partition.tail)
            for signal, entries in waiting.items():
                entries.sort(key=lambda e: e.lsn)
                self._put_latest(signal, [e for e in entries if e.annotations is None])
                for e in entries:
                    if e.annotations is not None and e.rows is not None:
                        self.samples.instances.put(signal, e.rows, e.annotations, e.values)

    def _put_latest(self, signal: str, entries: list[Entry]) -> None:
        if entries:
            rows = np.concatenate([e.rows for e in entries if e.rows is not None])
            self.samples.put(signal, rows, np.concatenate([e.values for e in entries]))
        ring = self.recent.get(signal)
        fresh = [e for e in entries if e.launch == self.launch]
        if ring is not None and fresh:
            columns = chunk_of("sample", fresh).columns
            ring.put(columns["sample"], columns["step"], columns["value"])

    def keep_recent(self, signal: str) -> RecentRing:
        """The ring of a signal's last values, from now on; filled with those of this launch."""
        with self.lock:
            self.drain()
            if signal not in self.recent:
                found = self.scan("sample", signals=[signal])
                pieces = ((key.experiment_hash, chunk) for key, chunk in found)
                self.recent[signal] = ring_of(pieces, self.launch)
            return self.recent[signal]

    # -- reading -------------------------------------------------------------

    def read(
        self,
        kind: Kind,
        *,
        signals: Iterable[str] | None = None,
        hashes: Iterable[str | None] | None = None,
        rows: npt.NDArray[np.int64] | None = None,
    ) -> list[tuple[PartitionKey, Chunk]]:
        """Columns of every partition that was asked for, sorted by sample; curves by step.

        `rows` (sorted, each once) restricts to those samples; it has no meaning for curves.

        Raises:
            FileNotFoundError: this is another process's state, and files that it speaks of
                were merged away meanwhile: look at that process anew.
        """
        with self._looking(kind, signals, hashes) as looks:
            return [
                (look.key, _assemble(kind, [*self._chunks(look, rows), look.tail], rows))
                for look in looks
            ]

    def scan(
        self,
        kind: Kind,
        *,
        signals: Iterable[str] | None = None,
        hashes: Iterable[str | None] | None = None,
    ) -> Iterator[tuple[PartitionKey, Chunk]]:
        """What `read` gives, in pieces of bounded size: each sorted by sample, oldest first.

        Raises FileNotFoundError as `read` does.
        """
        with self._looking(kind, signals, hashes) as looks:
            for look in looks:
                for segment in look.segments:
                    try:
                        for chunk in self._reader.groups(segment, kind):
                            yield look.key, chunk
                    except (OSError, ValueError) as error:
                        self._missed(segment, error)
                if len(look.tail):
                    yield look.key, look.tail

    def sweep(
        self,
        kind: Kind,
        *,
        signals: Iterable[str] | None = None,
        hashes: Iterable[str | None] | None = None,
        most_rows: int = 1 << 20,
    ) -> Iterator[tuple[PartitionKey, Chunk]]:
        """What `read` gives, in the same order, in pieces of about `most_rows`.

        Raises FileNotFoundError as `read` does.
        """
        with self._looking(kind, signals, hashes) as looks:
            for look in looks:
                for rows in _shares(look, most_rows):
                    chunks = [*self._chunks(look, rows), look.tail]
                    yield look.key, _assemble(kind, chunks, rows)

    def blocks(
        self,
        signal: str,
        hashes: Iterable[str | None] | None,
        *,
        size: int,
        span: tuple[int | None, int | None] = (None, None),
    ) -> list[Blocks]:
        """The curve of a signal in blocks of about `size` points, 1 or `BLOCK`.

        `span` leaves out segments that have no step between the two (None: no bound).

        Raises FileNotFoundError as `read` does.
        """
        found = []
        with self._looking("global", [signal], hashes) as looks:
            for look in looks:
                for segment in look.segments:
                    try:
                        coarse = self._reader.blocks(segment)
                        if not _touches(coarse, span):
                            continue
                        if size == 1:
                            coarse = blocks_of(self._reader.whole(segment, "global"), 1)
                        found.append(coarse)
                    except (OSError, ValueError) as error:
                        self._missed(segment, error)
                found.append(blocks_of(fold_curve(look.tail), size))
        return found

    @contextmanager
    def _looking(
        self, kind: Kind, signals: Iterable[str] | None, hashes: Iterable[str | None] | None
    ) -> Iterator[list[_Look]]:
        """The partitions that were asked for as they stand now; their files stay meanwhile."""
        with self.lock:
            chosen = self._chosen(kind, signals, hashes)
            pinned = [segment.path for _, segments, _ in chosen for segment in segments]
            self._pins.update(pinned)
        try:
            yield [self._look(*choice) for choice in chosen]
        finally:
            with self.lock:
                self._pins.subtract(pinned)

    @contextmanager
    def pinned(self, paths: list[Path]) -> Iterator[None]:
        """These files stay meanwhile, merged or not: pin them under the lock they were found in."""
        with self.lock:
            self._pins.update(paths)
        try:
            yield
        finally:
            with self.lock:
                self._pins.subtract(paths)

    def retire(self, paths: Iterable[Path]) -> None:
        """These files were merged into another: they go when nobody reads them any more."""
        with self.lock:
            self._retired += paths

    def removable(self) -> list[Path]:
        """Files that were retired and that nobody reads; each is given once."""
        with self.lock:
            free = [path for path in self._retired if not self._pins[path]]
            self._retired = [path for path in self._retired if self._pins[path]]
            self._pins = +self._pins
        for path in free:
            self._reader.forget(path)
        return free

    def _chosen(
        self, kind: Kind, signals: Iterable[str] | None, hashes: Iterable[str | None] | None
    ) -> list[tuple[Partition, list[Segment], tuple[Chunk | None, list[Entry], int]]]:
        wanted = None if signals is None else set(signals)
        wanted_hashes = None if hashes is None else set(hashes)
        self._settle()
        return [
            (partition, list(partition.segments), partition.tail_parts())
            for key, partition in self.partitions.items()
            if key.kind == kind
            and (wanted is None or key.signal in wanted)
            and (wanted_hashes is None or key.experiment_hash in wanted_hashes)
        ]

    def _look(
        self,
        partition: Partition,
        segments: list[Segment],
        parts: tuple[Chunk | None, list[Entry], int],
    ) -> _Look:
        """A partition with its tail sorted."""
        kind = partition.key.kind
        tail, fresh, entries = parts
        if fresh or tail is None:
            new = chunk_of(kind, fresh)
            tail = sort_chunk(new if tail is None else concat_chunks(kind, [tail, new]))
            with self.lock:
                if partition.segments[-1:] == segments[-1:]:
                    partition.settle(tail, entries)
        return _Look(partition.key, segments, tail)

    def _chunks(self, look: _Look, rows: npt.NDArray[np.int64] | None) -> list[Chunk]:
        """What the segments of a look hold; those that are damaged are named and left out."""
        kind = look.key.kind
        chunks = []
        for segment in look.segments:
            try:
                if rows is None or kind == "global":
                    chunks.append(self._reader.whole(segment, kind))
                elif len(rows):
                    chunks.append(self._reader.of_rows(segment, kind, rows))
            except (OSError, ValueError) as error:
                self._missed(segment, error)
        return chunks

    def _missed(self, segment: Segment, error: Exception) -> None:
        self.missed(segment.path, error)

    def missed(self, path: Path, error: Exception) -> None:
        """A file that cannot be read: damaged, unless its writer merged it away."""
        if self._foreign and isinstance(error, FileNotFoundError):
            raise error
        self._on_damage(str(path), error if isinstance(error, OSError) else OSError(str(error)))

    def has_pending(self) -> bool:
        """Whether something is not in files yet."""
        pending = self.pending
        return bool(
            self.tail_rows
            or pending.journal
            or pending.arrays
            or self.large.waiting
            or self.ids.changed
            or pending.ids_from < len(self.ids)
        )

    def signal_names(self, kind: Kind) -> list[str]:
        """Names of the signals that have values at a layer, in order of first use."""
        with self.lock:
            self._settle()
            return list(dict.fromkeys(k.signal for k in self.partitions if k.kind == kind))


@dataclass(frozen=True, slots=True)
class _Look:
    """A partition at one moment."""

    key: PartitionKey
    segments: list[Segment]
    tail: Chunk
    """What is not in a segment yet, sorted."""


def _shares(look: _Look, most_rows: int) -> Iterator[npt.NDArray[np.int64] | None]:
    """Samples of a partition in shares of about `most_rows` values; None: all at once."""
    total = len(look.tail) + sum(segment.rows for segment in look.segments)
    if look.key.kind == "global" or total <= most_rows:
        yield None
        return
    samples = max([segment.samples for segment in look.segments], default=0)
    if len(look.tail):
        samples = max(samples, int(look.tail.columns["sample"][-1]) + 1)
    size = max(1, samples * most_rows // total)
    for low in range(0, samples, size):
        yield np.arange(low, min(low + size, samples), dtype=np.int64)


def _touches(blocks: Blocks, span: tuple[int | None, int | None]) -> bool:
    """Whether some block may have a step between the two of `span`."""
    if not len(blocks):
        return False
    start, stop = span
    return (start is None or int(blocks.last.max()) >= start) and (
        stop is None or int(blocks.first.min()) <= stop
    )


def _assemble(kind: Kind, chunks: list[Chunk], rows: npt.NDArray[np.int64] | None) -> Chunk:
    if kind == "global":
        return fold_curve(concat_chunks(kind, chunks))
    if rows is not None:
        chunks[-1] = take_rows(chunks[-1], rows)
    held = [chunk for chunk in chunks if len(chunk)]
    whole = concat_chunks(kind, held)
    if len(held) < 2 or (kind == "sample" and rows is not None and len(rows) == 1):
        return whole
    return sort_chunk(whole)
