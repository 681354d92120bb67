"""What the other writers of the folder edited, taken in while this process trains.

At every tick of the flush thread, and before every edit, the beacons of the other
writers are looked at; where one has changed, what is new in that writer's journal is
merged with everybody's. Nothing of it is ever written: it stands in the journals of
those who made it, and is read from there again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import RLock

import numpy as np

from weightslab.ledger.edits.beacon import read_beacons
from weightslab.ledger.edits.foreign import OnDamage, WriterEdits, journal_entries
from weightslab.ledger.edits.journal import JournalEntry
from weightslab.ledger.edits.merged import DISCARD, Key, MergedEdits, Stamp, key_of
from weightslab.ledger.layout import Layout
from weightslab.ledger.store import Store
from weightslab.types import Rows

__all__ = ["Others"]

_AT_ONCE = 4096
"""Ids that are looked up while saving waits: some milliseconds."""
_MOST_LOOKS = 20
_RETRY_PACE = 20
"""How many times longer than a retry took the next one waits."""


class _Other:
    """Another writer, and its edits of samples that no row of this process stands for."""

    def __init__(self, writer: str, edits: WriterEdits) -> None:
        self.writer = writer
        self.edits = edits
        self.beacon: bytes | None = None
        self.entries: list[JournalEntry] = []
        """Read, and not merged yet."""
        self.waiting: dict[tuple[Key, int], tuple[str | None, int]] = {}
        """Value and time of the last edit, by what it edits and the other writer's row."""


class Others:
    """The merged edits of all writers, as far as others have edited at all.

    `own` gives this writer's name; `on_trouble` hears of what could not be read and will
    be tried again. Lock order: `lock`, then the store's.
    """

    def __init__(
        self,
        layout: Layout,
        store: Store,
        own: Callable[[], str | None],
        on_damage: OnDamage,
        on_trouble: Callable[[Exception], None],
    ) -> None:
        self.lock = RLock()
        """Held while files of others are read: a fork waits for it."""
        self.merged: MergedEdits | None = None
        """None while nobody else has edited anything: then the own table says it all."""
        self.version = 0
        """Grows with everything that is taken in."""
        self.unknown_discards: frozenset[str] = frozenset()
        """Ids that others discarded and that no row here stands for."""
        self._ids_moved = False
        self._retry_at = 0.0
        self._layout = layout
        self._store = store
        self._own = own
        self._on_damage = on_damage
        self._on_trouble = on_trouble
        self._others: dict[str, _Other] = {}
        self._meanwhile: list[JournalEntry] | None = None
        """Own edits made while the merged state is being built."""

    # -- own edits ---------------------------------------------------------------

    def take_own(self, entry: JournalEntry) -> None:
        """Merge an edit of this process. Called under the store's lock."""
        if self._meanwhile is not None:
            self._meanwhile.append(entry)
        elif self.merged is not None:
            self._merge_own(self.merged, entry)
            self.version += 1

    def _merge_own(self, merged: MergedEdits, entry: JournalEntry) -> None:
        key = key_of(entry)
        if key is not None:
            merged.take(key, entry.rows, entry.value, Stamp(entry.time_us, self._own() or ""))
        elif entry.verb == "register":
            merged.register(entry)

    def note_ids(self) -> None:
        """Ids were made or renamed here: what waits for its sample may have it now."""
        self._ids_moved = True

    # -- those of others ---------------------------------------------------------

    def tick(self) -> None:
        """Look, as often as it is cheap: what waits for its samples is tried at a measured pace."""
        self._look(patient=True)

    def look(self) -> None:
        """Take in what other writers have edited by now."""
        self._look(patient=False)

    def _look(self, *, patient: bool) -> None:
        with self.lock:
            retry = self._ids_moved and not (patient and time.monotonic() < self._retry_at)
            if retry:
                self._ids_moved = False
            for writer, beacon in self._beacons().items():
                other = self._others.get(writer)
                if other is None:
                    edits = WriterEdits(self._layout, writer, self._on_damage)
                    other = self._others[writer] = _Other(writer, edits)
                if beacon != other.beacon or (retry and other.waiting):
                    other.beacon = beacon if self._follow(other) else None

    def _beacons(self) -> dict[str, bytes]:
        try:
            found = read_beacons(self._layout)
        except OSError as error:
            self._on_trouble(error)
            return {}
        found.pop(self._own() or "", None)
        return found

    def _follow(self, other: _Other) -> bool:
        """Take in what a writer did; False when it must be looked at again."""
        try:
            other.entries += other.edits.take()
            self._take(other)
        except FileNotFoundError:
            # A file was merged while it was read.
            return False
        except Exception as error:  # noqa: BLE001  # what others wrote ends no training here
            self._on_trouble(error)
            return False
        return True

    def _take(self, other: _Other) -> None:
        """Merge what another writer edited; what waits there is tried again first."""
        begun = time.monotonic()
        waited = len(other.waiting)
        waiting: dict[tuple[Key, str | None, int], list[int]] = {}
        for (key, row), (value, time_us) in other.waiting.items():
            waiting.setdefault((key, value, time_us), []).append(row)
        for (key, value, time_us), rows in waiting.items():
            self._edit(other, key, np.array(rows, np.int32), value, time_us)
        self._retry_at = time.monotonic() + _RETRY_PACE * (time.monotonic() - begun)
        news = len(other.waiting) < waited
        for entry in other.entries:
            edited = key_of(entry)
            if edited is not None:
                self._edit(other, edited, entry.rows, entry.value, entry.time_us)
                news = True
            with self._store.lock:
                self._store.see(entry.time_us)
                if entry.verb == "register":
                    self._merged().register(entry)
        other.entries.clear()
        unknown = self._unknown_discards()
        if news or unknown != self.unknown_discards:
            self.unknown_discards = unknown
            self.version += 1

    def _edit(self, other: _Other, key: Key, rows: Rows, value: str | None, time_us: int) -> None:
        """Merge one edit of another writer's `rows`."""
        names = other.edits.ids.names(rows)
        stamp = Stamp(time_us, other.writer)
        merged = self._merged()
        with self._store.lock:
            merged.take(key, rows[:0], value, stamp)
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE].tolist()
            with self._store.lock:
                found = self._store.ids.find_all(names[start : start + _AT_ONCE], under=None)
                known = np.array([row for row in found if row is not None], np.int32)
                merged.take(key, known, value, stamp)
            for row, here in zip(part, found, strict=True):
                if here is None:
                    other.waiting[key, row] = (value, time_us)
                else:
                    other.waiting.pop((key, row), None)

    def _unknown_discards(self) -> frozenset[str]:
        newest: dict[str, tuple[Stamp, bool]] = {}
        for other in self._others.values():
            for (key, row), (value, time_us) in other.waiting.items():
                if key == DISCARD:
                    name = other.edits.ids.name(row)
                    edit = (Stamp(time_us, other.writer), value == "true")
                    newest[name] = max(newest.get(name, edit), edit)
        return frozenset(name for name, (_, discarded) in newest.items() if discarded)

    def _merged(self) -> MergedEdits:
        """The merged state, begun with this writer's own edits at the first one of another."""
        if self.merged is not None:
            return self.merged
        store = self._store
        with store.lock:
            self._meanwhile = []
            merged = MergedEdits(store.samples)
            entries = {entry.lsn: entry for entry in store.pending.journal}
        for entry in self._own_files():
            entries.setdefault(entry.lsn, entry)
        with store.lock:
            entries.update((entry.lsn, entry) for entry in self._meanwhile)
            for lsn in sorted(entries):
                self._merge_own(merged, entries[lsn])
            self._meanwhile = None
            self.merged = merged
        return merged

    def _own_files(self) -> list[JournalEntry]:
        """Entries of this writer's journal files, which may be merged meanwhile."""
        folder = self._layout.journal(self._own() or "")
        for _ in range(_MOST_LOOKS):
            try:
                return list(journal_entries(folder, self._on_damage))
            except FileNotFoundError:
                continue
        raise FileNotFoundError(f"{folder} changes faster than it can be read")
