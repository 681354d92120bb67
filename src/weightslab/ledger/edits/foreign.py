"""What another writer edited, read beside its living process: its ids and its journal alone.

Reading goes on where it stopped, and passes over values; against the order of publishing
(ids, journal, then the log goes), so that nothing is missed between log and files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import RLock
from typing import Any

from weightslab.ledger.edits.journal import JournalEntry, read_journal
from weightslab.ledger.ids.file import load_ids
from weightslab.ledger.ids.ids import IdStore
from weightslab.ledger.layout import Layout, current_ranges
from weightslab.ledger.log.frames import LogCursor, log_files
from weightslab.ledger.log.records import CHANGE, decode_change
from weightslab.ledger.recovery import is_damage

__all__ = ["OnDamage", "WriterEdits", "journal_entries"]

OnDamage = Callable[[str, OSError], None]

_DAMAGE = (OSError, ValueError, KeyError, IndexError, TypeError)
"""What reading a damaged file raises."""


def _nothing(op: dict[str, Any], blob: bytes) -> None:
    """Nobody logs what another writer did."""


def journal_entries(folder: Path, on_damage: OnDamage) -> Iterator[JournalEntry]:
    """Entries of a writer's journal files, in order; damaged ones are reported and left out.

    Raises FileNotFoundError when a file is gone: a merged one has taken its place.
    """
    left_out: set[Path] = set()
    waiting = current_ranges(folder)
    while waiting:
        found = waiting.pop(0)
        entries = _entries_of(found.path, on_damage)
        if entries is not None:
            yield from entries
        else:
            left_out.add(found.path)
            # What was merged into it may still be there.
            again = current_ranges(folder, left_out)
            waiting = [other for other in again if other.first >= found.first]


def _entries_of(path: Path, on_damage: OnDamage) -> list[JournalEntry] | None:
    """Entries of one file; None of a damaged one, which is reported."""
    try:
        return list(read_journal(path))
    except FileNotFoundError:
        raise
    except _DAMAGE as error:
        on_damage(str(path), error if isinstance(error, OSError) else OSError(str(error)))
        return None


class WriterEdits:
    """Ids and journal of another writer, read step by step. Used by one thread at a time."""

    def __init__(self, layout: Layout, writer: str, on_damage: OnDamage) -> None:
        self.ids = IdStore(RLock(), _nothing)
        """Ids of its rows, once `take` gave an entry that has rows."""
        self._writer = writer
        self._layout = layout
        self._told = on_damage
        self._cursors: dict[Path, LogCursor] = {}
        self._files: set[Path] = set()
        """Files of ids and of the journal that were read, of those that are still there."""
        self._damaged: set[Path] = set()
        """Those of them that could not be."""
        self._ids_lsn = 0
        """What the files of ids that were read hold at least."""
        self._changes: dict[int, tuple[dict[str, Any], bytes]] = {}
        """Logged changes of ids beyond it."""
        self._unread: set[int] = set()
        """Those of them that were not applied yet."""
        self._entries: dict[int, JournalEntry] = {}
        self._taken_lsn = 0

    def take(self) -> list[JournalEntry]:
        """Entries of the journal since the last call, in order; `ids` knows their rows.

        Raises FileNotFoundError when a file goes while it is read, and another OSError when the
        disk or the system refuses one: nothing is lost then, the next call gives everything.
        """
        self._read_logs()
        for path in self._fresh(self._layout.journal(self._writer)):
            entries = _entries_of(path, self._on_damage)
            for entry in entries or ():
                self._put(entry)
            self._took(path, damaged=entries is None)
        found = [self._entries[lsn] for lsn in sorted(self._entries)]
        if self._taken_lsn or any(len(entry.rows) for entry in found):
            self._read_ids()
            # Rows whose ids a disk has lost have names of their own, as in recovery.
            self.ids.fill(max((int(e.rows.max()) + 1 for e in found if len(e.rows)), default=0))
        if found:
            self._taken_lsn = found[-1].lsn
        self._entries.clear()
        return found

    def _read_ids(self) -> None:
        for path in self._fresh(self._layout.ids(self._writer)):
            damaged = False
            try:
                self._ids_lsn = max(self._ids_lsn, load_ids(self.ids, path))
            except FileNotFoundError:
                raise
            except _DAMAGE as error:
                told = error if isinstance(error, OSError) else OSError(str(error))
                self._on_damage(str(path), told)
                damaged = True
            self._took(path, damaged=damaged)
            self._changes = {at: c for at, c in self._changes.items() if at > self._ids_lsn}
            # The file may hold rows as they were before what the log said since.
            self._unread = set(self._changes)
        for lsn in sorted(self._unread):
            self.ids.replay(*self._changes[lsn])
        self._unread.clear()
        self.ids.changed.clear()

    def _fresh(self, folder: Path) -> Iterator[Path]:
        """Files of a folder that were not read yet; of a damaged one, what was merged into it."""
        while True:
            found = current_ranges(folder, self._damaged)
            there = {r.path for r in found} | {path for path in self._damaged if path.exists()}
            self._files = {p for p in self._files if p.parent != folder or p in there}
            self._damaged &= self._files
            fresh = [r.path for r in found if r.path not in self._files]
            known = len(self._damaged)
            for path in fresh:
                yield path
                if len(self._damaged) > known:
                    break
            else:
                return

    def _on_damage(self, path: str, error: OSError) -> None:
        if not is_damage(error):
            raise error
        self._told(path, error)

    def _took(self, path: Path, *, damaged: bool) -> None:
        self._files.add(path)
        if damaged:
            self._damaged.add(path)

    def _put(self, entry: JournalEntry) -> None:
        if entry.lsn > self._taken_lsn:
            self._entries[entry.lsn] = entry

    def _read_logs(self) -> None:
        paths = log_files(self._layout.log(self._writer))
        self._cursors = {path: self._cursors.get(path) or LogCursor(path) for path in paths}
        for cursor in self._cursors.values():
            try:
                for frame in cursor.read():
                    if frame.kind == CHANGE:
                        self._take_change(frame.lsn, *decode_change(frame.payload))
            except FileNotFoundError:
                # Retired by its living writer while we read: its records are in files.
                continue

    def _take_change(self, lsn: int, op: dict[str, Any], blob: bytes) -> None:
        if op["op"] == "edit":
            self._put(JournalEntry.restore(lsn, op, blob))
        elif op["op"] not in ("context", "signal") and lsn > self._ids_lsn:
            self._changes[lsn] = (op, blob)
            self._unread.add(lsn)
