"""Everything that one writer knows, in memory: the state that its files and log add up to.

Live, the ledger logs a record and then applies it here; after a kill, recovery
loads the files and applies what the log has beyond them. Both take this way, so
what a reader sees and what a kill leaves are the same by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.ledger.arrays import ArrayRecord, ArrayTable
from weightslab.ledger.ids import IdStore
from weightslab.ledger.journal import JournalEntry, categories_of
from weightslab.ledger.large import LargeArrays
from weightslab.ledger.layout import Kind
from weightslab.ledger.partitions import (
    Entry,
    Partition,
    PartitionKey,
    SegmentCache,
    chunk_of,
    fold_curve,
    rows_slice,
)
from weightslab.ledger.records import Values, decode_values
from weightslab.ledger.samples import CategoryColumn, SampleTable
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
    """State of one writer. Every method holds `lock`, which is reentrant."""

    def __init__(
        self,
        log_change: Callable[[dict[str, Any], bytes], None],
        *,
        cache: SegmentCache,
        large: LargeArrays,
        on_damage: Callable[[str, OSError], None],
    ) -> None:
        self.lock = RLock()
        self.ids = IdStore(self.lock, log_change)
        self.samples = SampleTable()
        self.arrays = ArrayTable()
        self.large = large
        self.partitions: dict[PartitionKey, Partition] = {}
        self.pending = Pending()
        self.signals: list[str] = []
        """Signal names by code."""
        self.experiment_hash: str | None = None
        self.launch = 0
        self.tail_rows = 0
        """Rows of every tail, with those on curves counted once."""
        self.codes: dict[str, int] = {}
        """Codes by signal name."""
        self._inbox: list[tuple[int, bytes]] = []
        """Logged records of values that no tail holds yet."""
        self._routes: dict[tuple[int, Kind], Partition] = {}
        self._cache = cache
        self._on_damage = on_damage

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

    def take_edit(self, entry: JournalEntry) -> None:
        """Apply an edit and keep it for the next journal file."""
        self.apply_edit(entry)
        self.pending.journal.append(entry)

    def take_arrays(self, lsn: int, record: ArrayRecord) -> None:
        """Apply arrays and keep them for the next file."""
        self.arrays.put(record)
        self.pending.arrays.append((lsn, record))
        self.pending.array_bytes += record.values.nbytes

    def drain(self) -> None:
        """Bring the latest values of the sample table up to date with the tails."""
        with self.lock:
            self._settle()
            waiting: dict[str, list[Entry]] = {}
            for partition in self.partitions.values():
                if partition.key.kind != "global" and partition.applied < len(partition.tail):
                    fresh = partition.tail[partition.applied :]
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

        `rows` restricts to those samples; it has no meaning for curves.
        """
        wanted = None if signals is None else set(signals)
        wanted_hashes = None if hashes is None else set(hashes)
        with self.lock:
            self._settle()
            chosen = [
                (partition, list(partition.segments), partition.tail_parts())
                for key, partition in self.partitions.items()
                if key.kind == kind
                and (wanted is None or key.signal in wanted)
                and (wanted_hashes is None or key.experiment_hash in wanted_hashes)
            ]
        found = []
        for partition, segments, (settled, fresh, entries) in chosen:
            tail = settled
            if fresh or tail is None:
                parts = [chunk_of(kind, fresh)] if tail is None else [tail, chunk_of(kind, fresh)]
                tail = sort_chunk(concat_chunks(kind, parts))
                with self.lock:
                    if partition.segments[-1:] == segments[-1:]:
                        partition.settle(tail, entries)
            chunks = []
            for segment in segments:
                try:
                    chunks.append(self._cache.get(segment, kind))
                except OSError as error:
                    self._on_damage(str(segment.path), error)
            chunks.append(tail)
            found.append((partition.key, _assemble(kind, chunks, rows)))
        return found

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


def _assemble(kind: Kind, chunks: list[Chunk], rows: npt.NDArray[np.int64] | None) -> Chunk:
    if kind == "global":
        return fold_curve(concat_chunks(kind, chunks))
    if rows is None:
        return sort_chunk(concat_chunks(kind, [c for c in chunks if len(c)]))
    parts = [
        chunk.take(rows_slice(chunk, row))
        for row in rows.tolist()
        for chunk in chunks
        if len(chunk)
    ]
    return concat_chunks(kind, [p for p in parts if len(p)])
