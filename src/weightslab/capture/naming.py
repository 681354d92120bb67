"""What names a sample: the rules of one loader for the items of one base dataset.

A row belongs to a base dataset and an index; ids in the batch *name* it. Strings
always do. Integers do while index and value stay one to one, because
`(image, mask, class)` looks exactly like `(image, label, id)`.

    given "a" for an index        the index then stands for
    ----------------------------  -----------------------------------------
    its row is already "a"        that row
    "a" was edited, never seen    the row "a"
    nobody is "a"                 its row, renamed; a new row where its row has
                                  another name of an earlier launch
    "a" is ours, another index    the row "a": the dataset was reordered, or
                                  the id repeats and is one sample
    "a" is another dataset's      the row "<origin>/a"

Shapes: B samples in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from weightslab.capture.bases import Base, Indices
from weightslab.types import Rows, check_text

if TYPE_CHECKING:
    from weightslab.ledger.ids.ids import IdStore

__all__ = ["AmbiguousNameError", "Naming", "Say"]

Say = Callable[[str, str], None]
"""Warns once by key with a message."""

UNSAID = np.iinfo(np.int64).min


class AmbiguousNameError(Exception):
    """A name that cannot be given to a sample without meaning another one too."""


class Naming:
    """Names the rows of one base for one loader; remembers what each index said."""

    def __init__(
        self, base: Base, origin: str, ids: IdStore, foreign: Callable[[int], bool], say: Say
    ) -> None:
        self.base = base
        self.origin = origin
        self.ids = ids
        self.foreign = foreign
        """Whether a row was named by another base dataset in this launch."""
        self.say = say
        self.given: dict[int, str | int] = {}
        """What each index said last."""
        self._index_of: dict[int, int] = {}
        self._before: dict[int, int] = {}
        """Row of each index before we named it."""
        self._renamed: list[int] = []
        self._left: list[int] = []
        self._stamps = np.zeros(0, np.int64)
        """A number for what each index said last, and `UNSAID` before."""

    def settled(self, indices: Indices, given: Sequence[str | int]) -> bool:
        """Whether every index said the same before, so that its row stands.

        A few µs for 128 of 1M samples; a dict over them would miss the cache 128 times.
        """
        try:
            known = self._stamps[indices]
        except IndexError:
            return False
        return bool((known == _stamps(given)).all())

    def take_strings(
        self, indices: list[int], names: Sequence[str], given: Sequence[str | int] | None = None
    ) -> Rows:
        """Let each index stand for the sample that its name says; the rows, int32 [B].

        Raises:
            InputError: a name that no file can hold; nothing was named.
        """
        for name in names:
            check_text(name, "the sample id")
        return self._take(indices, names, names if given is None else given)

    def take_integers(self, indices: list[int], values: Sequence[int]) -> Rows | None:
        """The same for integers; None, and nothing done, when they are no ids."""
        said: dict[int, str | int] = {}
        new: dict[int, int] = {}
        for index, value in zip(indices, values, strict=True):
            if said.setdefault(index, self.given.get(index, value)) != value:
                return None
            holder = self._index_of.get(value)
            if (new.setdefault(value, index) if holder is None else holder) != index:
                return None
        self._index_of.update(new)
        return self._take(indices, [str(value) for value in values], values)

    def _take(self, indices: list[int], names: Sequence[str], given: Sequence[str | int]) -> Rows:
        base = self.base
        renames: dict[int, str] = {}
        taken: dict[str, int] = {}
        rows: list[int] = []
        left: list[int] = []
        with base.lock:
            for index, name, said in zip(indices, names, given, strict=True):
                row = int(base.rows[index])
                if self.given.get(index) == said:
                    rows.append(row)
                    continue
                if index in self.given:
                    self._say_unstable(index, name)
                found = taken.get(name)
                if found is None:
                    found, new_name = self._row_of(index, row, name, taken)
                    if new_name is not None:
                        renames[found] = new_name
                    taken[name] = found
                elif found != row:
                    self._say_repeated(name)
                rows.append(found)
                self._before.setdefault(index, row)
                self.given[index] = said
                base.spoken.add(index)
                base.named.add(found)
                if found != row:
                    if self._is_empty(row):
                        left.append(row)
                    base.rows[index] = found
                    base.moves += 1
                    self.ids.add_origin(np.array([found], np.int32), self.origin)
            if renames:
                named = np.fromiter(renames, np.int32, len(renames))
                self.ids.rename(named, list(renames.values()))
                self._renamed.extend(renames)
            if left:
                # Nobody is behind these places any more: no table shows them.
                self.ids.leave(np.array(left, np.int32))
                self._left.extend(left)
            self._stamp(indices, given)
        return np.array(rows, np.int32)

    def _is_empty(self, row: int) -> bool:
        """Whether only the place of a sample made a row: no name, and nobody saved by hand."""
        ids = self.ids
        known = ids.own_name(row) is not None or ids.places.of(row) is not None
        return not known and row not in self.base.named

    def _stamp(self, indices: list[int], given: Sequence[str | int]) -> None:
        needed = max(indices) + 1
        if needed > len(self._stamps):
            grown = np.full(max(needed, len(self.base.rows)), UNSAID, np.int64)
            grown[: len(self._stamps)] = self._stamps
            self._stamps = grown
        self._stamps[indices] = _stamps(given)

    def _row_of(  # noqa: PLR0911  # one return for each row of the table above
        self, index: int, row: int, name: str, taken: dict[str, int]
    ) -> tuple[int, str | None]:
        """The row that `name` means at `index`, and the name that it needs, if any.

        `taken` holds the rows of this batch by name: they are renamed together.
        """
        ids, base = self.ids, self.base
        own = ids.own_name(row)
        qualified = f"{self.origin}/{name}"
        if own in (name, qualified):
            return row, None
        if index in base.spoken and index not in self.given:
            self.say(
                "two-names",
                f"index {index} is {ids.name(row)!r} in one loader and {name!r} in "
                f"{self.origin!r}: the first stays",
            )
            return row, None
        former = ids.find_named(qualified)
        if former is not None:
            base.reordered = base.reordered or own is not None
            return former, None
        holder = ids.find(name)
        if holder is None:
            return self._new(index, row, own, name)
        if holder == row:
            return row, None
        if not ids.origins_of(holder):
            return holder, None
        if holder in base.named:
            if index not in self.given:
                self._say_repeated(name)
            return holder, None
        if not self.foreign(holder) and not base.origins.isdisjoint(ids.origins_of(holder)):
            base.reordered = True
            return holder, None
        self.say(
            "foreign",
            f"the id {name!r} of {self.origin!r} already belongs to a sample of "
            f"{' and '.join(map(repr, ids.origins_of(holder))) or 'no loader'}: here it is "
            f"{qualified!r}, and so for others like it",
        )
        former = ids.find(qualified)
        if former is None:
            return self._new(index, row, own, qualified)
        if former == row:
            return row, None
        raise AmbiguousNameError(
            f"{qualified!r} would mean the sample at index {index} and, by its place, the one "
            f"at index {name}"
        )

    def _new(self, index: int, row: int, own: str | None, name: str) -> tuple[int, str | None]:
        """The row of a name that nobody has."""
        if own is None and row not in self.base.named:
            return row, name
        if index not in self.given:
            self.base.reordered = True
        return int(self.ids.add([name], self.origin)[0]), None

    def _say_unstable(self, index: int, name: str) -> None:
        self.say(
            "unstable",
            f"index {index} of {self.origin!r} said two ids, {str(self.given[index])!r} and "
            f"{name!r}: values follow the ids, and a discard cannot be found by the index",
        )

    def _say_repeated(self, name: str) -> None:
        self.say(
            "repeated",
            f"the id {name!r} stands at more than one index of {self.origin!r}: one id is one "
            f"sample, so their values join (ids=False keeps ours, one for each index)",
        )

    def drop(self) -> None:
        """Take back every name that this loader gave, and every row that moved for one."""
        base = self.base
        with base.lock:
            for index, row in self._before.items():
                base.named.discard(int(base.rows[index]))
                base.spoken.discard(index)
                base.rows[index] = row
            base.moves += 1
            if self._renamed:
                self.ids.unname(np.array(self._renamed, np.int32))
            if self._left:
                self.ids.add_origin(np.array(self._left, np.int32), self.origin)
            self.given.clear()
            self._stamps[:] = UNSAID
            self._index_of.clear()
            self._before.clear()
            self._renamed.clear()
            self._left.clear()


def _stamps(given: Sequence[str | int]) -> Indices:
    """A number for each id: an integer itself, the 64-bit hash of a string. int64 [B]."""
    if not isinstance(given[0], str):
        try:
            return np.array(given, np.int64)
        except OverflowError:
            pass
    return np.fromiter(map(hash, given), np.int64, len(given))
