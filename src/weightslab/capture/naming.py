"""What names a sample: the rules of one loader for the items of one base dataset.

A row belongs to a base dataset and an index; ids in the batch *name* it. Strings
always do. Integers do while index and value stay one to one, because
`(image, mask, class)` looks exactly like `(image, label, id)`.

    given "a" for an index        the index then stands for
    ----------------------------  -----------------------------------------
    its row is already "a"        that row
    nobody is "a"                 its row, renamed; a new row where its row has
                                  another name of an earlier launch
    "a" is ours, another index    the row "a": the dataset was reordered, or
                                  the id repeats and is one sample
    "a" is another dataset's      the row "<origin>/a"

Shapes: B samples in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from weightslab.capture.bases import Base

if TYPE_CHECKING:
    from weightslab.ledger.ids import IdStore

__all__ = ["AmbiguousNameError", "Naming", "Say"]

Say = Callable[[str, str], None]
"""Warns once by key with a message."""


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

    def settled(self, indices: list[int], given: Sequence[str | int]) -> bool:
        """Whether every index said the same before, so that its row stands."""
        try:
            known = itemgetter(*indices)(self.given)
        except KeyError:
            return False
        return bool(known == tuple(given)) if len(indices) > 1 else bool(known == given[0])

    def take_strings(
        self, indices: list[int], names: Sequence[str], given: Sequence[str | int] | None = None
    ) -> None:
        """Let each index stand for the sample that its name says."""
        self._take(indices, names, names if given is None else given)

    def take_integers(self, indices: list[int], values: Sequence[int]) -> bool:
        """The same for integers; False, and nothing done, when they are no ids."""
        index_of = dict(self._index_of)
        said: dict[int, str | int] = {}
        for index, value in zip(indices, values, strict=True):
            if said.setdefault(index, self.given.get(index, value)) != value:
                return False
            if index_of.setdefault(value, index) != index:
                return False
        self._index_of = index_of
        self._take(indices, [str(value) for value in values], values)
        return True

    def _take(self, indices: list[int], names: Sequence[str], given: Sequence[str | int]) -> None:
        base = self.base
        renames: dict[int, str] = {}
        taken: dict[str, int] = {}
        with base.lock:
            for index, name, said in zip(indices, names, given, strict=True):
                if self.given.get(index) == said:
                    continue
                if index in self.given:
                    self._say_unstable(index, name)
                row = int(base.rows[index])
                found = taken.get(name)
                if found is None:
                    found, new_name = self._row_of(index, row, name, taken)
                    if new_name is not None:
                        renames[found] = new_name
                    taken[name] = found
                elif found != row:
                    self._say_repeated(name)
                self._before.setdefault(index, row)
                self.given[index] = said
                base.spoken.add(index)
                base.named.add(found)
                if found != row:
                    base.rows[index] = found
                    base.moves += 1
                    self.ids.add_origin(np.array([found], np.int32), self.origin)
            if renames:
                rows = np.fromiter(renames, np.int32, len(renames))
                self.ids.rename(rows, list(renames.values()))
                self._renamed.extend(renames)

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
        former = ids.find(qualified)
        if former is not None and ids.own_name(former) == qualified:
            base.reordered = base.reordered or own is not None
            return former, None
        holder = ids.find(name)
        if holder is None:
            return self._new(index, row, own, name)
        if holder == row:
            return row, None
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
            self.given.clear()
            self._index_of.clear()
            self._before.clear()
            self._renamed.clear()
