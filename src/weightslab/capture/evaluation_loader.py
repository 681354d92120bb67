"""A fresh loader for one evaluation, over the samples of a watched one.

It is watched too, so that its batches say whose they are, as those of the registered
loader do; but it waits at no safe point, and shares with that loader nothing that moves:
no iterator, no worker, no sampler, no generator. Shapes: P positions of its dataset.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data.datapipes.datapipe import IterDataPipe

from weightslab.capture.bases import indices_of
from weightslab.capture.discard import slices_a_sampler
from weightslab.capture.sequential import Choice, in_order
from weightslab.capture.shadow import plain_loader, shadow
from weightslab.capture.skipping import skipped_names, skipped_positions
from weightslab.capture.source import Source
from weightslab.errors import AllDiscardedError, InputError, UnknownOptionError
from weightslab.queries.names import tag_name
from weightslab.types import Rows

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from weightslab.ledger import Ledger

__all__ = ["evaluation_loader"]


def evaluation_loader(
    watched: Callable[[], DataLoader[Any] | None], source: Source, tags: Sequence[str] | None
) -> DataLoader[Any]:
    """A loader of the same class over the samples that a watched one draws, each once, in order.

    Batches of a batch sampler of the user's come as a copy of it draws them. `drop_last`
    does not count: every sample is evaluated. What the registered loader leaves out as
    discarded is left out. An iterable dataset without workers is iterated through a
    shallow copy, so that what it notes of itself stays as it was.

    Iterating draws random numbers where the dataset or the sampler does; whoever iterates
    keeps them from the training.

    Args:
        watched: gives the watched loader; a weak reference.
        source: its source.
        tags: only samples that hold any of these, boolean or categorical with any value;
            None or empty: all of them.

    Raises:
        UnknownOptionError: a tag that does not exist.
        InputError: no sample of this loader holds one of the tags, or there are no tags.
        AllDiscardedError: nothing is left, for all of them are discarded.
    """
    source.attach()
    fresh = source.of_its_own()
    fresh.attach()  # anew where the dataset has changed since
    ledger = source.session.ledger
    names, holders = _holders(ledger, tags)
    loader = watched()
    assert loader is not None  # whoever asks holds it
    made = shadow(plain_loader(loader), fresh)
    replaced: dict[str, Any] = {"persistent_workers": False}
    # Worker seeds are drawn from this one, and not from the numbers of the training.
    replaced["generator"] = torch.Generator().manual_seed(0)
    if "next_iter_state" in made.__dict__:  # a stateful loader that waits to be resumed
        replaced |= {"next_iter_state": None, "_initial_iter_for_state_dict": False}
    if source.streams:
        replaced["dataset"] = _another(loader.dataset)
        fresh.skipped_names = _unwanted(ledger, source, holders)
    else:
        choice = _choice(ledger, fresh, holders, names)
        shared = (loader.dataset, *fresh.base_datasets, source.session, ledger)
        if loader.batch_sampler is not None:
            batches = replaced["batch_sampler"] = in_order(loader.batch_sampler, choice, shared)
            if slices_a_sampler(batches):  # functions divide by len(loader.sampler)
                replaced |= {"sampler": batches.sampler, "drop_last": False}
        else:
            replaced["sampler"] = in_order(loader.sampler, choice, shared)
    made.__dict__.update(replaced)
    return made


def _holders(ledger: Ledger, tags: Sequence[str] | None) -> tuple[str, Rows | None]:
    """The tags in words, and the rows of the samples that hold any of them; None: all."""
    if not tags:
        return "", None
    if isinstance(tags, str):
        raise InputError(f"tags= takes a list of tags: [{tags!r}]")
    known = [*ledger.tags(), *ledger.categories()]
    found: list[Rows] = []
    for tag in tags:
        rows = ledger.edit.holders(tag_name(tag, known))
        if rows is None and not known:  # nor has another process one, whose tags are not in it
            raise InputError(
                f"no sample has a tag yet, so none holds {', '.join(map(repr, tags))}: tag some "
                f"with wl.tag_samples, or evaluate without tags"
            )
        if rows is None:
            raise UnknownOptionError("tag", tag, known)
        found.append(rows)
    return ", ".join(map(repr, tags)), np.unique(np.concatenate(found))


def _choice(ledger: Ledger, source: Source, holders: Rows | None, names: str) -> Choice | None:
    """Positions of a map-style dataset that take part; None: all of them."""
    layout, bases = source.layout, source.bases
    assert layout is not None
    unsized = layout.length is None
    length = len(bases[0].rows) if unsized else layout.length or 0
    left_out = ledger.discarded.count and source.leaves_out_discarded
    if holders is None and not left_out:
        return None
    mask = np.full(length, holders is None)
    if holders is not None:
        for place, base in enumerate(bases):
            rows = base.rows if unsized else base.rows[np.asarray(indices_of(layout, place))]
            held = np.isin(rows, holders)
            if layout.which is None:
                mask[: len(held)] = held
            else:
                mask[layout.which == place] = held
        if not mask.any():
            raise InputError(
                f"no sample of the loader {source.name!r} holds {names}: tag some with "
                f"wl.tag_samples, or evaluate without tags"
            )
    if left_out:
        if unsized:
            mask &= ~ledger.discarded.of(bases[0].rows) | (bases[0].rows < 0)
        else:
            mask[skipped_positions(ledger, layout, bases)] = False
        if length and not mask.any():
            which = f"that holds {names} " if names else ""
            raise AllDiscardedError(
                f"every sample of the loader {source.name!r} {which}is discarded, so there is "
                f"nothing to evaluate: restore some with "
                f"wl.discard_samples(sample_ids, discarded=False)"
            )
    return Choice(mask, beyond=unsized and holders is None)


class _Unwanted(set[str]):
    """Names to leave out of a stream: those in it, and all others than `wanted` where given."""

    wanted: frozenset[str] | None = None

    def issuperset(self, names: Iterable[object], /) -> bool:
        """Whether all of an item's names are left out."""
        names = list(names)
        wanted = self.wanted
        if wanted is not None and wanted.isdisjoint(names):
            return True
        return bool(self) and super().issuperset(names)


def _unwanted(ledger: Ledger, source: Source, holders: Rows | None) -> _Unwanted:
    """Names that the items of an iterable dataset say and that take no part."""
    discarded = source.leaves_out_discarded and ledger.discarded.count
    unwanted = _Unwanted(skipped_names(ledger, source.name) if discarded else ())
    if holders is not None:
        names = ledger.ids.names(holders)
        unwanted.wanted = frozenset(names) | {
            name.removeprefix(f"{source.name}/") for name in names
        }
    return unwanted


def _another(dataset: Any) -> Any:
    """An iterable dataset whose notes of itself are its own."""
    try:
        # A pipe allows one iterator at a time, and so does every pipe that it reads.
        return copy.deepcopy(dataset) if isinstance(dataset, IterDataPipe) else copy.copy(dataset)
    except Exception as error:
        raise InputError(
            f"the dataset {type(dataset).__name__} cannot be copied, and evaluating through it "
            f"would move its place under the training: {type(error).__name__}: {error}"
        ) from error
