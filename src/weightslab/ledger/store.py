"""Everything that one writer knows, in memory: the state that its files and log add up to.

Live, the ledger logs a record and then applies it here; after a kill, recovery
loads the files and applies what the log has beyond them. Both take this way, so
what a reader sees and what a kill leaves are the same by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.ledger.arrays.arrays import ArrayRecord
from weightslab.ledger.arrays.large import LargeArrays
from weightslab.ledger.arrays.table import ArrayTable
from weightslab.ledger.edits.journal import JournalEntry, categories_of
from weightslab.ledger.history.history import History
from weightslab.ledger.history.partitions import Entry, Partition, PartitionKey, chunk_of
from weightslab.ledger.history.reader import SegmentReader
from weightslab.ledger.history.recent import RecentRing, ring_of
from weightslab.ledger.history.segments import Chunk
from weightslab.ledger.ids.ids import IdStore
from weightslab.ledger.layout import Kind
from weightslab.ledger.log.records import Values, decode_values
from weightslab.ledger.pins import Pins
from weightslab.ledger.table.samples import CategoryColumn, SampleTable

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
        self.pending = Pending()
        self.signals: list[str] = []
        """Signal names by code."""
        self.experiment_hash: str | None = None
        self.launch = 0
        self._launched_after = 0
        """Last record that was in a file when this launch began."""
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
        self.pins = Pins(self.lock, reader.forget)
        self.history = History(
            self.lock,
            self._settle,
            pins=self.pins,
            reader=reader,
            on_damage=on_damage,
            foreign=foreign,
        )

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
                for partition in self.history.partitions.values()
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
            partition = self.history.partition(
                PartitionKey(kind, self.experiment_hash, self.signals[code])
            )
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
            partitions = self.history.partitions.values()
            self._launched_after = max((held.watermark for held in partitions), default=0)
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
            for partition in self.history.partitions.values():
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
                found = self.history.scan("sample", signals=[signal], after=self._launched_after)
                pieces = ((key.experiment_hash, chunk) for key, chunk in found)
                self.recent[signal] = ring_of(pieces, self.launch)
            return self.recent[signal]

    # -- reading -------------------------------------------------------------

    def launched(
        self, kind: Kind, signal: str, rows: npt.NDArray[np.int64] | None = None
    ) -> Iterator[tuple[str | None, Chunk]]:
        """Values of one signal in this launch, by experiment hash; each piece by sample.

        In pieces of bounded size, or of `rows` (sorted, each once) alone.
        """
        if kind == "global" or rows is not None:
            found: Iterable[tuple[PartitionKey, Chunk]] = self.history.read(
                kind, signals=[signal], rows=rows
            )
        else:
            found = self.history.scan(kind, signals=[signal], after=self._launched_after)
        for key, chunk in found:
            yield key.experiment_hash, chunk.take(chunk.columns["launch"] == self.launch)

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
