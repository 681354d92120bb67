"""Every sample of a dataset once, in order, as the dataset returned it, with its row.

The items are fetched as a loader fetches them (its workers, their context, the dataset's
`__getitems__`), beside whatever iterates that loader: nothing that is registered is
replaced, no epoch begins, and discarded samples are there. Shapes: B samples in a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data.datapipes.datapipe import IterDataPipe, MapDataPipe

from weightslab.capture.bases import Indices, Layout, layout_of, length_of, same_layout
from weightslab.capture.identify import NoRowsError
from weightslab.capture.listed import ListCollate, Listed
from weightslab.capture.shadow import plain_loader, source_of
from weightslab.capture.source import Source, SourceOptions, infer_training, sources
from weightslab.capture.streams import TrackedStream
from weightslab.capture.tracking import TrackedMap
from weightslab.errors import InputError
from weightslab.evaluation.managed_loader import end_workers
from weightslab.queries.names import origin_spellings
from weightslab.types import Rows

if TYPE_CHECKING:
    from weightslab.session import Session

__all__ = ["Chunk", "Items"]

FETCHED = 64
"""Items that are fetched together where no loader says how many."""

UNNAMED = "train"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some samples that were fetched together."""

    rows: Rows
    """int32 [B]."""
    items: list[Any]
    """B items, as the dataset returned them."""


class Items:
    """The samples of a watched loader, a plain DataLoader or a dataset; to be iterated once.

    A dataset that a watched loader looks at (subsets resolved) has the ids that it has there;
    any other has those that it would get if it were watched as `origin`.

    Args:
        session: whose samples these are.
        data: a loader or a dataset.
        origin: the split. None: that of the watched loader, else "train".

    Raises:
        InputError: something that is neither, or whose samples cannot be told; an unwatched
            dataset without an origin where another one is "train".
    """

    def __init__(self, session: Session, data: Any, origin: str | None = None) -> None:
        self.session = session
        self._loader = _loader_of(data)
        self._source = _source_for(session, data, self._loader.dataset, origin)
        self.origin = self._source.name if origin is None else origin
        """The split, as the caller or the watched loader calls it."""
        dataset = self._loader.dataset
        self._positions: range | list[int] | None = None
        if not self._source.streams:
            self._positions = _positions(self._source.layout or layout_of(dataset))
        self.total = length_of(dataset) if self._positions is None else len(self._positions)
        """How many samples there are; None where nobody knows."""

    def __iter__(self) -> Iterator[Chunk]:
        """The samples, some at a time.

        Draws from torch's global generator (a seed for the workers) and from whatever the
        dataset draws from: see `weightslab.isolation`.

        Raises:
            InputError: items that cannot be fetched one by one.
        """
        self._source.attach()
        fetching = self._fetch()
        try:
            yield from self._chunks(fetching)
        finally:
            end_workers(fetching)

    def _chunks(self, fetching: Iterator[Listed]) -> Iterator[Chunk]:
        source = self._source
        for listed in fetching:
            if listed.problem is not None:
                raise InputError(f"the samples of {self.origin!r} cannot be read: {listed.problem}")
            self._say(listed)
            items = listed.items
            if not items:
                continue
            given = listed.given
            batch = None if given is None or len(given) != len(items) else (None, None, given)
            try:
                rows, _ = source.rows_of(listed.origins, batch)
            except NoRowsError as error:
                raise InputError(
                    f"the samples of {self.origin!r} cannot be named: {error}"
                ) from error
            yield Chunk(rows, items)

    def _fetch(self) -> Iterator[Listed]:
        loader, options = self._loader, self._source.options
        one_by_one = loader.batch_sampler is None
        collate = ListCollate(
            loader.collate_fn,
            one_by_one=one_by_one,
            fields=options.id_fn is None and options.ids is not False,
        )
        how: dict[str, Any] = {
            "collate_fn": collate,
            "num_workers": loader.num_workers,
            "timeout": loader.timeout,
            "worker_init_fn": loader.worker_init_fn,
        }
        if loader.num_workers:
            how["prefetch_factor"] = loader.prefetch_factor
            how["multiprocessing_context"] = loader.multiprocessing_context
        if self._positions is not None:
            tracked: Any = TrackedMap(loader.dataset, options.id_fn)
            return iter(
                DataLoader(
                    tracked, batch_size=loader.batch_size or FETCHED, sampler=self._positions, **how
                )
            )
        stream: Any = TrackedStream(
            loader.dataset,
            options.id_fn,
            set(),
            fields=options.ids is not False,
            integers=options.ids is True,
        )
        return iter(DataLoader(stream, batch_size=loader.batch_size, **how))

    def _say(self, listed: Listed) -> None:
        notices, origin = self.session.notices, self.origin
        if listed.absent:
            notices.warn_once(
                ("items", origin, "absent"),
                f"some items of {origin!r} are None: no signal is computed for them",
                count=listed.absent,
            )
        if listed.aside is not None:
            notices.warn_once(
                ("items", origin, "collate"),
                f"the collate function of {origin!r} did not take the items of a chunk "
                f"({listed.aside}), so ids that its batches would show are not looked at",
            )


def _loader_of(data: Any) -> DataLoader[Any]:
    """The user's own loader, or one over the dataset."""
    if isinstance(data, DataLoader):
        loader = plain_loader(data)
        dataset: Any = loader.dataset
    else:
        readable = hasattr(type(data), "__getitem__") and not isinstance(data, (str, bytes, dict))
        if isinstance(data, type) or not (readable or isinstance(data, IterableDataset)):
            raise InputError(
                f"it takes a DataLoader or a dataset (with __getitem__ and __len__, or an "
                f"IterableDataset), not {type(data).__name__} {data!r:.60}"
            )
        dataset = data
        loader = None
    if isinstance(dataset, (IterDataPipe, MapDataPipe)):
        raise InputError(
            "the samples of a data pipe have no ids: wrap it in a dataset with __getitem__ and "
            "__len__, or in an IterableDataset whose items say theirs"
        )
    if not isinstance(dataset, IterableDataset) and length_of(dataset) is None:
        raise InputError(
            f"this {type(dataset).__name__} has no length, so its samples cannot be gone through: "
            f"give it a __len__"
        )
    return DataLoader(dataset, batch_size=FETCHED) if loader is None else loader


def _source_for(session: Session, data: Any, dataset: Any, origin: str | None) -> Source:
    """The source of the samples: a watched loader's, or one that nobody registers."""
    source = source_of(data)
    if source is None or source.session is not session:
        source = _watching(session, dataset, origin)
    if source is not None:
        if source.streams or source.layout is None:
            return source
        if same_layout(source.layout, layout_of(dataset)):
            return source
        return Source(session, source.name, dataset, source.options)  # its indices were changed
    name = origin or _name_of_bases(session, dataset)
    return Source(session, name, dataset, SourceOptions(is_training=infer_training(name)))


def _watching(session: Session, dataset: Any, origin: str | None) -> Source | None:
    """The watched source of this very dataset: of several that of the origin, then of training."""
    found = [source for source in sources(session) if source.dataset is dataset]
    spellings = () if origin is None else origin_spellings(origin)
    found.sort(key=lambda one: (one.name not in spellings, not one.options.is_training))
    return found[0] if found else None


def _name_of_bases(session: Session, dataset: Any) -> str:
    """The origin of a dataset that nobody watches: that of its base, else "train"."""
    watched = sources(session)
    bases = {id(base) for base in layout_of(dataset).datasets}
    for source in sorted(watched, key=lambda one: not one.options.is_training):
        if bases & {id(base) for base in source.base_datasets}:
            return source.name
    taken = next((one.name for one in watched if one.name in origin_spellings(UNNAMED)), None)
    if taken is not None:
        raise InputError(
            f"no watched loader is over this dataset, and {taken!r} is over another one: name "
            f"its split with origin="
        )
    return UNNAMED


def _positions(layout: Layout) -> range | list[int]:
    """Where each sample stands first in a dataset, in order."""
    length = layout.length or 0
    if layout.index is None:
        return range(length)
    keys: Indices | np.ndarray = layout.index
    if layout.which is not None:
        keys = np.stack([layout.index, layout.which], axis=1)
    _, first = np.unique(keys, axis=0, return_index=True)
    return sorted(first.tolist())
