"""Edits that are collected and applied together: one entry for each value, one flush for all.

For code that edits sample by sample, as a signal does. A collected edit costs a look into
a dictionary; nothing is written where the value stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from weightslab.ledger.edits.editor import Editor
from weightslab.ledger.edits.merged import Key
from weightslab.ledger.ids.ids import IdStore
from weightslab.types import Rows

__all__ = ["EditGroup"]


class EditGroup:
    """Edits of one thread on their way to an editor.

    The last edit of a sample wins, as it does in the table. `apply` puts into the journal
    what was collected, in order of first mention: then everybody sees it, and it survives a
    kill. `finish` also brings it to the disk. Not safe for several threads.
    """

    def __init__(self, editor: Callable[[], Editor], ids: IdStore, *, actor: str) -> None:
        self._editor = editor
        """Gives the editor, or refuses when the ledger is closed."""
        self._ids = ids
        self._actor = actor
        self._wanted: dict[Key, dict[int, str | None]] = {}
        """By what is edited: row -> value, as the journal writes it."""
        self._mentioned: dict[tuple[Key, str | None], list[int]] = {}
        self._unseen: dict[int, str] = {}
        """Ids of rows whose sample nobody has seen: it may get another row meanwhile."""
        self._changed = 0
        """Values of samples that were changed and not flushed."""

    def __contains__(self, key: Key) -> bool:
        """Whether an edit of this tag, category or discard waits here."""
        return key in self._wanted

    def put(self, key: Key, rows: Sequence[int], value: str | None) -> int:
        """Let `rows` have a value ("true", "false", a category or None); how many change by it."""
        wanted = self._wanted.get(key)
        if wanted is None:
            wanted = self._wanted[key] = {}
        self._mentioned.setdefault((key, value), [])
        changed = 0
        for row, held in zip(rows, self._editor().held(key, rows), strict=True):
            if wanted.get(row, held) != value:
                changed += 1
            wanted[row] = value
        return changed

    def note_unseen(self, rows: Rows) -> None:
        """Keep the ids of those of `rows` that stand for samples which nobody has seen."""
        for row in self._ids.unseen(rows).tolist():
            self._unseen[row] = self._ids.name(row)

    def apply(self) -> None:
        """Put what was collected into the journal and the table."""
        if not self._mentioned:
            return
        editor = self._editor()
        mentioned, wanted, unseen = self._mentioned, self._wanted, self._unseen
        self._mentioned, self._wanted, self._unseen = {}, {}, {}
        moved = {row: self._ids.find(name) for row, name in unseen.items()}
        for key, values in wanted.items():
            for row, value in values.items():
                now = moved.get(row) if moved else None
                mentioned[key, value].append(row if now is None else now)
        editor.look()
        for (key, value), rows in mentioned.items():
            found = np.array(rows, np.int32)
            self._changed += editor.put(key, found, value, actor=self._actor, durable=False)

    def finish(self) -> None:
        """Apply what is left, and flush everything to the disk, if anything has changed."""
        self.apply()
        changed, self._changed = self._changed, 0
        if changed:
            self._editor().flush(f"what a {self._actor} edited ({changed} values)", changed)
