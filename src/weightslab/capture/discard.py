"""Index samplers that leave out discarded samples while a loader is iterated.

Each draws from the user's sampler exactly as the loader would, so that with
nothing discarded neither the order nor a random number changes. They stand in
for the user's sampler inside an iterator only, and look live at the skipped
positions, so that an edit counts from the next index that is drawn.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from itertools import filterfalse
from operator import index as as_integer
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from weightslab.errors import AllDiscardedError

__all__ = ["Skips", "filtered_sampler", "remaining", "slices_a_sampler"]

TORCHDATA = "torchdata.stateful_dataloader.sampler"
PLAIN_SAMPLERS = (DistributedSampler, RandomSampler, SequentialSampler, WeightedRandomSampler)
"""Samplers that draw plain integers, and end."""

PATIENCE = 1_000_000


class Skips:
    """The positions to leave out.

    `positions` is changed in place, since samplers hold on to it. `by_position`
    answers instead for a dataset without a length, which cannot be listed.
    """

    def __init__(self) -> None:
        self.positions: set[int] = set()
        self.by_position: Callable[[int], bool] | None = None
        self.length = 0
        """Samples of the dataset, when it tells."""

    def __contains__(self, key: object) -> bool:
        if not self.positions and self.by_position is None:
            return False
        try:
            position = as_integer(key)  # type: ignore[arg-type]  # what is no integer raises
        except TypeError:
            return False
        if self.by_position is not None:
            return self.by_position(position)
        return (position if position >= 0 else position + self.length) in self.positions

    def set_positions(self, positions: Iterable[int]) -> None:
        """Leave out these positions and no others."""
        self.positions.clear()
        self.positions.update(positions)


class _Filtered:
    """A sampler without the skipped keys; whatever else it is asked goes to the user's."""

    def __init__(self, sampler: Iterable[Any], skips: Skips) -> None:
        self.sampler = sampler
        self.skips = skips

    def __iter__(self) -> Iterator[Any]:
        # The user's iterator is made now, not at the first key: samplers that draw
        # their permutation in __iter__ must do so at the moment they always did.
        source = iter(self.sampler)
        if _has_state(source):
            return _ResumableKeys(source, self.skips)
        if self.skips.by_position is None and _draws_plain(self.sampler):
            # All in C: 2 µs for 128 indices.
            return filterfalse(self.skips.positions.__contains__, source)
        return _kept(source, self.skips)

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]  # raises as the user's would

    def __getattr__(self, name: str) -> Any:
        if name == "sampler":  # not yet set, while it is unpickled
            raise AttributeError(name)
        return getattr(self.sampler, name)


class _ResumableFiltered(_Filtered):
    """The same over a sampler with a state (torchdata's `Stateful`)."""

    def state_dict(self) -> Any:
        """State of the user's sampler."""
        return self.sampler.state_dict()  # type: ignore[attr-defined]

    def load_state_dict(self, state: Any) -> None:
        """Resume the user's sampler."""
        self.sampler.load_state_dict(state)  # type: ignore[attr-defined]


class _ResumableKeys:
    """Keys of an iterator with a state; the state counts those skipped too."""

    def __init__(self, source: Any, skips: Skips) -> None:
        self.source = source
        self.kept = _kept(source, skips)

    def __iter__(self) -> _ResumableKeys:
        return self

    def __next__(self) -> Any:
        return next(self.kept)

    def state_dict(self) -> Any:
        """State of the user's iterator."""
        return self.source.state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Resume the user's iterator."""
        self.source.load_state_dict(state)


def _kept(source: Iterator[Any], skips: Skips) -> Iterator[Any]:
    """Keys, and lists of keys, without the skipped ones; no list is empty."""
    in_a_row = 0
    for key in source:
        left = key
        if skips.positions or skips.by_position is not None:
            left = _left(key, skips)
        if left is not None:
            in_a_row = 0
            yield left
            continue
        in_a_row += 1
        if in_a_row > PATIENCE + 100 * skips.length:  # an endless sampler of nothing else
            raise AllDiscardedError(
                f"the sampler drew {in_a_row} times in a row only what is discarded: restore "
                f"samples with wl.discard_samples(sample_ids, discarded=False)"
            )


def _left(key: Any, skips: Skips) -> Any:
    """What is left of a key or a list of keys, None when nothing is."""
    many = isinstance(key, (list, tuple, np.ndarray)) or (
        isinstance(key, torch.Tensor) and key.ndim > 0
    )
    if not many:
        return None if key in skips else key
    kept = [one for one in key if one not in skips]
    if len(kept) == len(key):
        return key
    return kept or None


def _has_state(source: object) -> bool:
    return hasattr(source, "state_dict") and hasattr(source, "load_state_dict")


def _draws_plain(sampler: object) -> bool:
    return isinstance(sampler, PLAIN_SAMPLERS) and type(sampler).__module__.startswith(
        ("torch.utils.data.", "torchdata.")
    )


def slices_a_sampler(batch_sampler: object) -> bool:
    """Whether batches are plain slices of a sampler of indices."""
    if not isinstance(batch_sampler, BatchSampler):
        return False
    draw = type(batch_sampler).__iter__
    return draw is BatchSampler.__iter__ or draw.__module__ == TORCHDATA


def filtered_sampler(sampler: Any, skips: Skips) -> Any:
    """What stands in for a loader's `batch_sampler` or, without one, its `sampler`.

    Batches that are slices of a sampler of indices stay full, since the indices
    are filtered before they are sliced. Any other batch loses its skipped
    indices, and an empty one is left out.
    """
    if slices_a_sampler(sampler):
        shrunk = copy.copy(sampler)
        shrunk.sampler = filtered_sampler(sampler.sampler, skips)
        return shrunk
    return (_ResumableFiltered if _has_state(sampler) else _Filtered)(sampler, skips)


def remaining(sampler: Any, skips: Skips) -> int | None:
    """Indices that one pass of `sampler` still draws; None when it cannot be known."""
    kind = type(sampler)
    if kind is SubsetRandomSampler:
        return sum(index not in skips for index in sampler.indices)
    is_random = kind is RandomSampler or (
        kind.__name__ == "RandomSampler" and kind.__module__ == TORCHDATA
    )
    if not (is_random or kind is SequentialSampler):
        return None
    drawn = len(sampler.data_source)
    if getattr(sampler, "replacement", False) or len(sampler) != drawn:
        return None
    return drawn - sum(position < drawn for position in skips.positions)
