"""Base datasets: what a loader's dataset is made of once subsets are resolved.

A sample is an item of a base dataset. Loaders over the same base object share
its rows, whatever subsets they go through (k folds, a second view of the
training set). Shapes: B samples in a batch, P positions of a loader's dataset.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import ConcatDataset, Subset

from weightslab.types import Rows

__all__ = ["Base", "Indices", "Layout", "indices_of", "layout_of", "length_of", "same_layout"]

Indices = npt.NDArray[np.int64]

LARGEST_INDEX = 1 << 27
"""Above this, the indices of a dataset without a length are no dense numbers (512 MiB of rows)."""


class Base:
    """One base dataset object: the ledger row of each of its indices.

    `rows[index]` is -1 until the index is registered. `moves` grows whenever a
    row takes the place of another, because names showed a new order.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.lock = RLock()
        self.rows: Rows = np.full(length_of(dataset) or 0, -1, np.int32)
        self.origins: set[str] = set()
        """Names of the loaders over it."""
        self.named: set[int] = set()
        """Rows that a batch named in this launch."""
        self.spoken: set[int] = set()
        """Indices that said their name in this launch."""
        self.reordered = False
        """A name stood at another index than in an earlier launch."""
        self.moves = 0
        self.full = False
        """Whether every index that `rows` has room for is registered."""
        self.ledger: object = None
        """The ledger whose rows these are."""

    def grow(self, length: int) -> None:
        """Make room for `length` indices."""
        if length > len(self.rows):
            grown = np.full(length, -1, np.int32)
            grown[: len(self.rows)] = self.rows
            self.rows = grown
            self.full = False

    def forget_rows(self) -> None:
        """Start over for another ledger."""
        self.rows = np.full(len(self.rows), -1, np.int32)
        self.named.clear()
        self.spoken.clear()
        self.reordered = False
        self.full = False
        self.moves += 1


@dataclass(frozen=True, slots=True)
class Layout:
    """Which item of which base stands at each of the P positions of a dataset."""

    datasets: tuple[Any, ...]
    length: int | None
    """P, None when the dataset has no length."""
    index: Indices | None = None
    """Base index of each position, int64 [P]; None when they are equal."""
    which: npt.NDArray[np.intp] | None = None
    """Place in `datasets` of each position, [P]; None when there is one."""
    label: Indices | None = None
    """Number in the sample's id: the position in the concatenation, int64 [P]; None: the index."""


def length_of(dataset: Any) -> int | None:
    """The length of a dataset, None when it has none."""
    try:
        return len(dataset)
    except (TypeError, NotImplementedError, AttributeError):
        return None


def layout_of(dataset: Any) -> Layout:
    """Resolve subsets and concatenations down to base datasets, reading no item."""
    if isinstance(dataset, Subset):
        return _subset(dataset)
    if isinstance(dataset, ConcatDataset):
        return _concatenation(dataset)
    return Layout((dataset,), length_of(dataset))


def _subset(dataset: Subset[Any]) -> Layout:
    inner = layout_of(dataset.dataset)
    taken = np.asarray(dataset.indices)
    if taken.ndim != 1 or taken.dtype.kind not in "iu":
        if taken.size:  # keys that are no integers: the subset is a dataset of its own
            return Layout((dataset,), length_of(dataset))
        taken = np.zeros(0, np.int64)
    index = taken.astype(np.int64, copy=True)
    if inner.length is not None:
        index[index < 0] += inner.length
    return Layout(
        inner.datasets,
        len(index),
        index if inner.index is None else inner.index[index],
        None if inner.which is None else inner.which[index],
        None if inner.label is None else inner.label[index],
    )


def _concatenation(dataset: ConcatDataset[Any]) -> Layout:
    parts = [layout_of(part) for part in dataset.datasets]
    bases: dict[int, tuple[int, Any]] = {}
    indices, which = [], []
    for part in parts:
        length = part.length or 0
        places = [bases.setdefault(id(base), (len(bases), base))[0] for base in part.datasets]
        indices.append(np.arange(length) if part.index is None else part.index)
        which.append(
            np.full(length, places[0])
            if part.which is None
            else np.asarray(places, np.intp)[part.which]
        )
    index = np.concatenate(indices).astype(np.int64, copy=False)
    datasets = tuple(base for _, base in bases.values())
    if len(datasets) == 1:
        return Layout(datasets, len(index), index)
    places_of = np.concatenate(which).astype(np.intp, copy=False)
    return Layout(datasets, len(index), index, places_of, np.arange(len(index)))


def indices_of(layout: Layout, place: int) -> range | Indices:
    """Base indices that a dataset holds of the base at `place`."""
    if layout.index is None:
        return range(layout.length or 0)
    return layout.index if layout.which is None else layout.index[layout.which == place]


def same_layout(one: Layout, other: Layout) -> bool:
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
