"""Discarded samples leave the epochs of a watched training loader, and come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

import weightslab as wl
from tests.capture.oracles import Numbers, Pairs, Stream, Triples, ids_of, item_name, watch
from weightslab.capture.loader import watch_loader
from weightslab.errors import AllDiscardedError
from weightslab.session import Session
from weightslab.session.slot import swap


def _numbers(loader: Any) -> list[int]:
    return [number for _, number in ids_of(loader)]


def _discard(*numbers: int, origin: str = "train") -> None:
    wl.discard_samples([f"{origin}/{number}" for number in numbers])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_epoch_shrinks_and_batches_stay_full(workers: int) -> None:
    """Discarded samples are not drawn, and every batch but the last is full."""
    loader = watch(DataLoader(Numbers(), batch_size=5, num_workers=workers))
    _discard(0, 1, 7)
    sizes = [len(x) for x, _, _ in loader]
    assert sizes == [5, 5, 5, 2]
    assert _numbers(loader) == [2, 3, 4, 5, 6, *range(8, 20)]


def test_the_order_of_the_others_is_kept() -> None:
    """A shuffled epoch without some samples is the shuffled epoch, those left out."""
    torch.manual_seed(4)
    whole = _numbers(watch(DataLoader(Numbers(), batch_size=5, shuffle=True)))
    _discard(3, 4)
    torch.manual_seed(4)
    left = _numbers(watch(DataLoader(Numbers(), batch_size=5, shuffle=True)))
    assert left == [number for number in whole if number not in (3, 4)]


def test_len_says_the_shrunk_number() -> None:
    """`len(loader)` counts the batches that will come, where that can be known."""
    loader = watch(DataLoader(Numbers(), batch_size=5, shuffle=True))
    assert len(loader) == 4
    _discard(*range(6))
    assert len(loader) == 3 == sum(1 for _ in loader)
    dropping = watch(DataLoader(Numbers(), batch_size=5, drop_last=True), name="b")
    _discard(*range(6), origin="b")
    assert len(dropping) == 2 == sum(1 for _ in dropping)


def test_len_of_a_draw_with_replacement_is_unchanged() -> None:
    """Where the number of batches cannot be known, `len(loader)` is the user's."""
    sampler = WeightedRandomSampler([1.0] * 20, 20)
    loader = watch(DataLoader(Numbers(), batch_size=5, sampler=sampler))
    _discard(0)
    assert len(loader) == 4


def test_a_restored_sample_comes_back() -> None:
    """Restore undoes a discard."""
    loader = watch(DataLoader(Numbers(), batch_size=5))
    _discard(3)
    assert 3 not in _numbers(loader)
    wl.discard_samples(["train/3"], discarded=False)
    assert _numbers(loader) == list(range(20))
    assert len(loader) == 4


def test_a_discard_counts_at_once_without_workers() -> None:
    """In the middle of an epoch, the next batch that is drawn is without the sample."""
    loader = watch(DataLoader(Numbers(), batch_size=5))
    iterator = iter(loader)
    next(iterator)
    _discard(5, 19)
    rest = [int(number) for x, _, _ in iterator for number in x]
    assert rest == [6, 7, 8, 9, *range(10, 19)]


def test_a_batch_sampler_of_its_own_loses_the_samples() -> None:
    """Batches of a custom batch sampler lose the discarded; empty ones are left out."""
    loader = watch(DataLoader(Numbers(6), batch_sampler=Pairs(6)))
    _discard(0, 5, 1)
    assert [[int(n) for n in x] for x, _, _ in loader] == [[4], [2, 3]]


@pytest.mark.parametrize(
    "sampler",
    [
        SubsetRandomSampler([1, 2, 3]),
        WeightedRandomSampler([1.0] * 20, 40),
        [1, 2, 3],
        torch.tensor([1, 2, 3]),
    ],
)
def test_every_sampler_is_filtered(sampler: Any) -> None:
    """Whatever draws the indices, a discarded one is not read."""
    loader = watch(DataLoader(Numbers(), batch_size=2, sampler=sampler))
    _discard(2)
    drawn = _numbers(loader)
    assert drawn
    assert 2 not in drawn


def test_loaders_without_batches_are_filtered() -> None:
    """With `batch_size=None`, single indices and lists of indices lose the discarded."""
    single = watch(DataLoader(Numbers(4), batch_size=None), name="single")
    _discard(1, origin="single")
    assert _numbers(single) == [0, 2, 3]
    lists = BatchSampler(range(4), 2, drop_last=False)
    data = torch.utils.data.TensorDataset(torch.arange(4.0))
    many = watch(DataLoader(data, batch_size=None, sampler=lists), name="many")
    _discard(0, 1, origin="many")
    assert _numbers(many) == [2, 3]


def test_validation_loaders_keep_all() -> None:
    """A discarded sample is still validated."""
    base = Numbers(6)
    watch(DataLoader(base, batch_size=3), name="train")
    val = watch(DataLoader(base, batch_size=3), name="val")
    _discard(1)
    assert _numbers(val) == list(range(6))
    assert len(val) == 2


def test_a_loader_said_to_train_shrinks_whatever_its_name() -> None:
    """`is_training` wins over the name."""
    loader = watch(DataLoader(Numbers(6), batch_size=3), name="val", is_training=True)
    _discard(1, origin="val")
    assert 1 not in _numbers(loader)


def test_all_discarded_is_an_error_that_names_the_way_back() -> None:
    """A loader with nothing left refuses to start, and says how to restore."""
    loader = watch(DataLoader(Numbers(3), batch_size=3))
    _discard(0, 1, 2)
    with pytest.raises(AllDiscardedError, match=r"discarded=False"):
        iter(loader)
    wl.discard_samples(["train/1"], discarded=False)
    assert _numbers(loader) == [1]


def test_a_subset_loses_the_sample_of_the_base() -> None:
    """A discard of a base sample counts in every training subset that holds it."""
    base = Numbers(6)
    one = watch(DataLoader(Subset(base, [5, 3, 1]), batch_size=3), name="one")
    two = watch(DataLoader(Subset(base, [3, 4]), batch_size=2), name="two")
    wl.discard_samples(["one/3"])
    assert _numbers(one) == [5, 1]
    assert _numbers(two) == [4]


def test_a_concatenation_loses_the_sample_of_its_part() -> None:
    """Samples of one part of a concatenation are left out there."""
    both = ConcatDataset([Numbers(2), Numbers(2, first=10)])
    loader = watch(DataLoader(both, batch_size=4))
    _discard(2)
    assert _numbers(loader) == [0, 1, 11]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_iterable_loses_its_discarded_items(workers: int) -> None:
    """Items of an iterable whose id is discarded are skipped."""
    loader = watch(DataLoader(Stream(8), batch_size=2, num_workers=workers), id_fn=item_name)
    assert sorted(_numbers(loader)) == list(range(8))
    wl.discard_samples(["n3", "n4"])
    assert sorted(_numbers(loader)) == [0, 1, 2, 5, 6, 7]


def test_persistent_workers_of_an_iterable_learn_of_discards() -> None:
    """Workers that outlive an epoch are started anew when what they skip has changed."""
    loader = watch(
        DataLoader(Stream(8), batch_size=2, num_workers=1, persistent_workers=True),
        id_fn=item_name,
    )
    ids_of(loader)
    wl.discard_samples(["n3"])
    assert 3 not in _numbers(loader)


def test_discards_of_an_earlier_launch_hold(tmp_path: Path) -> None:
    """What was discarded stays discarded in the next launch, from its first epoch."""
    for launch in range(2):
        with Session(tmp_path):
            loader = watch(DataLoader(Triples(["a", "b", "c"]), batch_size=3))
            if launch == 0:
                ids_of(loader)
                wl.discard_samples(["b"])
            assert _numbers(loader) == [0, 2]


def test_a_discard_follows_its_name_through_a_reordered_dataset(tmp_path: Path) -> None:
    """When the order changed between launches, the sample is left out and not its old index."""
    with Session(tmp_path):
        ids_of(watch(DataLoader(Triples(["a", "b", "c", "d"]), batch_size=2)))
        wl.discard_samples(["b"])
    with Session(tmp_path):
        loader = watch(DataLoader(Triples(["d", "c", "b", "a"]), batch_size=1))
        ids_of(loader)
        names = [name for name, _ in ids_of(loader)]
        assert names == ["d", "c", "a"]


def test_a_resumed_sampler_counts_what_it_skipped() -> None:
    """A sampler with a state goes on behind the samples that it skipped."""
    torchdata = pytest.importorskip("torchdata.stateful_dataloader.sampler")
    from weightslab.capture.discard import Skips, filtered_sampler

    skips = Skips()
    skips.length = 10
    skips.set_positions([1, 2])
    sampler = torchdata.RandomSampler(range(10), generator=torch.Generator().manual_seed(0))
    iterator = iter(filtered_sampler(sampler, skips))
    first = [next(iterator) for _ in range(4)]
    state = iterator.state_dict()
    rest = list(iterator)
    resumed = iter(filtered_sampler(sampler, skips))
    resumed.load_state_dict(state)
    assert list(resumed) == rest
    assert sorted(first + rest) == [0, *range(3, 10)]


def test_discards_of_one_session_do_not_reach_another(tmp_path: Path) -> None:
    """A loader skips what its own session discarded."""
    mine, other = Session(tmp_path / "a"), Session(tmp_path / "b")
    loader = watch_loader(mine, DataLoader(Numbers(4), batch_size=4), name="train")
    watch_loader(other, DataLoader(Numbers(4), batch_size=4), name="train")
    before = swap(other)
    _discard(0)
    assert [int(n) for x, _, _ in loader for n in x] == [0, 1, 2, 3]
    swap(before)
    mine.close()
    other.close()


def test_random_states_are_the_same_with_discards() -> None:
    """Leaving samples out draws no random number."""
    states = []
    for discarding in (False, True):
        torch.manual_seed(0)
        data = Numbers(20)
        loader = watch(DataLoader(data, sampler=RandomSampler(data), batch_size=5))
        if discarding:
            _discard(1, 2)
        ids_of(loader)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_a_dataset_without_a_length_loses_its_discarded_samples() -> None:
    """Samples of a dataset that does not tell its length are skipped once they are known."""

    class Endless:
        def __getitem__(self, index: int) -> Any:
            return torch.tensor([float(index)]), 0

    loader = watch(DataLoader(Endless(), batch_size=2, sampler=[4, 1, 7]))  # type: ignore[arg-type]
    ids_of(loader)
    _discard(1)
    assert _numbers(loader) == [4, 7]


def test_a_custom_sampler_with_nothing_left_is_an_error() -> None:
    """An endless sampler that draws only discarded samples is told so, and does not hang."""
    from weightslab.capture import discard

    class Endless:
        def __iter__(self) -> Any:
            while True:
                yield 0

    skips = discard.Skips()
    skips.length = 1
    skips.set_positions([0])
    with pytest.raises(AllDiscardedError, match="in a row"):
        next(iter(discard.filtered_sampler(Endless(), skips)))
