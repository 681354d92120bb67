"""A watched loader's dataset as the ledger sees it: positions become rows.

Registering reads nothing and opens nothing. `attach` gives every sample of the
loader its row; it runs at the first iteration, or when the session opens its
ledger for another reason. Shapes: B samples in a batch, P positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import IterableDataset

from weightslab.capture.bases import LARGEST_INDEX, Base, Indices, Layout, layout_of
from weightslab.capture.carry import Origins, id_field
from weightslab.capture.discard import Skips
from weightslab.capture.naming import AmbiguousNameError, Naming
from weightslab.capture.tracking import IdFunction
from weightslab.errors import AllDiscardedError, InputError, WeightsLabError
from weightslab.types import Rows

if TYPE_CHECKING:
    from weightslab.ledger import Ledger
    from weightslab.session import Session

__all__ = ["NoRowsError", "Source", "SourceOptions"]


class NoRowsError(Exception):
    """The rows of a batch cannot be told; the message says why."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How a loader was asked to be watched."""

    is_training: bool
    append_ids: bool = True
    id_fn: IdFunction | None = None
    ids: bool | None = None
    """True: integers in the batch are ids, always; False: nothing in the batch is."""


class Source:
    """The samples of one watched loader.

    Threads: rows are asked for by whoever consumes the loader; names change
    under the lock of the base dataset.
    """

    def __init__(
        self,
        session: Session,
        name: str,
        dataset: Any,
        options: SourceOptions,
    ) -> None:
        self.session = session
        self.name = name
        self.dataset = dataset
        self.options = options
        self.streams = isinstance(dataset, IterableDataset)
        self.skips = Skips()
        self.skipped_names: set[str] = set()
        """Ids that an iterable dataset leaves out."""
        self._known_bases = {
            id(base.dataset): base for sibling in _sources(session) for base in sibling.bases
        }
        self.layout: Layout | None = None
        self.bases: list[Base] = []
        self._namings: dict[int, Naming] = {}
        self._named_rows: dict[str, int] = {}
        self._integers_dropped = False
        self._strings_dropped = False
        self._ledger: Ledger | None = None
        self._seen: tuple[int, ...] = ()
        self._lay_out()

    # -- registering -------------------------------------------------------

    @property
    def base_datasets(self) -> tuple[Any, ...]:
        """The base datasets under the loader's dataset."""
        return tuple(base.dataset for base in self.bases)

    def _lay_out(self) -> None:
        """Take the dataset apart; done anew for every iterator, since subsets change."""
        if self.streams:
            if not self.bases:
                self.bases = [self._known_bases.get(id(self.dataset)) or Base(self.dataset)]
                self.bases[0].origins.add(self.name)
            return
        layout = layout_of(self.dataset)
        if self.layout is not None and _same(self.layout, layout):
            return
        known = {**self._known_bases, **{id(base.dataset): base for base in self.bases}}
        self.layout = layout
        self.bases = [known.get(id(data)) or Base(data) for data in layout.datasets]
        for base in self.bases:
            base.origins.add(self.name)
        self._ledger = None
        self._seen = ()

    # -- attaching ---------------------------------------------------------

    def attach(self) -> None:
        """Give every sample of this loader its row. O(1) for a whole dataset of any size.

        Of loaders over one base dataset, training goes first, then by name, so
        that ids do not depend on the order of registration.
        """
        ledger = self.session.ledger
        if self._ledger is ledger:
            return
        mine = {id(base) for base in self.bases}
        sharing = {
            id(source): source
            for source in (*_sources(self.session), self)
            if any(id(base) in mine for base in source.bases)
        }
        for source in sorted(
            sharing.values(), key=lambda one: (not one.options.is_training, one.name)
        ):
            source._attach(ledger)  # noqa: SLF001  # one class

    def _attach(self, ledger: Ledger) -> None:
        if self._ledger is ledger:
            return
        self._namings.clear()
        self._named_rows.clear()
        for base in self.bases:
            if base.ledger is not ledger:
                base.forget_rows()
                base.ledger = ledger
        layout = self.layout
        if layout is not None:
            for place, base in enumerate(self.bases):
                with base.lock:
                    labels = None if layout.label is None else layout.label[layout.which == place]
                    self._register(ledger, base, self._indices(layout, place), labels)
        self._ledger = ledger
        self._seen = ()

    def _indices(self, layout: Layout, place: int) -> range | Indices:
        """Base indices of this loader in the base at `place`."""
        if layout.index is None:
            return range(layout.length or 0)
        return layout.index if layout.which is None else layout.index[layout.which == place]

    def _register(
        self,
        ledger: Ledger,
        base: Base,
        indices: range | Indices,
        labels: Indices | None = None,
    ) -> None:
        """Give indices of a base their rows; `labels` are the numbers in their ids."""
        if not len(indices):
            return
        base.grow(int(indices[-1] if isinstance(indices, range) else indices.max()) + 1)
        wanted = slice(indices.start, indices.stop) if isinstance(indices, range) else indices
        rows = base.rows[wanted]
        missing = rows < 0
        if labels is None and missing.all():
            base.rows[wanted] = ledger.ids.block(self.name, indices)
        else:
            if missing.any():
                absent = np.asarray(indices, np.int64)[missing]
                numbers = absent if labels is None else labels[missing]
                base.rows[absent] = self._free_rows(ledger, base, absent, numbers)
            ledger.ids.add_origin(rows[~missing], self.name)
        base.full = bool((base.rows >= 0).all())

    def _free_rows(self, ledger: Ledger, base: Base, indices: Indices, numbers: Indices) -> Rows:
        """Rows "<origin>/<number>", unless another part of this dataset has one of them."""
        rows = ledger.ids.block(self.name, numbers)
        others = [other.rows for other in self.bases if other is not base]
        if not others or not np.isin(rows, np.concatenate(others)).any():
            return rows
        place = self.bases.index(base)
        names = [f"{self.name}/{place}/{index}" for index in indices.tolist()]
        return ledger.ids.add(names, self.name)

    # -- before an epoch, and before a batch ----------------------------------

    def begin(self, *, workers_live: bool = False) -> None:
        """Attach, and take in what the dataset and the discards are now.

        With `workers_live` the workers of an earlier epoch go on, over the dataset
        as it was when they started, so it is not looked at again.

        A run folder that cannot be used leaves the loader without ids, and is said.

        Raises:
            AllDiscardedError: nothing is left to iterate.
        """
        if not workers_live:
            self._lay_out()
        try:
            self.attach()
        except (WeightsLabError, OSError) as error:
            self.say("unattached", f"the loader {self.name!r} goes on without ids: {error}")
            return
        self.skips.length = (self.layout.length or 0) if self.layout is not None else 0
        unsized = self.layout is not None and self.layout.length is None
        self.skips.by_position = self._is_discarded if unsized and self._skipping else None
        self.refresh()
        left_out = len(self.skips.positions)
        if left_out and left_out == self.skips.length:
            raise AllDiscardedError(
                f"every sample of the loader {self.name!r} ({left_out}) is discarded, so there is "
                f"nothing to train on: restore some with "
                f"wl.discard_samples(sample_ids, discarded=False)"
            )

    @property
    def _skipping(self) -> bool:
        return self.options.is_training

    def refresh(self) -> None:
        """Take in discards and restores since the last call; nothing to do costs nothing."""
        ledger = self._ledger
        if ledger is None or not self._skipping:
            return
        view = ledger.discarded
        seen = (view.version, *(base.moves for base in self.bases))
        if seen == self._seen:
            return
        self._seen = seen
        if not view.count:
            self.skips.positions.clear()
            self.skipped_names.clear()
        elif self.streams:
            self._skip_names(ledger)
        elif self.layout is not None and self.layout.length is not None:
            self._skip_positions(ledger, self.layout)

    def _skip_positions(self, ledger: Ledger, layout: Layout) -> None:
        positions: list[int] = []
        for place, base in enumerate(self.bases):
            indices = np.asarray(self._indices(layout, place), np.int64)
            hidden = np.flatnonzero(ledger.discarded.of(base.rows[indices]))
            if base.reordered:
                # What stood at an index in an earlier launch says nothing any more: an index
                # is left out once it has said its name.
                spoken = [index in base.spoken for index in indices[hidden].tolist()]
                hidden = hidden[np.array(spoken, bool)]
            if layout.which is not None:
                hidden = np.flatnonzero(layout.which == place)[hidden]
            positions.extend(hidden.tolist())
        self.skips.set_positions(positions)

    def _skip_names(self, ledger: Ledger) -> None:
        rows = np.arange(len(ledger.ids), dtype=np.int32)
        names: set[str] = set()
        for row in rows[ledger.discarded.of(rows)].tolist():
            if self.name in ledger.ids.origins_of(row):
                name = ledger.ids.name(row)
                names |= {name, name.removeprefix(f"{self.name}/")}
        self.skipped_names.clear()
        self.skipped_names.update(names)

    def _is_discarded(self, position: int) -> bool:
        ledger = self._ledger
        if ledger is None or not ledger.discarded.count:
            return False
        rows = self.bases[0].rows
        row = int(rows[position]) if 0 <= position < len(rows) else -1
        return row >= 0 and bool(ledger.discarded.row(row))

    # -- naming a batch --------------------------------------------------------

    def rows_of(self, origins: Origins, batch: Any) -> tuple[Rows, Any]:
        """Rows of the B samples of a batch, and the batch's own ids (the very object), if any.

        Raises:
            NoRowsError: they cannot be told.
        """
        if origins.problem is not None:
            raise NoRowsError(origins.problem)
        if self._ledger is None:
            raise NoRowsError("there is no run folder to name its samples")
        keys = origins.keys
        if keys is None:
            return self._rows_of_names(origins), None
        if isinstance(keys, list):
            return self._rows_of_keys(keys), None
        positions = np.frombuffer(keys, np.int64) if len(keys) else np.zeros(0, np.int64)
        layout = self.layout
        assert layout is not None
        if layout.which is not None and layout.index is not None:
            return self._rows_of_many(positions, layout, origins, batch)
        indices = positions
        if layout.index is not None:
            try:
                indices = layout.index[positions]
            except IndexError:
                raise NoRowsError(
                    f"the sampler drew a position beyond the {layout.length} samples of the dataset"
                ) from None
        given = self._given(origins, batch, len(indices))
        rows, named = self._rows_in(0, indices, given)
        return rows, id_field(batch) if named and origins.names is None else None

    def _rows_of_many(
        self, positions: Indices, layout: Layout, origins: Origins, batch: Any
    ) -> tuple[Rows, Any]:
        """The same over several base datasets."""
        assert layout.which is not None
        assert layout.index is not None
        which = layout.which[positions]
        indices = layout.index[positions]
        given = self._given(origins, batch, len(indices))
        rows = np.empty(len(indices), np.int32)
        all_named = given is not None and origins.names is None
        for place in np.unique(which).tolist():
            mine = np.flatnonzero(which == place)
            part = None if given is None else [given[spot] for spot in mine.tolist()]
            rows[mine], named = self._rows_in(place, indices[mine], part)
            all_named = all_named and named
        return rows, id_field(batch) if all_named else None

    def _rows_in(self, place: int, indices: Indices, given: list[Any] | None) -> tuple[Rows, bool]:
        """Rows of indices of one base, and whether `given` names them."""
        base = self.bases[place]
        rows = self._plain_rows(base, indices)
        if not given:
            return rows, False
        if (indices < 0).any():
            indices = np.where(indices < 0, indices + len(base.rows), indices)
        named = self._named(place, base, indices, given)
        return (self._plain_rows(base, indices), False) if named is None else (named, True)

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
        assert self._ledger is not None
        with base.lock:
            self._register(self._ledger, base, np.unique(indices))
        return base.rows[indices]

    def _given(self, origins: Origins, batch: Any, count: int) -> list[Any] | None:
        """The ids that `id_fn` or the batch gives to its B samples."""
        if origins.names is not None:
            return origins.names if len(origins.names) == count else None
        if self.options.ids is False:
            return None
        values = _listed(id_field(batch))
        if values is None or len(values) != count:
            return None
        return values

    def _named(self, place: int, base: Base, indices: Indices, given: list[Any]) -> Rows | None:
        """Rows of samples that the batch names; None when it may not."""
        integers = type(given[0]) is int
        if self._integers_dropped if integers else self._strings_dropped:
            return None
        naming = self._namings.get(place)
        if naming is None:
            assert self._ledger is not None
            naming = self._namings[place] = Naming(
                base, self.name, self._ledger.ids, self._foreign_to(base), self.say
            )
        if naming.settled(indices, given):
            return base.rows[indices]
        places = indices.tolist()
        try:
            if not integers:
                return naming.take_strings(places, given)
            if self.options.ids:
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
        self._integers_dropped = True
        self._strings_dropped = self._strings_dropped or not integers
        kind = "integers" if integers else "ids"
        self.say(
            "dropped",
            f"the {kind} in the batches of {self.name!r} do not name its samples: {reason}. Its "
            f"ids are {self.name}/<index> (id_fn= or ids=True names them another way)",
        )

    def _rows_of_names(self, origins: Origins) -> Rows:
        """Rows of what an iterable dataset named."""
        names = origins.names
        ledger = self._ledger
        if names is None or ledger is None:
            raise NoRowsError("the items say no ids: give id_fn=")
        if origins.made_up:
            self.say(
                "made-up",
                f"the items of {self.name!r} say no ids, so they are called "
                f"{self.name}/w<worker>:<n>, which is stable only for one number of workers and "
                f"one order: give id_fn=",
            )
        known = self._named_rows
        try:
            return np.array([known[name] for name in names], np.int32)
        except KeyError:
            pass
        for name in dict.fromkeys(names):
            if name not in known:
                known[name] = self._row_of_name(ledger, name, made_up=origins.made_up)
                self.bases[0].named.add(known[name])
        return np.array([known[name] for name in names], np.int32)

    def _rows_of_keys(self, keys: list[Any]) -> Rows:
        """Rows of keys that are no integers: strings name themselves, under the origin."""
        if not all(isinstance(key, str) for key in keys):
            kinds = ", ".join(sorted({type(key).__name__ for key in keys}))
            raise NoRowsError(f"the sampler draws keys of type {kinds}: give id_fn=")
        ledger = self._ledger
        assert ledger is not None
        return ledger.ids.add([f"{self.name}/{key}" for key in keys], self.name)

    def _row_of_name(self, ledger: Ledger, name: str, *, made_up: bool) -> int:
        ids = ledger.ids
        qualified = f"{self.name}/{name}"
        if made_up or ids.find(qualified) is not None:
            return int(ids.add([qualified], self.name)[0])
        holder = ids.find(name)
        theirs = holder is not None and (
            self.name not in ids.origins_of(holder) or self._foreign_to(self.bases[0])(holder)
        )
        if theirs:
            self.say(
                "foreign",
                f"the id {name!r} of {self.name!r} already belongs to a sample of another "
                f"dataset: here it is {qualified!r}, and so for others like it",
            )
        return int(ids.add([qualified if theirs else name], self.name)[0])

    def _foreign_to(self, base: Base) -> Callable[[int], bool]:
        def foreign(row: int) -> bool:
            return any(
                row in other.named
                for source in _sources(self.session)
                for other in source.bases
                if other is not base
            )

        return foreign

    @property
    def ledger(self) -> Ledger | None:
        """The ledger that this loader's samples stand in; None before it is attached."""
        return self._ledger

    def say(self, key: str, message: str) -> None:
        """Say once, for this loader, what was left out and why."""
        self.session.notices.warn_once(("loader", self.name, key), message)


def _sources(session: Session) -> list[Source]:
    """The sources of every watched loader of a session."""
    found = [getattr(one, "weightslab", None) for one in session.registry.loaders.values()]
    return [source for source in found if isinstance(source, Source)]


def _same(one: Layout, other: Layout) -> bool:
    """Whether two layouts say the same."""
    return (
        len(one.datasets) == len(other.datasets)
        and all(a is b for a, b in zip(one.datasets, other.datasets, strict=True))
        and one.length == other.length
        and _equal(one.index, other.index)
        and _equal(one.which, other.which)
    )


def _equal(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return bool(np.array_equal(one, other))


def _listed(value: Any) -> list[Any] | None:
    """Ids of a batch as a list of strings or of integers, None when they are neither."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return _one_kind(value.tolist()) if value.ndim == 1 else None
    if isinstance(value, (list, tuple)):
        return _one_kind(value) or _one_kind([_item(one) for one in value])
    return None


def _one_kind(values: Sequence[Any]) -> list[Any] | None:
    kinds = set(map(type, values))
    if kinds == {int} or (kinds and all(issubclass(kind, str) for kind in kinds)):
        return values if isinstance(values, list) else list(values)
    return None


def _item(value: Any) -> Any:
    """What a 0-d tensor or array holds."""
    holds_one = isinstance(value, (torch.Tensor, np.ndarray, np.generic)) and value.ndim == 0
    return value.item() if holds_one else value
