"""Every batch of a watched loader comes with the ids of the samples that it holds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)

from tests.capture.oracles import (
    Batched,
    Keyed,
    Numbers,
    Pairs,
    Resumable,
    Stream,
    Triples,
    ids_of,
    item_name,
    said,
    watch,
)
from weightslab.session import current
from weightslab.types import SampleIds

Make = Callable[..., DataLoader[Any]]

WAYS: dict[str, Make] = {
    "in order": lambda **k: DataLoader(Numbers(), batch_size=6, **k),
    "shuffled": lambda **k: DataLoader(Numbers(), batch_size=6, shuffle=True, **k),
    "weighted": lambda **k: DataLoader(
        Numbers(), batch_size=6, sampler=WeightedRandomSampler([1.0] * 10 + [5.0] * 10, 30), **k
    ),
    "subset sampler": lambda **k: DataLoader(
        Numbers(), batch_size=6, sampler=SubsetRandomSampler([3, 5, 7, 9]), **k
    ),
    "own batch sampler": lambda **k: DataLoader(Numbers(), batch_sampler=Pairs(20), **k),
    "fetched by the batch": lambda **k: DataLoader(Batched(), batch_size=6, shuffle=True, **k),
    "drop_last": lambda **k: DataLoader(Numbers(), batch_size=6, drop_last=True, **k),
    "one by one": lambda **k: DataLoader(Numbers(), batch_size=None, **k),
    "lists of indices": lambda **k: DataLoader(
        TensorDataset(torch.arange(20.0)),
        batch_size=None,
        sampler=BatchSampler(RandomSampler(range(20)), 6, drop_last=False),
        **k,
    ),
}

WORKERS: dict[str, dict[str, Any]] = {
    "no workers": {},
    "two workers": {"num_workers": 2},
    "persistent": {"num_workers": 2, "persistent_workers": True, "prefetch_factor": 4},
    "out of order": {"num_workers": 2, "in_order": False},
}

stateful = functools.partial(pytest.mark.filterwarnings, r"ignore:.*set_vital.*:UserWarning")()
"""torchdata calls something of torch that is on its way out."""


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("way", WAYS)
def test_ids_follow_their_items(way: str, workers: str) -> None:
    """Whatever draws the samples and whoever reads them, each id is that of its item."""
    loader = watch(WAYS[way](**WORKERS[workers]))
    for _ in range(2):
        seen = ids_of(loader)
        assert seen
        assert [name for name, _ in seen] == [f"train/{number}" for _, number in seen]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_ids_come_from_spawned_workers(method: str) -> None:
    """Workers that share no memory with the process say the same ids."""
    loader = watch(
        DataLoader(Numbers(), batch_size=6, num_workers=1, multiprocessing_context=method)
    )
    assert ids_of(loader) == [(f"train/{number}", number) for number in range(20)]


def test_ids_of_a_subset_are_those_of_the_base_dataset() -> None:
    """A subset of a subset names its samples by their index in the base dataset."""
    nested = Subset(Subset(Numbers(), [2, 4, 6, 8]), [3, 1])
    assert ids_of(watch(DataLoader(nested, batch_size=2))) == [("train/8", 8), ("train/4", 4)]


def test_a_subset_registers_its_own_samples_only() -> None:
    """The samples that a subset leaves out are not registered."""
    watch(DataLoader(Subset(Numbers(), [2, 4]), batch_size=2))
    assert len(current().ledger.ids) == 2


def test_a_subset_that_changes_between_epochs_keeps_its_ids_right() -> None:
    """Indices of a subset that are changed in place count from the next epoch."""
    subset = Subset(Numbers(), [0, 1, 2, 3])
    loader = watch(DataLoader(subset, batch_size=2))
    ids_of(loader)
    subset.indices[:] = [9, 8, 7, 6]  # type: ignore[index]
    assert ids_of(loader) == [("train/9", 9), ("train/8", 8), ("train/7", 7), ("train/6", 6)]


def test_parts_of_a_concatenation_are_told_apart() -> None:
    """Samples of one index in two concatenated datasets are two samples."""
    both = ConcatDataset([Numbers(3), Numbers(3, first=10)])
    loader = watch(DataLoader(both, batch_size=4, shuffle=True))
    first, second = ({n: name for name, n in ids_of(loader)} for _ in range(2))
    assert first == second
    assert first == {0: "train/0", 1: "train/1", 2: "train/2"} | {
        10: "train/3",
        11: "train/4",
        12: "train/5",
    }


def test_a_concatenation_shares_samples_with_its_parts() -> None:
    """A part that is watched on its own too has the same samples there."""
    part = Numbers(3, first=10)
    alone = watch(DataLoader(part, batch_size=3), name="part")
    joined = watch(DataLoader(ConcatDataset([Numbers(2), part]), batch_size=5), name="all_val")
    assert set(ids_of(alone)) <= set(ids_of(joined))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_iterable_with_an_id_function_has_its_ids(workers: int) -> None:
    """`id_fn` names the items of an iterable dataset, in the worker that reads them."""
    loader = watch(DataLoader(Stream(), batch_size=6, num_workers=workers), id_fn=item_name)
    seen = ids_of(loader)
    assert len(seen) == 20
    assert all(name == f"n{number}" for name, number in seen)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_iterable_without_one_is_counted_by_worker(workers: int) -> None:
    """Without `id_fn` the items of an iterable are w<worker>:<n>, the same in every epoch."""
    loader = watch(DataLoader(Stream(), batch_size=6, num_workers=workers))
    seen = ids_of(loader)
    split = max(workers, 1)
    assert all(name == f"train/w{n % split}:{n // split}" for name, n in seen)
    assert sorted(ids_of(loader)) == sorted(seen)
    assert "give id_fn=" in said()


def test_an_iterable_whose_items_say_their_ids_needs_nothing() -> None:
    """A string in the id field of an item names it in an iterable too."""

    class Named(Stream):
        def __iter__(self) -> Iterator[Any]:
            return ((x, y, f"s{int(x)}") for x, y in super().__iter__())

    loader = watch(DataLoader(Named(), batch_size=6))
    assert all(name == f"s{number}" for name, number in ids_of(loader))


def _shift(worker: int) -> None:
    info = get_worker_info()
    assert info is not None
    assert isinstance(info.dataset, Stream)
    info.dataset.shift = 100


def test_worker_init_fn_still_reaches_the_dataset() -> None:
    """What worker_init_fn sets on its worker's dataset is what the dataset reads."""
    loader = watch(
        DataLoader(Stream(), batch_size=5, num_workers=1, worker_init_fn=_shift), id_fn=item_name
    )
    assert [number for _, number in ids_of(loader)] == list(range(100, 120))


@stateful
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_stateful_loader_resumes_with_its_ids(workers: int, shuffle: bool) -> None:
    """A loader resumed in the middle of an epoch goes on with the right samples and ids."""
    torchdata = pytest.importorskip("torchdata.stateful_dataloader")

    def make() -> Any:
        return watch(
            torchdata.StatefulDataLoader(
                Numbers(), batch_size=3, shuffle=shuffle, num_workers=workers
            )
        )

    loader = make()
    iterator = iter(loader)
    next(iterator)
    next(iterator)
    state = loader.state_dict()
    rest = [list(ids) for _, _, ids in iterator]
    resumed = make()
    resumed.load_state_dict(state)
    seen = ids_of(resumed)
    assert [name for name, _ in seen] == [name for names in rest for name in names]
    assert all(name == f"train/{number}" for name, number in seen)
    assert len(ids_of(resumed)) == 20


@stateful
@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_stream_goes_on_counting(workers: int) -> None:
    """The count that names an iterable's items is part of a stateful loader's state."""
    torchdata = pytest.importorskip("torchdata.stateful_dataloader")

    def make() -> Any:
        return watch(torchdata.StatefulDataLoader(Resumable(), batch_size=3, num_workers=workers))

    loader = make()
    iterator = iter(loader)
    next(iterator)
    next(iterator)
    state = loader.state_dict()
    resumed = make()
    resumed.load_state_dict(state)
    seen = ids_of(resumed)
    assert seen[0] == ("train/w0:6", 6)
    assert all(name == f"train/w0:{number}" for name, number in seen)


@stateful
def test_a_stream_resumed_from_a_foreign_state_has_no_ids() -> None:
    """A state that was saved without us does not say how far it counted: no id is guessed."""
    torchdata = pytest.importorskip("torchdata.stateful_dataloader")
    plain = torchdata.StatefulDataLoader(Resumable(), batch_size=3)
    iterator = iter(plain)
    next(iterator)
    resumed = watch(torchdata.StatefulDataLoader(Resumable(), batch_size=3))
    resumed.load_state_dict(plain.state_dict())
    _, _, ids = next(iter(resumed))
    assert ids is None
    assert "saved without WeightsLab" in said()


class Point(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


def _as(kind: str) -> Callable[[list[Any]], Any]:
    def collate(items: list[Any]) -> Any:
        x, y = torch.stack([item[0] for item in items]), torch.tensor([i[1] for i in items])
        return {"tuple": (x, y), "list": [x, y], "named": Point(x, y), "dict": {"x": x, "y": y},
                "tensor": x, "single": (x,), "triple": (x, y, y.float())}[kind]  # fmt: skip

    return collate


@pytest.mark.parametrize(
    ("kind", "length"), [("tuple", 3), ("list", 3), ("named", 2), ("single", 1), ("triple", 3)]
)
def test_ids_are_the_third_item_of_pairs_alone(kind: str, length: int) -> None:
    """A batch of two items gets its ids as the third and stays a tuple or a list."""
    plain = DataLoader(Numbers(), batch_size=6, collate_fn=_as(kind))
    expected, got = next(iter(plain)), next(iter(watch(plain)))
    assert type(got) is type(expected)
    assert len(got) == length
    assert isinstance(got[-1], SampleIds) == (kind in ("tuple", "list"))


@pytest.mark.parametrize("kind", ["dict", "tensor"])
def test_other_batches_pass_unchanged(kind: str) -> None:
    """Dicts and single tensors come as they are; their ids are the current ones."""
    loader = watch(DataLoader(Numbers(), batch_size=6, collate_fn=_as(kind)))
    seen = ids_of(loader)
    assert all(name == f"train/{number}" for name, number in seen)


def test_ids_can_be_left_out_of_the_batch() -> None:
    """`append_ids=False` keeps `for x, y in loader`."""
    loader = watch(DataLoader(Numbers(), batch_size=6), append_ids=False)
    for x, _ in loader:
        batch_ids = current().batches.current
        assert batch_ids is not None
        assert list(batch_ids.ids) == [f"train/{int(number)}" for number in x]


def test_no_batch_is_current_after_the_last() -> None:
    """When the iteration is over, no batch is in the consumer's hands."""
    ids_of(watch(DataLoader(Numbers(), batch_size=6)))
    assert current().batches.current is None


def test_the_current_batch_names_its_loader() -> None:
    """The current ids say which loader they come from."""
    batches = iter(watch(DataLoader(Numbers(), batch_size=6), name="val"))
    next(batches)
    batch_ids = current().batches.current
    assert batch_ids is not None
    assert batch_ids.origin == "val"


def test_two_loaders_in_step_keep_their_ids_apart() -> None:
    """Iterated side by side, each batch comes with ids of its own loader."""
    one = watch(DataLoader(Numbers(), batch_size=4), name="train")
    two = watch(DataLoader(Numbers(first=50), batch_size=4, shuffle=True), name="val")
    for (x, _, x_ids), (z, _, z_ids) in zip(one, two, strict=True):
        assert list(x_ids) == [f"train/{int(number)}" for number in x]
        assert list(z_ids) == [f"val/{int(number) - 50}" for number in z]


def _drop_odd(items: list[Any]) -> Any:
    return torch.stack([item[0] for item in items if item is not None])


class Broken(Numbers):
    """Every odd item could not be read."""

    def __getitem__(self, index: int) -> Any:
        return None if index % 2 else super().__getitem__(index)


def test_items_that_the_collate_function_drops_take_their_ids_along() -> None:
    """Where the collate function leaves out None items, their ids are left out too."""
    seen = ids_of(watch(DataLoader(Broken(), batch_size=4, collate_fn=_drop_odd)))
    assert seen == [(f"train/{number}", number) for number in range(0, 20, 2)]


def test_a_batch_with_fewer_rows_than_items_has_no_ids() -> None:
    """Where it cannot be told which items a batch kept, its ids are None, and that is said."""
    loader = watch(
        DataLoader(Numbers(), batch_size=4, collate_fn=lambda items: _as("tuple")(items[1:]))
    )
    assert [ids for _, _, ids in loader] == [None] * 5
    assert "which ones are left cannot be told" in said()


def test_a_filtered_list_of_items_keeps_its_ids() -> None:
    """A collate function that returns some of the very items is followed."""
    loader = watch(DataLoader(Numbers(), batch_size=4, collate_fn=lambda items: items[1:]))
    for batch in loader:
        batch_ids = current().batches.current
        assert batch_ids is not None
        assert list(batch_ids.ids) == [f"train/{int(x)}" for x, _ in batch]


def test_an_id_function_names_items_of_an_indexed_dataset() -> None:
    """`id_fn` names the samples of a map-style dataset by its items."""
    seen = ids_of(watch(DataLoader(Numbers(), batch_size=6, shuffle=True), id_fn=item_name))
    assert all(name == f"n{number}" for name, number in seen)


def test_an_id_function_that_fails_is_said_and_ends_nothing() -> None:
    """An error in `id_fn` leaves the batch without ids and goes on."""
    loader = watch(DataLoader(Numbers(), batch_size=10), id_fn=lambda item: item["id"])
    assert [ids for _, _, ids in loader] == [None, None]
    assert "id_fn raised TypeError" in said()


def test_string_keys_name_their_samples() -> None:
    """A sampler that draws string keys names samples by them, under the origin."""

    class Lookup(dict[str, Any]):
        pass

    loader = watch(DataLoader(Lookup(a=1.0, b=2.0), batch_size=2, sampler=["b", "a"]))  # type: ignore[arg-type]
    batches = iter(loader)
    next(batches)
    batch_ids = current().batches.current
    assert batch_ids is not None
    assert list(batch_ids.ids) == ["train/b", "train/a"]


def test_a_dataset_without_a_length_is_numbered_as_it_is_read() -> None:
    """A map-style dataset that does not tell its length has ids all the same."""

    class Endless:
        def __getitem__(self, index: int) -> Any:
            return torch.tensor([float(index)]), 0

    loader = watch(DataLoader(Endless(), batch_size=2, sampler=[4, 1, 7, 4]))  # type: ignore[arg-type]
    assert ids_of(loader) == [(f"train/{number}", number) for number in (4, 1, 7, 4)]


def test_pinned_batches_keep_their_ids() -> None:
    """What travels can be pinned and moved like a batch."""
    from weightslab.capture.carry import Carried, Origins

    moved = Carried({"x": [torch.ones(2)]}, Origins([1, 2])).to("cpu")
    assert moved.origins.keys == [1, 2]
    assert torch.equal(moved.batch["x"][0], torch.ones(2))


def test_dict_batches_say_their_ids() -> None:
    """A dict's id field names its samples."""
    loader = watch(DataLoader(Keyed("sample_id", [f"s{i}" for i in range(9)]), batch_size=4))
    assert ids_of(loader) == [(f"s{number}", number) for number in range(9)]


def test_registration_reads_and_opens_nothing() -> None:
    """Watching a loader reads no item and opens no folder."""
    dataset = Numbers(60_000)
    watch(DataLoader(dataset, batch_size=6))
    assert dataset.reads == 0
    assert not Path("weightslab_runs").exists()


def test_the_ids_of_the_batch_come_back_as_they_stood() -> None:
    """The object that named the samples in the batch is known as theirs."""
    loader = watch(DataLoader(Triples(list(range(6))), batch_size=3))
    batches = iter(loader)
    _, _, given = next(batches)
    batch_ids = current().batches.current
    assert batch_ids is not None
    assert batch_ids.given is given


def test_persistent_workers_keep_the_subset_that_they_started_with() -> None:
    """A subset changed in this process is not what living workers read: ids follow the workers."""
    subset = Subset(Numbers(), [0, 1, 2, 3])
    loader = watch(DataLoader(subset, batch_size=2, num_workers=1, persistent_workers=True))
    ids_of(loader)
    subset.indices[:] = [9, 8, 7, 6]  # type: ignore[index]
    seen = ids_of(loader)
    assert all(name == f"train/{number}" for name, number in seen)
