"""Watching changes neither a batch nor a random number: training is bit for bit the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Subset, WeightedRandomSampler

from tests.capture.oracles import Batched, Noisy, Pairs, Stream, item_name, watch


class Eager(BatchSampler):
    """A batch sampler that draws its order when it is asked for its iterator."""

    def __iter__(self) -> Any:
        order = torch.randperm(20).tolist()
        return iter([order[:10], order[10:]])


class EagerSampler(RandomSampler):
    """The same for single indices."""

    def __iter__(self) -> Any:
        return iter(torch.randperm(20).tolist())


class DrawsTwice(DataLoader[Any]):
    """A loader whose own iterator changes every batch."""

    def __iter__(self) -> Any:
        for x, noise in super().__iter__():
            yield x + torch.rand(1), noise


WAYS: dict[str, Callable[..., Any]] = {
    "shuffled": lambda **k: DataLoader(Noisy(), batch_size=6, shuffle=True, **k),
    "own generator": lambda **k: DataLoader(
        Noisy(), batch_size=6, shuffle=True, generator=torch.Generator().manual_seed(3), **k
    ),
    "weighted": lambda **k: DataLoader(
        Noisy(), batch_size=6, sampler=WeightedRandomSampler([1.0, 2.0] * 10, 20), **k
    ),
    "eager sampler": lambda **k: DataLoader(
        Noisy(), batch_size=6, sampler=EagerSampler(range(20)), **k
    ),
    "eager batches": lambda **k: DataLoader(
        Noisy(), batch_sampler=Eager(RandomSampler(range(20)), 10, drop_last=False), **k
    ),
    "own batches": lambda **k: DataLoader(Noisy(), batch_sampler=Pairs(20), **k),
    "one by one": lambda **k: DataLoader(Noisy(), batch_size=None, shuffle=True, **k),
    "by the batch": lambda **k: DataLoader(Batched(), batch_size=6, shuffle=True, **k),
    "subset": lambda **k: DataLoader(
        Subset(Noisy(), [1, 3, 5, 7]), batch_size=3, shuffle=True, **k
    ),
    "own iterator": lambda **k: DrawsTwice(Noisy(), batch_size=6, shuffle=True, **k),
    "iterable": lambda **k: DataLoader(Stream(), batch_size=6, **k),
}


def _epochs(loader: Any) -> tuple[list[Any], list[Any]]:
    batches = []
    for _ in range(2):
        for batch in loader:
            batches.append([part for part in batch if isinstance(part, torch.Tensor)])
            torch.rand(1)  # the training step draws too
    states = [torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()]  # noqa: NPY002
    return batches, states


def _seed() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("way", WAYS)
def test_batches_and_random_states_are_the_same(way: str, workers: int) -> None:
    """Two epochs give the same bits, and leave every generator in the same state."""
    _seed()
    plain = _epochs(WAYS[way](num_workers=workers))
    _seed()
    watched = _epochs(watch(WAYS[way](num_workers=workers), append_ids=False))
    assert len(plain[0]) == len(watched[0])
    for mine, theirs in zip(plain[0], watched[0], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert plain[1] == watched[1]


def test_a_run_with_ids_in_the_batch_is_the_same() -> None:
    """Appending ids and naming samples draws nothing either."""
    _seed()
    plain = _epochs(DataLoader(Noisy(), batch_size=6, shuffle=True))
    _seed()
    watched = _epochs(watch(DataLoader(Noisy(), batch_size=6, shuffle=True), id_fn=item_name))
    for mine, theirs in zip(plain[0], watched[0], strict=True):
        assert torch.equal(mine[0], theirs[0])
    assert plain[1] == watched[1]


@pytest.mark.filterwarnings("ignore:.*set_vital.*:UserWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_loader_saves_the_same_state(workers: int) -> None:
    """The state of a stateful loader is the one that it has without us."""
    torchdata = pytest.importorskip("torchdata.stateful_dataloader")

    def state(watching: bool) -> Any:
        _seed()
        made = torchdata.StatefulDataLoader(
            Noisy(), batch_size=3, shuffle=True, num_workers=workers
        )
        loader = watch(made) if watching else made
        iterator = iter(loader)
        next(iterator)
        next(iterator)
        return loader.state_dict()

    assert repr(state(True)) == repr(state(False))
