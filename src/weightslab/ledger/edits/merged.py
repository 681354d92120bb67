"""The edits of every writer as one state: of two edits of a sample the newest wins.

Newest by time, then by writer, then by their order in that writer's journal, so that
every process that knows the same edits comes to the same state, in whatever order it
read them. Held by the rows of this process; n rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from weightslab.ledger.edits.journal import JournalEntry, categories_of
from weightslab.ledger.table.samples import Bools, SampleTable, grown
from weightslab.types import Rows

__all__ = ["DISCARD", "Key", "MergedColumn", "MergedEdits", "Stamp", "key_of"]

_NEVER = -(1 << 62)


class Key(NamedTuple):
    """What an edit is about: ("discard", None), ("tag", name) or ("category", name)."""

    verb: str
    name: str | None


class Stamp(NamedTuple):
    """When an edit was made, and by whom. The larger one wins."""

    time_us: int
    writer: str


DISCARD = Key("discard", None)


def key_of(entry: JournalEntry) -> Key | None:
    """What an entry of the journal edits; None when it edits no sample."""
    if entry.verb == "discard":
        return DISCARD
    return Key(entry.verb, entry.name) if entry.verb in ("tag", "category") else None


class MergedColumn:
    """One tag, category or the discards: by row the value of the newest edit, and its stamp.

    Values are flags, or places in `categories`, -1 for none.
    """

    def __init__(
        self, values: Bools | npt.NDArray[np.int16], categories: Sequence[str] = ()
    ) -> None:
        self.values: npt.NDArray[Any] = values
        self.categories = list(categories)
        self._is_flag = values.dtype == np.bool_
        self._nothing = False if self._is_flag else -1
        self.count = 0
        """Of flags: how many are set."""
        self._recount()
        self._times = np.zeros(0, np.int64)
        self._writers = np.zeros(0, np.int32)

    def code(self, value: str | None) -> int:
        """A value of the journal as it stands in `values`."""
        if self._is_flag:
            return int(value == "true")
        if value is None:
            return -1
        if value not in self.categories:
            self.categories.append(value)
        return self.categories.index(value)

    def at(self, rows: Rows) -> npt.NDArray[Any]:
        """Values of `rows` [n], also of those beyond the last edited one."""
        found = np.full(len(rows), self._nothing, self.values.dtype)
        inside = rows < len(self.values)
        found[inside] = self.values[rows[inside]]
        return found

    def take(self, rows: Rows, value: str | None, stamp: Stamp, writers: list[str]) -> None:
        """Take one edit of `rows` where it is the newest; `writers` is every one that was met.

        Edits of one writer come in their order.
        """
        code = self.code(value)
        if not len(rows):
            return
        need = int(rows.max()) + 1
        self._times = grown(self._times, need, _NEVER)
        self._writers = grown(self._writers, need, -1)
        values = grown(self.values, need, self._nothing)
        held = self._times[rows]
        wins = held < stamp.time_us
        for at in np.flatnonzero(held == stamp.time_us).tolist():
            wins[at] = writers[self._writers[rows[at]]] <= stamp.writer
        newest = rows[wins]
        values[newest] = code
        self._times[newest] = stamp.time_us
        self._writers[newest] = writers.index(stamp.writer)
        # Whoever looks without a lock finds a column that was whole at some moment.
        self.values = values
        self._recount()

    def _recount(self) -> None:
        if self._is_flag:
            self.count = int(np.count_nonzero(self.values))


class MergedEdits:
    """Every tag, category and the discards as the edits of all writers have them.

    Begun with what this writer holds, and complete with its own journal: an edit whose
    entry is lost counts as older than any. Guarded by the store's lock.
    """

    def __init__(self, own: SampleTable) -> None:
        self.columns: dict[Key, MergedColumn] = {}
        self._writers: list[str] = []
        self.columns[DISCARD] = MergedColumn(own.discarded.copy())
        for tag, flags in own.tags.items():
            self.columns[Key("tag", tag)] = MergedColumn(flags.copy())
        for tag, category in own.categories.items():
            self.columns[Key("category", tag)] = MergedColumn(
                category.codes.copy(), category.categories
            )

    @property
    def discards(self) -> MergedColumn:
        """What is discarded."""
        return self.columns[DISCARD]

    def column(self, key: Key) -> MergedColumn:
        """The column of a key, made when it is missing."""
        found = self.columns.get(key)
        if found is None:
            if key.verb == "category":
                found = MergedColumn(np.zeros(0, np.int16))
            else:
                found = MergedColumn(np.zeros(0, np.bool_))
            self.columns[key] = found
        return found

    def take(self, key: Key, rows: Rows, value: str | None, stamp: Stamp) -> None:
        """Take one edit of rows of this process."""
        if stamp.writer not in self._writers:
            self._writers.append(stamp.writer)
        self.column(key).take(rows, value, stamp, self._writers)

    def register(self, entry: JournalEntry) -> None:
        """Take up the values of a categorical tag."""
        column = self.column(Key("category", entry.name))
        for value in categories_of(entry.value):
            column.code(value)

    def tags(self) -> list[str]:
        """Names of the boolean tags."""
        return [k.name for k in self.columns if k.verb == "tag" and k.name is not None]

    def categories(self) -> dict[str, list[str]]:
        """Values of each categorical tag."""
        return {
            key.name: column.categories
            for key, column in self.columns.items()
            if key.verb == "category" and key.name is not None
        }
