"""The samples that a loader draws, in order, once: what an evaluation goes through.

Nothing here touches the loader's own samplers: what is known is listed anew, and any
other sampler is copied. Shapes: P positions of a loader's dataset.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from operator import index as as_integer
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from weightslab.capture.bases import length_of
from weightslab.capture.discard import TORCHDATA, slices_a_sampler

__all__ = ["Choice", "in_order"]


class Choice:
    """Which positions take part: bool [P], and whether those beyond do.

    Keys that are no integers count as beyond.
    """

    def __init__(self, mask: npt.NDArray[np.bool_], *, beyond: bool) -> None:
        self.mask = mask
        self.beyond = beyond

    def __contains__(self, key: object) -> bool:
        try:
            position = as_integer(key)  # type: ignore[arg-type]  # what is no integer raises
        except TypeError:
            return self.beyond
        if not -len(self.mask) <= position < len(self.mask):
            return self.beyond
        return bool(self.mask[position])

    def of(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether each of `positions` [n] takes part, bool [n]."""
        inside = (positions >= -len(self.mask)) & (positions < len(self.mask))
        taking = np.full(len(positions), self.beyond)
        taking[inside] = self.mask[positions[inside]]
        return taking


def in_order(sampler: Any, choice: Choice | None, shared: Sequence[object]) -> Any:
    """What an evaluation draws in place of a loader's `batch_sampler` or `sampler`.

    Torch's own samplers become the list of what they draw from, each once. Batches that
    are slices of a sampler stay full, and the last one is never dropped. `shared` are
    objects that a sampler may hold and that must not be copied with it.
    """
    if slices_a_sampler(sampler):
        slices = copy.copy(sampler)
        slices.sampler = in_order(sampler.sampler, choice, shared)
        slices.drop_last = False
        return slices
    listed = _listed(sampler)
    if listed is None:
        return _Copied(_copy_of(sampler, shared), choice, length_of(shared[0]))
    return listed if choice is None else _chosen(listed, choice)


def _chosen(listed: Sequence[Any], choice: Choice) -> list[Any]:
    try:
        positions = np.asarray(listed, np.int64)
    except (TypeError, ValueError):
        return [key for key in listed if key in choice]
    kept: list[Any] = positions[choice.of(positions)].tolist()
    return kept


def _listed(sampler: Any) -> Sequence[Any] | None:
    """What a sampler of torch's draws from; None when it is of another kind."""
    if _draws_as(sampler, "SequentialSampler") or _draws_as(sampler, "RandomSampler"):
        return range(len(sampler.data_source))
    if _draws_as(sampler, "SubsetRandomSampler"):
        return list(sampler.indices)
    if _draws_as(sampler, "WeightedRandomSampler"):
        drawn: list[Any] = torch.nonzero(sampler.weights.reshape(-1)).reshape(-1).tolist()
        return drawn
    if _draws_as(sampler, "DistributedSampler"):
        # This rank's share, without what is repeated to make the shares equal.
        return range(sampler.rank, len(sampler.dataset), sampler.num_replicas)
    return None


def _draws_as(sampler: Any, name: str) -> bool:
    draw = getattr(type(sampler), "__iter__", None)
    home = getattr(draw, "__module__", None) or ""
    ours = home.startswith("torch.utils.data.") or home == TORCHDATA
    return ours and getattr(draw, "__qualname__", "") == f"{name}.__iter__"


class _Copied:
    """One pass of a copied sampler of keys or of batches of keys, over those that take part.

    A sampler without a length may be endless: it is asked for as many keys as there are
    samples.
    """

    def __init__(self, sampler: Iterable[Any], choice: Choice | None, samples: int | None) -> None:
        self.sampler = sampler
        self.choice = choice
        self.samples = samples

    def __iter__(self) -> Iterator[Any]:
        choice = self.choice
        for key in self._drawn():
            if choice is None:
                yield key
            elif not _holds_many(key):
                if key in choice:
                    yield key
            elif left := [one for one in key if one in choice]:
                yield left

    def _drawn(self) -> Iterator[Any]:
        most = length_of(self.sampler)
        if most is not None or self.samples is None:
            yield from islice(self.sampler, most)
            return
        drawn = 0
        for key in self.sampler:
            yield key
            drawn += len(key) if _holds_many(key) else 1
            if drawn >= self.samples:
                return

    def __len__(self) -> int:
        if self.choice is not None:
            raise TypeError("how many of a sampler's keys take part is known when they are drawn")
        return len(self.sampler)  # type: ignore[arg-type]  # raises as the user's would


def _holds_many(key: Any) -> bool:
    return isinstance(key, (list, tuple, np.ndarray)) or (
        isinstance(key, torch.Tensor) and key.ndim > 0
    )


def _copy_of(sampler: Any, shared: Sequence[object]) -> Any:
    """A copy that shares no state with the loader's own, its generators included."""
    memo = {id(one): one for one in shared}
    try:
        return copy.deepcopy(sampler, memo)
    except Exception:  # noqa: BLE001  # it may hold whatever its author put there
        made = copy.copy(sampler)
        for name, value in list(getattr(made, "__dict__", {}).items()):
            with suppress(Exception):  # a lock, an open file: shared
                made.__dict__[name] = copy.deepcopy(value, dict(memo))
        return made
