"""Edits of the sample table: tags, categories, discards, and the experiment they belong to.

Each is one entry of the journal, logged before it is applied; what it does not
change is not written. What changes is told from what the edits of all writers add up
to, as far as this process can see them at that moment.

An entry's time is that of the clock, or a microsecond after the newest edit that was
seen in the folder: an edit that is made in sight of another one is newer, whatever the
clocks of two machines, or of one before and after a correction, say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from weightslab.errors import InputError
from weightslab.ledger.edits.journal import JournalEntry
from weightslab.ledger.edits.merged import DISCARD, Key
from weightslab.ledger.edits.others import Others
from weightslab.ledger.log.records import CHANGE, encode_change
from weightslab.ledger.store import Store
from weightslab.ledger.writer import EDIT_NOTICE, Writer
from weightslab.notices import Notices
from weightslab.types import Rows

__all__ = ["Editor"]

_EDITS = frozenset(("tag", "category", "register", "discard"))
"""Verbs that other processes want to know of at once."""

_NOBODY: Rows = np.zeros(0, np.int32)


class Editor:
    """Applies edits to a store and logs them with `writer`.

    An edit is durable on return. One that the disk does not take waits in memory, which
    is said at the call, once an outage. With `durable=False` it survives a kill, and whoever
    edits calls `look` before and `flush` after it: once for many edits.
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        others: Others,
        now: Callable[[], float],
        notices: Notices,
    ) -> None:
        self._notices = notices
        self._store = store
        self._writer = writer
        self._others = others
        self._now = now
        self.step: Callable[[], int] = lambda: 0
        """Gives the training step that an entry carries."""

    def put(
        self, key: Key, rows: Rows, value: str | None, *, actor: str = "user", durable: bool = True
    ) -> int:
        """Edit samples with a value as the journal writes it; gives how many changed."""
        name = key.name or ""
        if key.verb == "category":
            return self.categorize(rows, name, value, actor=actor, durable=durable)
        if key.verb == "tag":
            return self.tag(rows, name, value == _text(True), actor=actor, durable=durable)
        return self.discard(rows, value == _text(True), actor=actor, durable=durable)

    def tag(
        self, rows: Rows, tag: str, present: bool, *, actor: str = "user", durable: bool = True
    ) -> int:
        """Put a boolean tag on samples or take it off; gives how many changed."""
        if durable:
            self.look()
        with self._store.lock:
            held = self._flags(Key("tag", tag))
            changed = _differing(rows, held, present)
            if len(changed) or (held is None and present):
                previous = np.full(len(changed), int(not present), np.int32)
                self.enter("tag", tag, _text(present), changed, previous, actor=actor)
        if durable:
            self.flush(f"the tag {tag!r} of {_counted(len(changed))}", len(changed))
        return len(changed)

    def discard(
        self, rows: Rows, discarded: bool, *, actor: str = "user", durable: bool = True
    ) -> int:
        """Discard samples or restore them; gives how many changed."""
        if durable:
            self.look()
        with self._store.lock:
            changed = _differing(rows, self._flags(DISCARD), discarded)
            if len(changed):
                previous = np.full(len(changed), int(not discarded), np.int32)
                self.enter("discard", None, _text(discarded), changed, previous, actor=actor)
        if durable:
            what = "the discard of" if discarded else "bringing back"
            self.flush(f"{what} {_counted(len(changed))}", len(changed))
        return len(changed)

    def register_category(
        self, tag: str, categories: Sequence[str], *, actor: str = "user"
    ) -> None:
        """Declare a categorical tag, or add categories to it."""
        with self._store.lock:
            self._register(tag, categories, actor)
        self.flush(f"the categories of {tag!r}")

    def look(self) -> None:
        """Take in what other writers have edited by now."""
        self._others.look()

    def flush(self, edit: str, changed: int = 1) -> None:
        """Flush the log; where it does not hold the edit, say so. Nothing `changed`: no edit."""
        self._writer.sync()
        if changed and self._writer.gap and self._store.pending.journal:
            self._notices.warn_once(
                EDIT_NOTICE,
                f"{edit} could not be put on the disk: it applies, waits in memory, and is written "
                f"as soon as the disk takes it; if the process ends before, it is lost",
            )

    def _register(self, tag: str, categories: Sequence[str], actor: str = "user") -> None:
        held = self._store.samples.categories.get(tag)
        new = [c for c in dict.fromkeys(categories) if held is None or c not in held.categories]
        if new or held is None:
            self.enter("register", tag, json.dumps(new), _NOBODY, actor=actor)

    def categorize(
        self,
        rows: Rows,
        tag: str,
        value: str | None,
        *,
        actor: str = "user",
        durable: bool = True,
    ) -> int:
        """Give samples one value of a categorical tag (None clears it); gives how many changed."""
        if durable:
            self.look()
        with self._store.lock:
            unique = _unique(rows)
            codes, names = self._codes(tag, unique)
            target = -1 if value is None else names.index(value) if value in names else len(names)
            moved = codes != target
            if moved.any() or target == len(names):
                self.enter("category", tag, value, unique[moved], codes[moved], actor=actor)
        changed = int(np.count_nonzero(moved))
        if durable:
            self.flush(f"{value!r} as {tag!r} of {_counted(changed)}", changed)
        return changed

    def held(self, key: Key, rows: Sequence[int]) -> list[str | None]:
        """What each row holds, as the journal writes it, by all edits that were seen so far.

        For whoever asks for a few rows often: nothing is looked at anew, and no lock taken.
        """
        if key.verb != "category":
            flags = self._flags(key)
            if flags is None:
                return [_text(False)] * len(rows)
            return [_text(row < len(flags) and flags.item(row)) for row in rows]
        merged = self._others.merged
        shared = None if merged is None else merged.columns.get(key)
        own = self._store.samples.categories.get(key.name or "")
        if shared is not None:
            codes, known = shared.values, shared.categories
        elif own is not None:
            codes, known = own.codes, own.categories
        else:
            return [None] * len(rows)
        found = [codes.item(row) if row < len(codes) else -1 for row in rows]
        names = [*known, None]  # read after the codes that stand for them
        return [names[code] for code in found]

    def _flags(self, key: Key) -> npt.NDArray[np.bool_] | None:
        """A boolean column as the edits of all writers have it; None when nobody made it."""
        merged = self._others.merged
        if merged is not None:
            column = merged.columns.get(key)
            return None if column is None else column.values
        samples = self._store.samples
        return samples.discarded if key == DISCARD else samples.tags.get(key.name or "")

    def holders(self, tag: str) -> Rows | None:
        """Rows that hold a boolean tag, or any value of a categorical one; None: no such tag."""
        self._others.look()
        with self._store.lock:
            flags = self._flags(Key("tag", tag))
            if flags is None:
                merged = self._others.merged
                shared = None if merged is None else merged.columns.get(Key("category", tag))
                own = self._store.samples.categories.get(tag)
                if shared is None and own is None:
                    return None
                flags = (own.codes if shared is None else shared.values) >= 0  # type: ignore[union-attr]
            return np.flatnonzero(flags).astype(np.int32)

    def _codes(self, tag: str, rows: Rows) -> tuple[Rows, list[str]]:
        """Codes of `rows` [n] in a categorical tag, -1 for none, and what they stand for.

        They are this writer's own codes, as its journal has them: values that it has from
        others are registered first.
        """
        merged = self._others.merged
        shared = None if merged is None else merged.columns.get(Key("category", tag))
        if shared is not None:
            self._register(tag, shared.categories)
        own = self._store.samples.categories.get(tag)
        codes = np.full(len(rows), -1, np.int32)
        if own is None:
            return codes, []
        if shared is None:
            inside = rows < len(own.codes)
            codes[inside] = own.codes[rows[inside]]
            return codes, own.categories
        lookup = np.array([*map(own.code, shared.categories), -1], np.int32)
        return lookup[shared.at(rows)], own.categories

    def set_experiment(self, experiment_hash: str | None, *, actor: str = "training") -> None:
        """Values saved from now on belong to this experiment hash."""
        with self._store.lock:
            if experiment_hash != self._store.experiment_hash:
                self.enter("experiment", None, experiment_hash, _NOBODY, actor=actor)

    def enter(
        self,
        verb: str,
        name: str | None,
        value: str | None,
        rows: Rows,
        previous: Rows | None = None,
        *,
        actor: str = "training",
        launch: int | None = None,
    ) -> None:
        """Log and apply one entry of the journal."""
        store = self._store
        with store.lock:
            was = rows if previous is None else previous
            entry = JournalEntry(
                self._writer.next_lsn,
                max(int(self._now() * 1e6), store.newest_us + 1),
                self.step(),
                store.launch if launch is None else launch,
                actor,
                verb,
                name,
                value,
                rows,
                was,
            )
            blob = rows.tobytes() + was.tobytes()
            lsn = self._writer.log(CHANGE, encode_change(entry.head(), blob))
            if lsn != entry.lsn:
                # The log began a new file, whose first record took the number.
                entry = JournalEntry.restore(lsn, entry.head(), blob)
            store.take_edit(entry)
            self._others.take_own(entry)
            if verb in _EDITS:
                self._writer.announce(lsn)


def _counted(samples: int) -> str:
    """So many samples, in words."""
    return f"{samples} sample{'s' * (samples != 1)}"


def _text(flag: bool) -> str:
    return "true" if flag else "false"


def _differing(rows: Rows, column: npt.NDArray[np.bool_] | None, wanted: bool) -> Rows:
    """Those of `rows`, each once, whose flag is not `wanted`."""
    if not len(rows):
        return rows
    if rows.min() < 0:
        raise InputError(f"row {int(rows.min())} does not exist")
    held = np.zeros(0, np.bool_) if column is None else column
    unique = _unique(rows)
    inside = unique < len(held)
    state = np.zeros(len(unique), np.bool_)
    state[inside] = held[unique[inside]]
    differing: Rows = unique[state != wanted]
    return differing


def _unique(rows: Rows) -> Rows:
    """Each of `rows` once, sorted. Sorting is several times quicker than `np.unique`."""
    ordered = np.sort(rows.astype(np.int32, copy=False))
    first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]
