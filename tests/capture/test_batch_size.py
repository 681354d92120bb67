"""A new batch size for a watched loader, from its next epoch on."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, WeightedRandomSampler

import weightslab as wl
from tests.capture.oracles import Numbers, Pairs, Stream, ids_of, item_name, said, watch
from weightslab.capture.batch_size import Sizing
from weightslab.capture.shadow import source_of
from weightslab.hyperparameters.values import Refusal

pytestmark = pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")


def sizing(loader: Any) -> Sizing:
    """The batch size of a watched loader."""
    source = source_of(loader)
    assert source is not None
    assert source.sizing is not None
    return source.sizing


def sizes(batches: Any) -> list[int]:
    """Samples in each batch."""
    return [len(batch[0]) for batch in batches]


def test_nobody_iterates_so_the_size_counts_at_once() -> None:
    """Between two epochs `len(loader)` and `loader.batch_size` say what comes."""
    loader = watch(DataLoader(Numbers(20), batch_size=4))
    sizing(loader).resize(8)
    assert (len(loader), loader.batch_size) == (3, 8)
    assert sizes(loader) == [8, 8, 4]


def test_the_epoch_under_way_keeps_its_batches_and_its_length() -> None:
    """`if step + 1 == len(loader)` stays true of its last batch; the next epoch is the new one."""
    loader = watch(DataLoader(Numbers(20), batch_size=4))
    seen = []
    for batch in loader:
        if not seen:
            sizing(loader).resize(10)
        seen.append((len(batch[0]), len(loader)))
    assert seen == [(4, 5)] * 5
    assert len(loader) == 2
    assert sizes(loader) == [10, 10]


def test_an_edit_between_two_epochs_counts_for_the_second() -> None:
    """It is taken before the epoch's batches are drawn, not at its first safe point."""
    hp = wl.watch_or_edit({"batch_size": 4}, flag="hyperparameters")
    loader = watch(DataLoader(Numbers(20), batch_size=4))
    assert sizes(loader) == [4] * 5
    hp.batch_size = 10
    assert sizes(loader) == [10, 10]


def test_an_epoch_that_was_left_is_over() -> None:
    """After `break` the iterator is forgotten, and the size counts."""
    loader = watch(DataLoader(Numbers(20), batch_size=4))
    for _ in loader:
        sizing(loader).resize(10)
        break
    assert len(loader) == 2
    assert sizes(loader) == [10, 10]


def test_the_last_of_several_sizes_counts() -> None:
    """However many were asked for during an epoch."""
    loader = watch(DataLoader(Numbers(20), batch_size=4))
    for _ in loader:
        for size in (5, 10, 20):
            sizing(loader).resize(size)
    assert sizes(loader) == [20]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_go_on(workers: int, persistent: bool) -> None:
    """With workers, persistent ones too: every sample once, under its id, in the new batches."""
    persistent = persistent and workers > 0
    loader = watch(
        DataLoader(Numbers(20), batch_size=4, num_workers=workers, persistent_workers=persistent),
        id_fn=item_name,
    )
    former = None
    for at, _ in enumerate(loader):
        if at == 1:
            sizing(loader).resize(7)
            former = getattr(loader, "_iterator", None)
    assert sizes(loader) == [7, 7, 6]
    assert ids_of(loader) == [(f"n{number}", number) for number in range(20)]
    assert not persistent or loader._iterator is former


def test_the_users_own_loader_stays_as_it_is() -> None:
    """Neither it nor its batch sampler is touched."""
    own = DataLoader(Numbers(20), batch_size=4)
    sampler = own.batch_sampler
    loader = watch(own)
    sizing(loader).resize(10)
    assert sizes(loader) == [10, 10]
    assert own.batch_sampler is sampler
    assert (own.batch_size, len(own), sizes(own)) == (4, 5, [4] * 5)
    assert copy.copy(loader).batch_size == 10


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("discarded", [0, 3])
def test_discards_and_the_last_batch_count_with_the_new_size(
    drop_last: bool, discarded: int
) -> None:
    """`len(loader)` is the number of batches that come."""
    loader = watch(DataLoader(Numbers(20), batch_size=4, drop_last=drop_last))
    if discarded:
        wl.discard_samples([f"train/{number}" for number in range(discarded)])
    sizing(loader).resize(6)
    there = 20 - discarded
    whole = [6] * (there // 6) + ([] if drop_last or not there % 6 else [there % 6])
    assert len(loader) == len(whole)
    assert sizes(loader) == whole


def test_the_order_of_a_shuffled_epoch_is_that_of_a_loader_made_so() -> None:
    """Ids, batches and random numbers are those of a plain loader with the new size."""

    def made(size: int) -> DataLoader[Any]:
        return DataLoader(Numbers(20), batch_size=size, shuffle=True)

    loader = watch(made(4))
    for plain in (made(4), made(6)):
        state = torch.random.get_rng_state()
        expected = [batch[0].tolist() for batch in plain]
        after = torch.random.get_rng_state()
        torch.random.set_rng_state(state)
        assert [batch[0].tolist() for batch in loader] == expected
        assert torch.equal(torch.random.get_rng_state(), after)
        sizing(loader).resize(6)


@pytest.mark.parametrize("kind", ["weighted", "given batch sampler", "stream"])
def test_every_plain_slice_of_a_sampler_is_resized(kind: str) -> None:
    """Also where the user gave the sampler, the batch sampler, or a stream."""
    data = Numbers(20)
    loaders: dict[str, Any] = {
        "weighted": lambda: DataLoader(
            data, batch_size=4, sampler=WeightedRandomSampler([1.0] * 20, 20)
        ),
        "given batch sampler": lambda: DataLoader(
            data, batch_sampler=BatchSampler(RandomSampler(data), 4, False)
        ),
        "stream": lambda: DataLoader(Stream(20), batch_size=4),
    }
    loader = watch(loaders[kind]())
    sizing(loader).resize(8)
    assert sizes(loader) == [8, 8, 4]


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
def test_a_stateful_loader_takes_it_after_the_epoch_that_it_resumes() -> None:
    """What a saved state counts are batches of the former size."""
    stateful = pytest.importorskip("torchdata.stateful_dataloader")
    loader = watch(stateful.StatefulDataLoader(Numbers(20), batch_size=4))
    for _ in itertools.islice(loader, 2):
        state = loader.state_dict()
    loader.load_state_dict(state)
    sizing(loader).resize(10)
    rest = [(int(x[0]), len(x)) for x, *_ in loader]
    assert rest == [(8, 4), (12, 4), (16, 4)]
    assert sizes(loader) == [10, 10]


@pytest.mark.parametrize(
    ("loader", "why"),
    [
        (lambda: DataLoader(Numbers(6), batch_size=None), "no batches"),
        (lambda: DataLoader(Numbers(6), batch_sampler=Pairs(6)), "Pairs makes batches"),
        (lambda: DataLoader(Numbers(6), batch_size=2, drop_last=True), "only 6 samples"),
    ],
)
def test_what_cannot_be_resized_is_refused_and_goes_on(loader: Any, why: str) -> None:
    """Batches made in another way stay; no epoch becomes empty."""
    watched = watch(loader())
    before = sizes(watched)
    with pytest.raises(Refusal, match=why):
        sizing(watched).resize(7)
    assert sizes(watched) == before
    assert said() == ""
