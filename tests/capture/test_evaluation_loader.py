"""The fresh loader of an evaluation: the same samples under the same ids, and nothing shared."""

from __future__ import annotations

import copy
import multiprocessing
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    Sampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torchdata.stateful_dataloader import StatefulDataLoader

import weightslab as wl
from tests.capture.oracles import (
    Batched,
    Keyed,
    Noisy,
    Numbers,
    Pairs,
    Resumable,
    Stream,
    Triples,
    ids_of,
    item_name,
    watch,
)
from weightslab.errors import AllDiscardedError, InputError, UnknownOptionError
from weightslab.session import current

# torchdata's loader calls what torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*set_vital.*:UserWarning")


@pytest.fixture(autouse=True)
def workers_end() -> Iterator[None]:
    """Workers that live on end with their test, and not in a collection during another one."""
    yield
    for loader in current().registry.loaders.values():
        loader.__dict__["_iterator"] = None


class Shuffled(Sampler[int]):
    """A sampler of a user's, with a generator of its own and the dataset in hand."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.draws = np.random.default_rng(4)

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[int]:
        yield from self.draws.permutation(len(self.dataset)).tolist()


class Locked(Shuffled):
    """The same, with something that cannot be copied."""

    def __init__(self, dataset: Any) -> None:
        super().__init__(dataset)
        self.lock = threading.Lock()


class Endless(Sampler[int]):
    """Draws forever, and tells no length."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from torch.randperm(self.length).tolist()


class EndlessBatches(Endless):
    """The same by the batch."""

    def __iter__(self) -> Any:
        order = super().__iter__()
        while True:
            yield [next(order) for _ in range(4)]


class TakenOnce(Sampler[list[int]]):
    """A batch sampler whose batches are gone once somebody took them."""

    def __init__(self, length: int) -> None:
        self.left = [[index, index + 1] for index in range(0, length, 2)]

    def __iter__(self) -> Iterator[list[int]]:
        while self.left:
            yield self.left.pop()


class Heavy(Numbers):
    """A dataset that nobody may copy."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise AssertionError("the dataset was copied")

    __copy__ = __deepcopy__  # type: ignore[assignment]


class Unsized(Numbers):
    """Map-style, without a length."""

    __len__ = None  # type: ignore[assignment]


WAYS: dict[str, Callable[[], DataLoader[Any]]] = {
    "in order": lambda: DataLoader(Numbers(), batch_size=6),
    "shuffled": lambda: DataLoader(Numbers(), batch_size=6, shuffle=True),
    "last one dropped": lambda: DataLoader(Numbers(), batch_size=6, drop_last=True, shuffle=True),
    "weighted": lambda: DataLoader(
        Numbers(), batch_size=6, sampler=WeightedRandomSampler([1.0] * 20, 50)
    ),
    "some with replacement": lambda: DataLoader(
        Numbers(), batch_size=6, sampler=RandomSampler(range(20), replacement=True, num_samples=4)
    ),
    "sampler of a user's": lambda: DataLoader(Numbers(), batch_size=6, sampler=Shuffled(Numbers())),
    "batches of a user's": lambda: DataLoader(Numbers(), batch_sampler=Pairs(20)),
    "one by one": lambda: DataLoader(Numbers(), batch_size=None, shuffle=True),
    "by the batch": lambda: DataLoader(Batched(), batch_size=6, shuffle=True),
    "two workers": lambda: DataLoader(Numbers(), batch_size=6, num_workers=2, shuffle=True),
    "workers that live on": lambda: DataLoader(
        Numbers(), batch_size=6, num_workers=2, persistent_workers=True
    ),
    "spawned": lambda: DataLoader(
        Numbers(), batch_size=6, num_workers=1, shuffle=True,
        multiprocessing_context=multiprocessing.get_context("spawn"),
    ),
    "two datasets": lambda: DataLoader(
        ConcatDataset([Numbers(8), Numbers(12, first=8)]), batch_size=6, shuffle=True
    ),
    "stateful": lambda: StatefulDataLoader(Numbers(), batch_size=6, shuffle=True),
    "stateful with workers": lambda: StatefulDataLoader(
        Numbers(), batch_size=6, shuffle=True, num_workers=2
    ),
    "a list of keys at once": lambda: DataLoader(
        ByList(), batch_size=None, sampler=BatchSampler(RandomSampler(range(20)), 6, False)
    ),
    "without a length": lambda: DataLoader(Unsized(), batch_size=6, sampler=Shuffled(Numbers())),
}  # fmt: skip


class ByList(Numbers):
    """One key is a list of them, and one item a batch."""

    def __getitem__(self, key: Any) -> Any:
        return torch.tensor([[float(index)] for index in key]), torch.tensor(key) % 3


STREAMS: dict[str, Callable[[], DataLoader[Any]]] = {
    "stream": lambda: DataLoader(Stream(), batch_size=6),
    "stream with workers": lambda: DataLoader(Stream(), batch_size=6, num_workers=2),
    "stateful stream": lambda: StatefulDataLoader(Stream(), batch_size=6),
}


def fresh(loader: Any, tags: list[str] | None = None) -> Any:
    """The loader of an evaluation over a watched one."""
    return loader.weightslab.evaluation_loader(tags)


@pytest.mark.parametrize("way", WAYS)
def test_it_holds_every_sample_under_its_id(way: str) -> None:
    """Each sample that the loader draws from comes once, with the id of the registered loader."""
    loader = watch(WAYS[way]())
    assert sorted(ids_of(fresh(loader))) == sorted((f"train/{n}", n) for n in range(20))
    assert set(ids_of(loader)) <= {(f"train/{n}", n) for n in range(20)}


@pytest.mark.parametrize("way", STREAMS)
def test_a_stream_comes_under_the_same_ids(way: str) -> None:
    """Items of an iterable dataset have the ids that they have in training, by `id_fn` or ours."""
    loader = watch(STREAMS[way]())
    assert sorted(ids_of(fresh(loader))) == sorted(ids_of(loader))
    named = watch(STREAMS[way](), name="named", id_fn=item_name)
    assert sorted(ids_of(fresh(named))) == sorted((f"n{n}", n) for n in range(20))


@pytest.mark.parametrize(
    "way", ["shuffled", "last one dropped", "weighted", "one by one", "two workers", "stateful"]
)
def test_what_is_shuffled_comes_in_order(way: str) -> None:
    """Torch's samplers become the order of the dataset, in full batches and a short last one."""
    loader = fresh(watch(WAYS[way]()))
    numbers = [number for _, number in ids_of(loader)]
    assert numbers == list(range(20))
    assert len(loader) == (20 if way == "one by one" else 4)


def test_a_function_can_divide_by_the_length_of_the_sampler() -> None:
    """`len(loader.sampler)` is the number of samples that are evaluated."""
    loader = watch(DataLoader(Numbers(), batch_size=6, shuffle=True))
    wl.tag_samples(["train/1", "train/2"], "hard")
    assert len(fresh(loader).sampler) == 20
    assert len(fresh(loader, ["hard"]).sampler) == 2


def test_it_takes_what_a_sampler_draws_from() -> None:
    """A subset, weights of zero and the share of one rank hold fewer samples than the dataset."""
    samplers = {
        "some": (SubsetRandomSampler([7, 3, 5]), [7, 3, 5]),
        "weights": (WeightedRandomSampler([0.0, 1.0, 2.0, 0.0], 9), [1, 2]),
        "rank": (
            DistributedSampler(Numbers(), num_replicas=3, rank=1, shuffle=True),
            [1, 4, 7, 10, 13, 16, 19],
        ),
    }
    for name, (sampler, wanted) in samplers.items():
        loader = watch(DataLoader(Numbers(), batch_size=6, sampler=sampler), name=name)
        assert [number for _, number in ids_of(fresh(loader))] == wanted


def test_a_subset_holds_its_own_samples() -> None:
    """The rows of a subset are those of its base dataset, in the order of the subset."""
    loader = watch(DataLoader(Subset(Numbers(), [5, 2, 9]), batch_size=2, shuffle=True))
    assert ids_of(fresh(loader)) == [("train/5", 5), ("train/2", 2), ("train/9", 9)]


def test_names_in_the_batch_are_taken_up() -> None:
    """Ids that the batch says name the samples, before the first epoch and after it."""
    names = [f"img_{n}" for n in range(20)]
    loader = watch(DataLoader(Triples(names), batch_size=6, shuffle=True))
    wanted = [(f"img_{n}", n) for n in range(20)]
    assert ids_of(fresh(loader)) == wanted
    assert sorted(ids_of(loader)) == sorted(wanted)
    assert ids_of(fresh(loader)) == wanted


def test_batches_look_as_those_of_the_registered_loader() -> None:
    """Ids are appended, or not, exactly as there; a dict stays one; the class is the user's."""
    plain = fresh(watch(DataLoader(Numbers(4), batch_size=4)))
    assert [len(batch) for batch in plain] == [3] and next(iter(plain))[2] == [
        f"train/{n}" for n in range(4)
    ]
    quiet = fresh(watch(DataLoader(Numbers(4), batch_size=4), append_ids=False, name="b"))
    assert [len(batch) for batch in quiet] == [2]
    keyed = fresh(watch(DataLoader(Keyed("y", [1, 2]), batch_size=2), name="c"))
    assert set(next(iter(keyed))) == {"x", "y"}
    assert isinstance(fresh(watch(StatefulDataLoader(Numbers()), name="d")), StatefulDataLoader)


def test_a_watched_loss_finds_its_samples() -> None:
    """A loss that is called without ids in the evaluation's batches belongs to their samples."""
    loader = watch(DataLoader(Numbers(), batch_size=6, shuffle=True))
    loss = wl.watch_or_edit(torch.nn.CrossEntropyLoss(), flag="loss", signal_name="loss")
    for x, y, _ in fresh(loader):
        loss(x.expand(-1, 3), y)
    frame = wl.query_signal_history("loss")
    assert sorted(row[0] for row in frame) == sorted(f"train/{n}" for n in range(20))


def test_no_safe_point_is_in_it() -> None:
    """While training is paused, an evaluation goes on: it does not wait for itself."""
    loader = watch(DataLoader(Numbers(), batch_size=6))
    wl.pause()
    assert len(list(fresh(loader))) == 4


# -- independence -------------------------------------------------------------------------


@pytest.mark.parametrize("way", [way for way in WAYS if way != "spawned"])
def test_the_live_iterator_goes_on_as_it_would(way: str) -> None:
    """An evaluation in the middle of an epoch takes no batch or draw of the loader's own."""
    epochs = []
    for evaluates in (False, True):
        torch.manual_seed(1)
        loader = watch(WAYS[way](), name=f"train_{evaluates}")
        seen: list[list[float]] = []
        for epoch in range(2):
            for number, batch in enumerate(loader):
                seen.append(batch[0].reshape(-1).tolist())
                if evaluates and number == 1:
                    state = torch.get_rng_state()
                    assert len(list(fresh(loader))) >= 4, epoch
                    torch.set_rng_state(state)
        epochs.append(seen)
    assert epochs[0] == epochs[1]


def test_an_evaluation_draws_nothing_where_the_dataset_does_not() -> None:
    """Order and workers' seeds come from no global generator, nor from the loader's own."""
    generator = torch.Generator().manual_seed(3)
    loader = watch(DataLoader(Numbers(), batch_size=6, shuffle=True, generator=generator))
    before = torch.get_rng_state(), generator.get_state(), random.getstate()
    assert len(list(fresh(loader))) == 4
    after = torch.get_rng_state(), generator.get_state(), random.getstate()
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])
    assert before[2] == after[2]


def test_two_evaluations_see_the_same_augmentation_of_workers() -> None:
    """Workers are seeded alike each time, so that two passes over one state agree."""
    loader = watch(DataLoader(Noisy(), batch_size=6, shuffle=True, num_workers=2))
    first, second = ([batch[1] for batch in fresh(loader)] for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", [Shuffled, Locked])
def test_a_sampler_of_a_user_is_copied_with_its_generator(kind: type[Shuffled]) -> None:
    """Its generator stays where it is, and the dataset in its hands is not copied."""
    data = Heavy()
    sampler = kind(data)
    loader = watch(DataLoader(data, batch_size=6, sampler=sampler))
    before = copy.deepcopy(sampler.draws.bit_generator.state)
    assert sorted(number for _, number in ids_of(fresh(loader))) == list(range(20))
    assert sampler.draws.bit_generator.state == before


def test_batches_that_can_be_taken_once_are_left_to_training() -> None:
    """A batch sampler that uses itself up is copied, so that training still gets every batch."""
    loader = watch(DataLoader(Numbers(), batch_sampler=TakenOnce(20)))
    assert len(ids_of(fresh(loader))) == 20
    assert len(ids_of(fresh(loader))) == 20
    assert len(ids_of(loader)) == 20


@pytest.mark.parametrize("batches", [False, True])
def test_an_endless_sampler_ends(batches: bool) -> None:
    """A sampler without a length is asked for as many keys as there are samples."""
    data = Numbers()
    loader = watch(
        DataLoader(data, batch_sampler=EndlessBatches(20))
        if batches
        else DataLoader(data, batch_size=6, sampler=Endless(20))
    )
    assert sorted(number for _, number in ids_of(fresh(loader))) == list(range(20))


def test_a_stateful_loader_that_waits_is_not_resumed() -> None:
    """An evaluation between `load_state_dict` and the first batch leaves the state to training."""
    first = StatefulDataLoader(Numbers(), batch_size=6)
    batches = iter(first)
    next(batches)
    loader: Any = watch(StatefulDataLoader(Numbers(), batch_size=6))
    loader.load_state_dict(first.state_dict())
    assert [number for _, number in ids_of(fresh(loader))] == list(range(20))
    assert [number for _, number in ids_of(loader)] == list(range(6, 20))


def test_a_stream_that_notes_its_place_keeps_it() -> None:
    """The place that an iterable dataset notes of itself is not moved by an evaluation."""
    loader = watch(DataLoader(Resumable(), batch_size=5), id_fn=item_name)
    seen = []
    for batch in loader:
        seen.append(batch[0].reshape(-1).tolist())
        list(fresh(loader))
    assert seen == [[float(n) for n in range(at, at + 5)] for at in range(0, 20, 5)]


def test_it_is_not_persistent() -> None:
    """Its workers end with its pass, where those of the registered loader live on."""
    loader = watch(WAYS["workers that live on"]())
    list(loader)
    living = set(multiprocessing.active_children())
    made = fresh(loader)
    assert len(list(made)) == 4 and not made.persistent_workers
    assert set(multiprocessing.active_children()) <= living


def test_the_registered_loader_ends_its_workers_when_it_goes() -> None:
    """What makes the evaluation's loader keeps no workers alive: they end with the last name."""
    with wl.Session("run") as session:
        loader = watch(WAYS["workers that live on"](), session)
        list(loader)
        session.registry.loaders.clear()
        before = len(multiprocessing.active_children())
        del loader
        assert len(multiprocessing.active_children()) == before - 2


def test_a_changed_collate_function_counts() -> None:
    """What is set on the watched loader after registering holds in the evaluation."""
    loader = watch(DataLoader(Numbers(4), batch_size=4))
    loader.collate_fn = lambda items: torch.stack([x for x, _ in items])
    assert [batch.tolist() for batch in fresh(loader)] == [[[0.0], [1.0], [2.0], [3.0]]]


def test_a_dataset_that_has_grown_is_evaluated_as_it_is() -> None:
    """Samples that joined since registering take part, under their ids."""
    data = Numbers(4)
    loader = watch(DataLoader(data, batch_size=4, shuffle=True))
    assert len(ids_of(loader)) == 4
    data.length = 6
    wl.tag_samples(["train/1"], "hard")
    assert [name for name, _ in ids_of(fresh(loader))] == [f"train/{n}" for n in range(6)]
    assert [name for name, _ in ids_of(fresh(loader, ["hard"]))] == ["train/1"]


# -- discards and tags --------------------------------------------------------------------


@pytest.mark.parametrize("way", sorted({*WAYS, *STREAMS} - {"spawned"}))
def test_discarded_samples_are_left_out_where_training_leaves_them_out(way: str) -> None:
    """The evaluation of a training loader holds what its epochs hold, that of another one all."""
    for name, left in (("train", set(range(20)) - {3, 4}), ("val", set(range(20)))):
        loader = watch({**WAYS, **STREAMS}[way](), name=name)
        names = {number: name for name, number in ids_of(fresh(loader))}
        wl.discard_samples([names[3], names[4]])
        assert sorted(number for _, number in ids_of(fresh(loader))) == sorted(left)


@pytest.mark.parametrize("way", sorted({*WAYS, *STREAMS} - {"spawned"}))
def test_tags_choose_samples(way: str) -> None:
    """With tags, samples that hold any of them: of a categorical one, any value."""
    loader = watch({**WAYS, **STREAMS}[way]())
    names = {number: name for name, number in ids_of(fresh(loader))}
    wl.tag_samples([names[2], names[11]], "hard")
    wl.set_categorical_tag([names[5]], "weather", "rain")
    wl.set_categorical_tag([names[6]], "weather", "sun")
    wl.set_categorical_tag([names[7]], "weather", "sun")
    wl.set_categorical_tag([names[7]], "weather", None)
    found = sorted(number for _, number in ids_of(fresh(loader, ["hard"])))
    assert found == [2, 11]
    both = sorted(number for _, number in ids_of(fresh(loader, ["tag:hard", "weather"])))
    assert both == [2, 5, 6, 11]
    wl.discard_samples([names[2]])
    assert [number for _, number in ids_of(fresh(loader, ["hard"]))] == [11]


def test_a_tag_that_does_not_exist_is_refused() -> None:
    """The error names the nearest tag."""
    loader = watch(DataLoader(Numbers(), batch_size=6))
    with pytest.raises(InputError, match="no sample has a tag yet, so none holds 'hart'"):
        fresh(loader, ["hart"])
    wl.tag_samples(["train/1"], "hard")
    with pytest.raises(UnknownOptionError, match="did you mean 'hard'"):
        fresh(loader, ["hart"])
    with pytest.raises(InputError, match="takes a list of tags"):
        loader.weightslab.evaluation_loader("hard")


def test_tags_that_no_sample_of_the_loader_holds_are_refused() -> None:
    """An evaluation of nothing says so: it does not report a mean of nothing."""
    loader = watch(DataLoader(Numbers(), batch_size=6))
    val = watch(DataLoader(Numbers(5), batch_size=6), name="val")
    wl.tag_samples(["train/1"], "hard")
    wl.tag_samples(["train/1"], "gone")
    wl.tag_samples(["train/1"], "gone", mode="remove")
    with pytest.raises(InputError, match="no sample of the loader 'val' holds 'hard'"):
        fresh(val, ["hard"])
    with pytest.raises(InputError, match="no sample of the loader 'train' holds 'gone'"):
        fresh(loader, ["gone"])
    assert len(ids_of(fresh(loader, []))) == 20


def test_nothing_but_discarded_samples_is_refused() -> None:
    """The error says the way back, for the whole loader and for what tags choose."""
    loader = watch(DataLoader(Numbers(4), batch_size=2))
    wl.tag_samples(["train/1"], "hard")
    wl.discard_samples(["train/1"])
    with pytest.raises(AllDiscardedError, match="that holds 'hard' is discarded"):
        fresh(loader, ["hard"])
    wl.discard_samples([f"train/{n}" for n in range(4)])
    with pytest.raises(AllDiscardedError, match="discarded=False"):
        fresh(loader)


def test_tags_of_other_processes_count() -> None:
    """Tags that another writer of the folder set choose samples here too."""
    with wl.Session("run") as session:
        loader = watch(DataLoader(Numbers(), batch_size=6), session)
        ids_of(loader)
        session.flush()
        child = multiprocessing.get_context("spawn").Process(target=_tag_elsewhere)
        child.start()
        child.join()
        assert child.exitcode == 0
        assert [number for _, number in ids_of(fresh(loader, ["seen elsewhere"]))] == [4]


def _tag_elsewhere() -> None:
    with wl.Session("run"):
        wl.tag_samples(["train/4"], "seen elsewhere")


def test_an_evaluation_registers_nothing() -> None:
    """The loader under its name stays the registered one, and its samples have one origin."""
    loader = watch(DataLoader(Numbers(), batch_size=6))
    ids_of(fresh(loader))
    assert current().registry.loaders == {"train": loader}
    assert {block.origin for block in current().ledger.ids.blocks()} == {"train"}
