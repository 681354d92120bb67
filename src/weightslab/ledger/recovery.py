"""From a writer's files and log to its state: after a clean close, and after a kill.

Files carry the number of the last log record that they hold (their watermark).
What the log has beyond the watermark of each is applied on top, per partition,
so that a crash between two renames of one flush neither loses nor doubles a row.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import pyarrow.parquet as pq

from weightslab.ledger.arrays.arrays import ArrayRecord
from weightslab.ledger.arrays.file import ArrayFile
from weightslab.ledger.edits.journal import JournalEntry, read_journal
from weightslab.ledger.history.partitions import PartitionKey, Segment
from weightslab.ledger.history.segments import footer_of, read_chunk
from weightslab.ledger.ids.file import load_ids
from weightslab.ledger.layout import HIVE_NULL, FileRange, Layout, current_ranges
from weightslab.ledger.log.chain import read_logs
from weightslab.ledger.log.frames import Frame
from weightslab.ledger.log.records import ARRAYS, CHANGE, VALUES, decode_change, decode_values
from weightslab.ledger.store import Store
from weightslab.ledger.table.file import load_signals, load_tags

__all__ = ["Recovered", "is_damage", "load_writer"]


_DAMAGE = (OSError, ValueError, KeyError, IndexError, TypeError)
"""What reading a damaged file raises."""

_PLACES = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP))
"""What stands at a path is no file that can be read, and will not be at the next try."""

_ATTEMPTS = 50
"""How often a folder is gone through whose files a living writer replaces meanwhile."""

T = TypeVar("T")

OnDamage = Callable[[str, OSError], None]


def is_damage(error: OSError) -> bool:
    """Whether a file itself is bad: not the disk, a limit or a permission, which may pass.

    What a parser or a checksum refuses has no number of the operating system.
    """
    return error.errno is None or error.errno in _PLACES


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where a writer goes on."""

    next_lsn: int
    next_sequence: int
    stale: frozenset[str] = frozenset(("tags", "signals"))
    """Families whose snapshot is older than what it is made of."""
    covered: int = 0
    """Number of the last record that the snapshot of latest values holds."""
    logs: tuple[Path, ...] = ()
    """Log files that were read: once all is published they can go."""
    unreadable_logs: tuple[Path, ...] = ()
    left_out: tuple[Path, ...] = ()
    """Damaged files: what the log has of them is taken from there."""


class _Watermarks:
    """Last log number in the files of each family."""

    def __init__(self) -> None:
        self.ids = self.journal = self.tags = self.signals = self.history = 0
        self.arrays = self.large = 0
        self.rows = 0
        """Rows that some segment speaks of."""

    @property
    def last(self) -> int:
        samples = (self.ids, self.journal, self.tags, self.signals)
        return max(*samples, self.history, self.arrays, self.large)


def load_writer(layout: Layout, writer: str, store: Store, on_damage: OnDamage) -> Recovered:
    """Fill an empty store with everything that `writer` left. Reads only.

    A file that cannot be read is reported through `on_damage`, and left out unless that raises.

    Raises:
        FileNotFoundError: another process, whose writer this is, merged and covered values
            meanwhile: load it anew into another store.
    """
    marks = _Watermarks()
    sequence = 0
    left_out: set[Path] = set()

    def each(folder: Path, load: Callable[[Path], int]) -> int:
        nonlocal sequence
        loaded, last = _each(folder, lambda found: load(found.path), on_damage, left_out)
        sequence = max(sequence, last)
        return max(loaded, default=0)

    def journal(path: Path) -> int:
        last = 0
        for entry in read_journal(path):
            last = max(last, entry.lsn)
            store.see(entry.time_us)
            if entry.lsn > marks.tags:
                store.apply_edit(entry)
        return last

    def arrays(path: Path) -> int:
        file = ArrayFile(path)
        store.arrays.load(file)
        for field, index in file.fields.items():
            store.large.forget_keys(field, index.keys, index.lsns)
        return file.lsn

    # Against the order of publishing (ids, journal, arrays, history, the snapshot of latest
    # values, then the log goes): so a reader beside a living writer finds whatever an earlier
    # look speaks of.
    logged = read_logs(layout.log(writer), on_damage)
    history, last = _load_history(layout, writer, on_damage, left_out)
    sequence = max(sequence, last)
    marks.signals = each(layout.family("signals", writer), lambda path: load_signals(store, path))
    store.covered = marks.signals
    _take_history(history, store, marks, on_damage)
    marks.large = each(layout.arrays(writer), store.large.load)
    marks.arrays = each(layout.family("arrays", writer), arrays)
    marks.tags = each(layout.family("tags", writer), lambda path: load_tags(store, path))
    marks.journal = max(each(layout.journal(writer), journal), marks.tags)
    marks.ids = each(layout.ids(writer), lambda path: load_ids(store.ids, path))
    store.pending.ids_from = len(store.ids)
    for frame in logged.frames(marks.last, on_damage):
        _apply(frame, store, marks)
    store.ids.fill(max(marks.rows, store.most_rows(), store.samples.edited_rows()))
    stale = set()
    if marks.tags < max(marks.journal, marks.ids):
        stale.add("tags")
    if marks.signals < max(marks.history, marks.ids):
        stale.add("signals")
    return Recovered(
        max(logged.last_lsn, marks.last) + 1,
        sequence + 1,
        frozenset(stale),
        marks.signals,
        tuple(logged.read),
        tuple(logged.unreadable),
        tuple(sorted(left_out)),
    )


def _as_os_error(error: Exception) -> OSError:
    return error if isinstance(error, OSError) else OSError(str(error))


def _each(
    folder: Path, load: Callable[[FileRange], T], on_damage: OnDamage, left_out: set[Path]
) -> tuple[list[T], int]:
    """What `load` gives for each current file of a folder, and the last sequence number.

    What cannot be read is added to `left_out`, and the files that were merged into it, if
    they are still there, are current again. Where a living writer replaces files meanwhile,
    the folder is gone through again: loading a file twice changes nothing.
    """
    for attempt in range(_ATTEMPTS):
        loaded: dict[Path, T] = {}
        last = 0
        gone = False
        waiting = _ranges(folder, left_out, on_damage)
        while waiting and not gone:
            found = waiting.pop(0)
            last = max(last, found.last)
            try:
                loaded[found.path] = load(found)
            except _DAMAGE as error:
                gone = isinstance(error, FileNotFoundError) and attempt < _ATTEMPTS - 1
                if not gone:
                    on_damage(str(found.path), _as_os_error(error))
                    left_out.add(found.path)
                    again = _ranges(folder, left_out, on_damage)
                    waiting = [other for other in again if other.first >= found.first]
        if not gone:
            break
    return list(loaded.values()), last


def _ranges(folder: Path, left_out: set[Path], on_damage: OnDamage) -> list[FileRange]:
    try:
        return current_ranges(folder, left_out)
    except OSError as error:
        on_damage(str(folder), error)
        return []


@dataclass(frozen=True, slots=True)
class _Found:
    """A segment and what its footer says."""

    key: PartitionKey
    segment: Segment
    saved: int
    """Number of the last record that is in it."""


def _load_history(
    layout: Layout, writer: str, on_damage: OnDamage, left_out: set[Path]
) -> tuple[list[_Found], int]:
    found: list[_Found] = []
    sequence = 0
    for folder in sorted((layout.root / "history").glob(f"kind=*/*/*/writer={writer}")):
        kind, key = (folder.parts[at].partition("=")[2] for at in (-4, -3))
        experiment_hash = None if key == HIVE_NULL else unquote(key)
        load = partial(_segment, kind, experiment_hash)
        of_folder, last = _each(folder, load, on_damage, left_out)
        found += of_folder
        sequence = max(sequence, last)
    return found, sequence


def _segment(kind: str, experiment_hash: str | None, found: FileRange) -> _Found:
    metadata = pq.read_metadata(found.path)
    footer = footer_of(metadata)
    segment = Segment(
        found.path,
        found.first,
        found.last,
        footer["lsn"],
        metadata.num_rows,
        footer["samples"],
        footer["tier"],
    )
    key = PartitionKey(kind, experiment_hash, footer["signal"])
    return _Found(key, segment, footer["last"])


def _take_history(
    history: list[_Found],
    store: Store,
    marks: _Watermarks,
    on_damage: OnDamage,
) -> None:
    """Take up segments, and the latest values of those that the snapshot does not cover."""
    for found in sorted(history, key=lambda f: f.segment.first):
        store.history.partition(found.key).segments.append(found.segment)
        marks.history = max(marks.history, found.segment.lsn)
        marks.rows = max(marks.rows, found.segment.samples)
    recent = [f for f in history if f.key.kind != "global" and f.segment.lsn > marks.signals]
    # In the order in which they were saved, across experiment hashes.
    for found in sorted(recent, key=lambda f: f.saved):
        try:
            _apply_latest(store, found.key, found.segment)
        except FileNotFoundError:
            raise
        except _DAMAGE as error:
            on_damage(str(found.segment.path), _as_os_error(error))


def _apply_latest(store: Store, key: PartitionKey, segment: Segment) -> None:
    columns = read_chunk(segment.path, key.kind).columns
    if key.kind == "sample":
        store.samples.put(key.signal, columns["sample"], columns["value"])
    else:
        store.samples.instances.put(
            key.signal, columns["sample"], columns["annotation_id"], columns["value"]
        )


def _apply(frame: Frame, store: Store, marks: _Watermarks) -> None:
    """Apply a record where files lack it."""
    if frame.kind == VALUES:
        store.restore_values(frame.lsn, decode_values(frame.payload))
        return
    op, blob = decode_change(frame.payload)
    if frame.kind == ARRAYS and frame.lsn > marks.arrays:
        record = ArrayRecord.restore(op, blob)
        store.take_arrays(frame.lsn, record)
        store.large.forget(record, frame.lsn)
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
