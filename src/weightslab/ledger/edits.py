"""Edits of the sample table: tags, categories, discards, and the experiment they belong to.

Each is one entry of the journal, logged before it is applied; what it does not
change is not written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from weightslab.errors import InputError
from weightslab.ledger.journal import JournalEntry
from weightslab.ledger.records import CHANGE, encode_change
from weightslab.ledger.store import Store
from weightslab.ledger.writer import Writer
from weightslab.types import Rows

__all__ = ["Editor"]

_NOBODY: Rows = np.zeros(0, np.int32)


class Editor:
    """Applies edits to a store and logs them with `writer`. An edit is durable on return."""

    def __init__(self, store: Store, writer: Writer, now: Callable[[], float]) -> None:
        self._store = store
        self._writer = writer
        self._now = now
        self.step: Callable[[], int] = lambda: 0
        """Gives the training step that an entry carries."""

    def tag(self, rows: Rows, tag: str, present: bool, *, actor: str = "user") -> int:
        """Put a boolean tag on samples or take it off; gives how many changed."""
        with self._store.lock:
            held = self._store.samples.tags.get(tag)
            changed = _differing(rows, held, present)
            if len(changed) or (held is None and present):
                previous = np.full(len(changed), int(not present), np.int32)
                self.enter("tag", tag, _text(present), changed, previous, actor=actor)
        self._writer.sync()
        return len(changed)

    def discard(self, rows: Rows, discarded: bool, *, actor: str = "user") -> int:
        """Discard samples or restore them; gives how many changed."""
        with self._store.lock:
            changed = _differing(rows, self._store.samples.discarded, discarded)
            if len(changed):
                previous = np.full(len(changed), int(not discarded), np.int32)
                self.enter("discard", None, _text(discarded), changed, previous, actor=actor)
        self._writer.sync()
        return len(changed)

    def register_category(
        self, tag: str, categories: Sequence[str], *, actor: str = "user"
    ) -> None:
        """Declare a categorical tag, or add categories to it."""
        with self._store.lock:
            held = self._store.samples.categories.get(tag)
            new = [c for c in dict.fromkeys(categories) if held is None or c not in held.categories]
            if new or held is None:
                self.enter("register", tag, json.dumps(new), _NOBODY, actor=actor)
        self._writer.sync()

    def categorize(self, rows: Rows, tag: str, value: str | None, *, actor: str = "user") -> int:
        """Give samples one value of a categorical tag (None clears it); gives how many changed."""
        with self._store.lock:
            column = self._store.samples.categories.get(tag)
            unique = np.unique(rows).astype(np.int32)
            codes = np.full(len(unique), -1, np.int32)
            target = -1
            if column is not None:
                inside = unique < len(column.codes)
                codes[inside] = column.codes[unique[inside]]
                if value is not None and value in column.categories:
                    target = column.categories.index(value)
            is_new = value is not None and target < 0
            moved = (codes != target) | is_new
            if moved.any() or is_new:
                self.enter("category", tag, value, unique[moved], codes[moved], actor=actor)
        self._writer.sync()
        return int(np.count_nonzero(moved))

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
                int(self._now() * 1e6),
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

    def adopt(self, placeholder: int, row: int) -> None:
        """Give `row` the tags and discard of a placeholder, and free the placeholder's name.

        A placeholder stands for an id that was edited before its sample appeared.
        """
        ids, samples = self._store.ids, self._store.samples
        with self._store.lock:
            old, new = np.array([placeholder], np.int32), np.array([row], np.int32)
            if placeholder < len(samples.discarded) and samples.discarded[placeholder]:
                self.discard(new, True)
                self.discard(old, False)
            for tag, column in list(samples.tags.items()):
                if placeholder < len(column) and column[placeholder]:
                    self.tag(new, tag, True)
                    self.tag(old, tag, False)
            for tag, category in list(samples.categories.items()):
                code = int(category.column(placeholder + 1)[placeholder])
                if code >= 0:
                    self.categorize(new, tag, category.categories[code])
                    self.categorize(old, tag, None)
            ids.rename(old, [f"placeholder/{placeholder}"])


def _text(flag: bool) -> str:
    return "true" if flag else "false"


def _differing(rows: Rows, column: npt.NDArray[np.bool_] | None, wanted: bool) -> Rows:
    """Those of `rows`, each once, whose flag is not `wanted`."""
    if not len(rows):
        return rows
    if rows.min() < 0:
        raise InputError(f"row {int(rows.min())} does not exist")
    held = np.zeros(0, np.bool_) if column is None else column
    unique = np.unique(rows).astype(np.int32)
    inside = unique < len(held)
    state = np.zeros(len(unique), np.bool_)
    state[inside] = held[unique[inside]]
    differing: Rows = unique[state != wanted]
    return differing
