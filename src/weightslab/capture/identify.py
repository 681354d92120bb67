"""From what travelled with a batch to the rows of its samples.

`IndexedSamples` is for datasets with indices, `StreamedSamples` for iterables.
Shapes: B samples in a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from weightslab.capture.bases import LARGEST_INDEX, Base, Indices, Layout
from weightslab.capture.carry import Origins, id_field
from weightslab.capture.given import given_ids
from weightslab.capture.naming import AmbiguousNameError, Naming, Say
from weightslab.errors import InputError
from weightslab.types import Rows, check_text

if TYPE_CHECKING:
    from weightslab.ledger.ids.ids import IdStore

__all__ = ["IndexedSamples", "Manners", "NoRowsError", "StreamedSamples"]


class NoRowsError(Exception):
    """The rows of a batch cannot be told; the message says why."""


@dataclass(frozen=True, slots=True)
class Manners:
    """What both kinds need of their loader."""

    origin: str
    ids_option: bool | None
    foreign: Callable[[Base, int], bool]
    """Whether a row was named by another base dataset than this one in this launch."""
    say: Say
    dropped: set[type] = field(default_factory=set)
    """Kinds of ids in the batch (int, str) that turned out not to name samples."""


def _of_length(field: Any, count: int) -> Any:
    """A batch's id field, None unless it has one entry for each of `count` samples."""
    if field is None or isinstance(field, (str, bytes)):
        return None
    try:
        return field if len(field) == count else None
    except TypeError:  # a single number, a 0-d tensor
        return None


class IndexedSamples:
    """Rows of a map-style dataset: by base and index, named by what the batch says."""

    def __init__(
        self,
        manners: Manners,
        ids: IdStore,
        layout: Layout,
        bases: list[Base],
        register: Callable[[Base, Indices], None],
    ) -> None:
        self.manners = manners
        self.ids = ids
        self.layout = layout
        self.bases = bases
        self.register = register
        self._namings: dict[int, Naming] = {}

    def rows_of(self, origins: Origins, batch: Any) -> tuple[Rows, Any]:
        """Rows of the B samples of a batch, and its id field (the very object), if it has one.

        The field is given back whether or not it names the samples: either way, who hands
        it back means this batch.

        Raises:
            NoRowsError: they cannot be told.
        """
        keys = origins.keys
        if isinstance(keys, list):
            return self._rows_of_keys(keys), _of_length(id_field(batch), len(keys))
        assert keys is not None
        positions = np.frombuffer(keys, np.int64) if len(keys) else np.zeros(0, np.int64)
        layout = self.layout
        if layout.index is None:
            indices = positions
        else:
            try:
                indices = layout.index[positions]
            except IndexError:
                raise NoRowsError(
                    f"the sampler drew a position beyond the {layout.length} samples of the dataset"
                ) from None
        field = _of_length(id_field(batch), len(indices))
        given = None
        if field is not None or origins.names is not None:
            given = self._given(origins, field, len(indices))
        if layout.which is None:
            return self._rows_in(0, indices, given), field
        return self._rows_in_each(layout.which[positions], indices, given), field

    def _rows_in_each(self, which: Any, indices: Indices, given: list[Any] | None) -> Rows:
        """The same over several base datasets."""
        rows = np.empty(len(indices), np.int32)
        for place in np.unique(which).tolist():
            mine = np.flatnonzero(which == place)
            part = None if given is None else [given[spot] for spot in mine.tolist()]
            rows[mine] = self._rows_in(place, indices[mine], part)
        return rows

    def _rows_in(self, place: int, indices: Indices, given: list[Any] | None) -> Rows:
        """Rows of indices of one base, which `given` may name."""
        base = self.bases[place]
        rows = self._plain_rows(base, indices)
        if not given:
            return rows
        if (indices < 0).any():
            indices = np.where(indices < 0, indices + len(base.rows), indices)
        named = self._named(place, base, indices, given)
        return self._plain_rows(base, indices) if named is None else named

    def _plain_rows(self, base: Base, indices: Indices) -> Rows:
        try:
            rows = base.rows[indices]
        except IndexError:
            rows = None
        if rows is not None and (base.full or not (rows < 0).any()):
            return rows
        if not len(indices):
            return np.zeros(0, np.int32)
        if int(indices.min()) < 0 or int(indices.max()) >= LARGEST_INDEX:
            raise NoRowsError(
                f"indices between {indices.min()} and {indices.max()} of a dataset without a "
                f"length cannot be numbered: give the dataset a __len__, or id_fn="
            )
        with base.lock:
            self.register(base, np.unique(indices))
        return base.rows[indices]

    def _given(self, origins: Origins, field: Any, count: int) -> list[Any] | None:
        """The ids that `id_fn` or the batch's id field gives to its B samples."""
        if origins.names is not None:
            return origins.names if len(origins.names) == count else None
        if self.manners.ids_option is False:
            return None
        values = given_ids(field)
        return values if values is not None and len(values) == count else None

    def _named(self, place: int, base: Base, indices: Indices, given: list[Any]) -> Rows | None:
        """Rows of samples that the batch names; None when it may not."""
        manners = self.manners
        integers = type(given[0]) is int
        if (int if integers else str) in manners.dropped:
            return None
        naming = self._namings.get(place)
        if naming is None:
            naming = self._namings[place] = Naming(
                base, manners.origin, self.ids, lambda row: manners.foreign(base, row), manners.say
            )
        if naming.settled(indices, given):
            return base.rows[indices]
        places = indices.tolist()
        try:
            if not integers:
                return naming.take_strings(places, given)
            if manners.ids_option:
                return naming.take_strings(places, [str(value) for value in given], given)
            rows = naming.take_integers(places, given)
            if rows is not None:
                return rows
            reason = "they are not one to one with the samples (a class or a label, it seems)"
        except (AmbiguousNameError, InputError) as error:
            reason = str(error)
        self._drop(integers=integers, reason=reason)
        return None

    def _drop(self, *, integers: bool, reason: str) -> None:
        for naming in self._namings.values():
            naming.drop()
        self._namings.clear()
        manners = self.manners
        manners.dropped.update({int} if integers else {int, str})
        kind = "integers" if integers else "ids"
        manners.say(
            "dropped",
            f"the {kind} in the batches of {manners.origin!r} do not name its samples: {reason}. "
            f"Its ids are {manners.origin}/<index> (id_fn= or ids=True names them another way)",
        )

    def _rows_of_keys(self, keys: list[Any]) -> Rows:
        """Rows of keys that are no integers: strings name themselves, under the origin."""
        if not all(isinstance(key, str) for key in keys):
            kinds = ", ".join(sorted({type(key).__name__ for key in keys}))
            raise NoRowsError(f"the sampler draws keys of type {kinds}: give id_fn=")
        origin = self.manners.origin
        return self.ids.add([f"{origin}/{key}" for key in keys], origin)


class StreamedSamples:
    """Rows of an iterable dataset: by the names that its items say."""

    def __init__(self, manners: Manners, ids: IdStore, base: Base) -> None:
        self.manners = manners
        self.ids = ids
        self.base = base
        self._rows: dict[str, int] = {}

    def rows_of(self, origins: Origins, batch: Any) -> tuple[Rows, Any]:
        """Rows of the B samples of a batch, which their items named, and its id field, if any.

        Raises:
            NoRowsError: they cannot be told.
        """
        names = origins.names
        if names is None:
            raise NoRowsError("its items say no ids: give id_fn=")
        origin, known = self.manners.origin, self._rows
        if origins.made_up:
            self.manners.say(
                "made-up",
                f"the items of {origin!r} say no ids, so they are called "
                f"{origin}/w<worker>:<n>, which is stable only for one number of workers and "
                f"one order: give id_fn=",
            )
        for name in names:
            if name not in known:
                try:
                    check_text(name, "the sample id")
                except InputError as error:
                    raise NoRowsError(str(error)) from None
                known[name] = self._row_of(name, made_up=origins.made_up)
                self.base.named.add(known[name])
        rows = np.array([known[name] for name in names], np.int32)
        return rows, _of_length(id_field(batch), len(names))

    def _row_of(self, name: str, *, made_up: bool) -> int:
        ids, origin = self.ids, self.manners.origin
        qualified = f"{origin}/{name}"
        if made_up or ids.find(qualified) is not None:
            return int(ids.add([qualified], origin)[0])
        holder = ids.find(name)
        theirs = holder is not None and (
            origin not in ids.origins_of(holder) or self.manners.foreign(self.base, holder)
        )
        if theirs:
            self.manners.say(
                "foreign",
                f"the id {name!r} of {origin!r} already belongs to a sample of another dataset: "
                f"here it is {qualified!r}, and so for others like it",
            )
        return int(ids.add([qualified if theirs else name], origin)[0])
