"""One flush: what is logged becomes files, in numbered steps.

    1 ids      2 journal     3 arrays, large ones too     4.. one segment per partition
    then, when due: registries (tags.json, signals.json) and the bases of tags and signals

Each file carries the number of the last log record that it holds, so a process
that dies between any two steps replays exactly what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import Any, BinaryIO

from weightslab.ledger.arrays.file import write_arrays
from weightslab.ledger.edits.journal import JournalEntry, write_journal
from weightslab.ledger.files import Files
from weightslab.ledger.history.partitions import Entry, Partition, Segment, chunk_of, fold_curve
from weightslab.ledger.history.segments import sort_chunk, write_chunk
from weightslab.ledger.ids.file import write_ids
from weightslab.ledger.layout import Layout, current_ranges, folder_name
from weightslab.ledger.recovery import Recovered
from weightslab.ledger.store import Store
from weightslab.ledger.table.file import write_signals, write_tags

__all__ = ["Publisher"]

_MOST_IDS_FILES = 32
"""Files of ids from which on they are written as one."""


class Publisher:
    """Writes a store's changes to the folders of one writer. Used by one thread at a time."""

    def __init__(
        self,
        files: Files,
        layout: Layout,
        writer: str,
        store: Store,
        found: Recovered,
        rest: RLock,
    ) -> None:
        self._files = files
        self._layout = layout
        self._writer = writer
        self._store = store
        self._sequence = found.next_sequence
        self._stale = set(found.stale)
        self.covered = found.covered
        """Number of the last record that the snapshot of latest values holds."""
        self._folders: dict[str, str] = {}
        self._registered: tuple[Any, ...] = ()
        self._rest = rest

    def flush(
        self, last_lsn: Callable[[], int], sync_log: Callable[[], None] = lambda: None
    ) -> int:
        """Publish everything that is logged; gives the log number that files now hold.

        `sync_log` is called before the first file is written.

        Raises OSError when the disk does; what was published before it stays
        published, the rest stays pending.
        """
        store = self._store
        with store.lock:
            lsn = last_lsn()
            sequence = self._sequence
            self._sequence += 1
            total = len(store.ids)
            journal = list(store.pending.journal)
            arrays = list(store.pending.arrays)
            # The latest values are taken before the tails let go of them.
            store.drain()
            tails = [(p, list(p.tail)) for p in store.history.partitions.values() if p.tail]
        sync_log()
        self._ids(sequence, lsn, total)
        if journal:
            self._journal(sequence, journal)
        if arrays:
            path = self._layout.family("arrays", self._writer) / _name("arrays", sequence)
            self._publish(path, lambda s: write_arrays(arrays, lsn, s))
            store.published_arrays(path, len(arrays))
        with self._rest:
            arrays_folder = self._layout.arrays(self._writer)
            store.large.write(self._files, self._layout.temporary, arrays_folder, self._retire)
        for partition, entries in tails:
            self._segment(partition, entries, sequence, lsn)
        self._write_registries()
        return lsn

    def _publish(self, path: Path, write: Callable[[BinaryIO], object]) -> None:
        with self._rest:
            self._files.publish(self._layout.temporary, path, write)

    def _retire(self, paths: list[Path]) -> None:
        """Remove files that are needed no more, each when nobody reads it."""
        self._store.pins.retire(paths)
        refusal = self._store.pins.release(self._files.remove)
        if refusal is not None:
            raise refusal

    def _ids(self, sequence: int, lsn: int, total: int) -> None:
        store = self._store
        with store.lock:
            start = store.pending.ids_from
            changed, store.ids.changed = store.ids.changed, set()
        if start == total and not changed:
            return
        folder = self._layout.ids(self._writer)
        former = current_ranges(folder)
        path = folder / _name("ids", sequence)
        if len(former) >= _MOST_IDS_FILES:
            # All rows anew, in the place of every file before.
            start = 0
            path = folder / _name("ids", former[0].first, sequence)
        try:
            self._publish(path, lambda s: write_ids(store.ids, start, total, changed, lsn, s))
        except BaseException:
            with store.lock:
                store.ids.changed |= changed
            raise
        self._stale |= {"tags", "signals"}
        with store.lock:
            store.pending.ids_from = total
        if not start:
            for found in former:
                self._files.remove(found.path)

    def _journal(self, sequence: int, entries: list[JournalEntry]) -> None:
        path = self._layout.journal(self._writer) / _name("journal", sequence)
        self._publish(path, lambda s: write_journal(entries, s))
        self._stale.add("tags")
        with self._store.lock:
            del self._store.pending.journal[: len(entries)]

    def _segment(self, partition: Partition, entries: list[Entry], sequence: int, lsn: int) -> None:
        key = partition.key
        chunk = chunk_of(key.kind, entries)
        rows = sum(len(e.values) for e in entries if (e.rows is None) == (key.kind == "global"))
        chunk = fold_curve(chunk) if key.kind == "global" else sort_chunk(chunk)
        folder = self._layout.history(
            key.kind, key.experiment_hash, self._folder(key.signal), self._writer
        )
        path = folder / _name("seg", sequence)
        samples = int(chunk.columns["sample"][-1]) + 1 if key.kind != "global" else 0
        footer = {
            "lsn": lsn,
            "signal": key.signal,
            "experiment_hash": key.experiment_hash,
            "last": entries[-1].lsn,
            "samples": samples,
            "tier": 0,
        }
        self._publish(path, lambda s: write_chunk(chunk, footer, s))
        if key.kind != "global":
            self._stale.add("signals")
        with self._store.lock:
            segment = Segment(path, sequence, sequence, lsn, len(chunk), samples)
            partition.published(segment, len(entries))
            self._store.tail_rows = max(0, self._store.tail_rows - rows)

    def _folder(self, signal: str) -> str:
        """Folder of a signal; names that differ only by case get distinct ones."""
        folder = self._folders.get(signal)
        if folder is None:
            taken = {name.casefold(): name for name in self._folders.values()}
            folder = folder_name(signal)
            same = taken.get(folder.casefold())
            if same is not None or any(
                other.casefold() == signal.casefold() and other != signal
                for other in self._store.signals
            ):
                folder = folder_name(signal, distinct=True)
            self._folders[signal] = folder
        return folder

    def _write_registries(self) -> None:
        """Add to `tags.json` and `signals.json` what this writer knows and they do not."""
        store = self._store
        with store.lock:
            tags = sorted(store.samples.tags)
            categories = {
                name: list(column.categories) for name, column in store.samples.categories.items()
            }
            signals = {self._folder(key.signal): key.signal for key in store.history.partitions}
        known = (tuple(tags), repr(categories), len(signals))
        if known == self._registered:
            return
        held = _read_json(self._layout.tags)
        merged = {**held.get("categories", {})}
        for name, values in categories.items():
            merged[name] = list(dict.fromkeys([*merged.get(name, ()), *values]))
        everything = {"tags": sorted({*held.get("tags", ()), *tags}), "categories": merged}
        self._write_json(self._layout.tags, held, everything)
        held = _read_json(self._layout.signals)
        self._write_json(self._layout.signals, held, {**held, **signals})
        self._registered = known

    def _write_json(self, path: Path, held: dict[str, Any], content: dict[str, Any]) -> None:
        if content != held:
            text = json.dumps(content, indent=1, sort_keys=True).encode()
            self._publish(path, lambda s: s.write(text))

    def bases(self, lsn: int) -> None:
        """Write snapshots of tags and signals where they are stale; `lsn` must be published."""
        store = self._store
        store.drain()
        for family, write in (("tags", write_tags), ("signals", write_signals)):
            if family not in self._stale:
                continue
            folder = self._layout.family(family, self._writer)
            with store.lock:
                sequence = self._sequence
                self._sequence += 1
                target = folder / f"{family}-{1:09d}-{sequence:09d}.parquet"
            former = list(folder.iterdir()) if folder.is_dir() else []
            self._publish(target, lambda s, write=write: write(store, lsn, s))  # type: ignore[misc]
            self._stale.discard(family)
            for path in former:
                self._files.remove(path)
        self.covered = lsn


def _name(stem: str, first: int, last: int | None = None) -> str:
    return f"{stem}-{first:09d}-{first if last is None else last:09d}.parquet"


def _read_json(path: Path) -> dict[str, Any]:
    """A registry as it stands; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
