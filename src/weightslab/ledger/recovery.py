"""From a writer's files and log to its state: after a clean close, and after a kill.

Files carry the number of the last log record that they hold (their watermark).
What the log has beyond the watermark of each is applied on top, per partition,
so that a crash between two renames of one flush neither loses nor doubles a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq

from weightslab.ledger.arrays import ArrayRecord
from weightslab.ledger.arrays_file import load_arrays
from weightslab.ledger.ids_file import load_ids
from weightslab.ledger.journal import JournalEntry, read_journal
from weightslab.ledger.layout import HIVE_NULL, Layout, current_ranges
from weightslab.ledger.partitions import PartitionKey, Segment
from weightslab.ledger.records import ARRAYS, CHANGE, VALUES, decode_change, decode_values
from weightslab.ledger.samples_file import load_signals, load_tags
from weightslab.ledger.segments import footer_of, read_chunk
from weightslab.ledger.store import Store
from weightslab.ledger.wal import Frame, log_files, read_log

__all__ = ["Recovered", "load_writer"]


_DAMAGE = (OSError, ValueError, KeyError, IndexError, TypeError)
"""What reading a damaged file raises."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where a writer goes on."""

    next_lsn: int
    next_sequence: int
    stale: frozenset[str] = frozenset(("tags", "signals"))
    """Families whose snapshot is older than what it is made of."""


class _Watermarks:
    """Last log number in the files of each family."""

    def __init__(self) -> None:
        self.ids = self.journal = self.tags = self.arrays = self.signals = self.history = 0
        self.rows = 0
        """Rows that some segment speaks of."""

    @property
    def last(self) -> int:
        return max(self.ids, self.journal, self.tags, self.arrays, self.signals, self.history)


def load_writer(
    layout: Layout, writer: str, store: Store, on_damage: Callable[[str, OSError], None]
) -> Recovered:
    """Fill an empty store with everything that `writer` left. Reads only.

    A damaged Parquet file is reported through `on_damage` and left out.
    """
    marks = _Watermarks()
    sequence = 0

    def each(folder: Path, load: Callable[[Path], int]) -> int:
        nonlocal sequence
        mark = 0
        for found in current_ranges(folder):
            sequence = max(sequence, found.last)
            try:
                mark = max(mark, load(found.path))
            except _DAMAGE as error:
                on_damage(str(found.path), _as_os_error(error))
        return mark

    def journal(path: Path) -> int:
        last = 0
        for entry in read_journal(path):
            last = max(last, entry.lsn)
            if entry.lsn > marks.tags:
                store.apply_edit(entry)
        return last

    def arrays(path: Path) -> int:
        lsn, records = load_arrays(path)
        for record in records:
            store.arrays.put(record)
        return lsn

    # Against the order of publishing (ids, journal, arrays, history, then the log goes):
    # so a reader beside a living writer finds whatever an earlier look speaks of.
    frames = _logged(layout, writer)
    marks.signals = each(layout.family("signals", writer), lambda path: load_signals(store, path))
    sequence = max(sequence, _load_history(layout, writer, store, marks, on_damage))
    store.large.load(layout.arrays(writer))
    marks.arrays = each(layout.family("arrays", writer), arrays)
    marks.tags = each(layout.family("tags", writer), lambda path: load_tags(store, path))
    marks.journal = max(each(layout.journal(writer), journal), marks.tags)
    marks.ids = each(layout.ids(writer), lambda path: load_ids(store.ids, path))
    store.pending.ids_from = len(store.ids)
    for frame in frames:
        _apply(frame, store, marks)
    last = frames[-1].lsn if frames else 0
    store.ids.fill(max(marks.rows, store.most_rows()))
    stale = set()
    if marks.tags < max(marks.journal, marks.ids):
        stale.add("tags")
    if marks.signals < max(marks.history, marks.ids):
        stale.add("signals")
    return Recovered(max(last, marks.last) + 1, sequence + 1, frozenset(stale))


def _as_os_error(error: Exception) -> OSError:
    return error if isinstance(error, OSError) else OSError(str(error))


def _load_history(
    layout: Layout,
    writer: str,
    store: Store,
    marks: _Watermarks,
    on_damage: Callable[[str, OSError], None],
) -> int:
    sequence = 0
    recent: list[tuple[int, PartitionKey, Segment]] = []
    for folder in sorted((layout.root / "history").glob(f"kind=*/*/*/writer={writer}")):
        kind, key = (folder.parts[at].partition("=")[2] for at in (-4, -3))
        experiment_hash = None if key == HIVE_NULL else unquote(key)
        for found in current_ranges(folder):
            sequence = max(sequence, found.last)
            try:
                metadata = pq.read_metadata(found.path)
                footer = footer_of(metadata)
                segment = Segment(
                    found.path,
                    found.first,
                    found.last,
                    footer["lsn"],
                    metadata.num_rows,
                    footer["tier"],
                )
                partition_key = PartitionKey(kind, experiment_hash, footer["signal"])
                marks.rows = max(marks.rows, footer["rows"])
            except _DAMAGE as error:
                on_damage(str(found.path), _as_os_error(error))
                continue
            if kind != "global" and segment.lsn > marks.signals:
                recent.append((footer["last"], partition_key, segment))
            store.partition(partition_key).segments.append(segment)
            marks.history = max(marks.history, segment.lsn)
    for loaded in store.partitions.values():
        loaded.segments.sort(key=lambda s: s.first)
    # In the order in which they were saved, across experiment hashes.
    for _, partition_key, segment in sorted(recent, key=lambda r: r[0]):
        try:
            _apply_latest(store, partition_key, segment)
        except _DAMAGE as error:
            on_damage(str(segment.path), _as_os_error(error))
    return sequence


def _apply_latest(store: Store, key: PartitionKey, segment: Segment) -> None:
    columns = read_chunk(segment.path, key.kind).columns
    if key.kind == "sample":
        store.samples.put(key.signal, columns["sample"], columns["value"])
    else:
        store.samples.instances.put(
            key.signal, columns["sample"], columns["annotation_id"], columns["value"]
        )


def _logged(layout: Layout, writer: str) -> list[Frame]:
    """Every whole record of a writer's logs."""
    frames: list[Frame] = []
    for path in log_files(layout.log(writer)):
        try:
            frames.extend(read_log(path))
        except FileNotFoundError:
            # Retired by its living writer while we read: its records are in files.
            continue
    return frames


def _apply(frame: Frame, store: Store, marks: _Watermarks) -> None:
    """Apply a record where files lack it."""
    if frame.kind == VALUES:
        store.restore_values(frame.lsn, decode_values(frame.payload))
        return
    op, blob = decode_change(frame.payload)
    if frame.kind == ARRAYS and frame.lsn > marks.arrays:
        store.take_arrays(frame.lsn, ArrayRecord.restore(op, blob))
    elif frame.kind == CHANGE:
        _change(frame.lsn, op, blob, store, marks)


def _change(lsn: int, op: dict[str, Any], blob: bytes, store: Store, marks: _Watermarks) -> None:
    kind = op["op"]
    if kind == "context":
        # What the file begins with: enough to read it without the ones before.
        for code, name in enumerate(op["signals"]):
            store.take_signal(code, name)
        store.take_hash(op["hash"])
        store.launch = op["launch"]
    elif kind == "signal":
        store.take_signal(op["code"], op["name"])
    elif kind == "edit":
        entry = JournalEntry.restore(lsn, op, blob)
        if lsn > marks.journal:
            store.take_edit(entry)
        elif entry.verb in ("experiment", "launch"):
            # Values behind it in the log belong to it, wherever the entry is kept.
            store.apply_edit(entry)
    elif lsn > marks.ids:
        store.ids.replay(op, blob)
