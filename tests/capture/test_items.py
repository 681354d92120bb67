"""Every sample of a dataset once, in order, as the dataset returned it, with its row."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)
from torch.utils.data.datapipes.iter import IterableWrapper

from tests.capture.oracles import (
    Batched,
    Keyed,
    Numbers,
    Pairs,
    Stream,
    Triples,
    item_name,
    said,
    watch,
)
from weightslab.capture.carry import Origins
from weightslab.capture.items import Items
from weightslab.capture.listed import Listed
from weightslab.errors import InputError, WeightsLabWarning
from weightslab.session import Session, current

NAMES = [f"pictures/{n}.png" for n in range(20)]


def read(data: Any, origin: str | None = None, session: Session | None = None) -> dict[str, Any]:
    """Id -> item, in the order in which they come, under the names that they have at the end."""
    session = session or current()
    rows, items = [], []
    for chunk in Items(session, data, origin):
        rows += chunk.rows.tolist()
        items += chunk.items
    assert len(set(rows)) == len(rows)
    return dict(zip(session.ledger.ids.names(np.array(rows, np.int32)), items, strict=True))


def first(item: Any) -> float:
    """X of an item of the oracles."""
    return float(item["x"] if isinstance(item, dict) else item[0])


def as_watched(loader: Any) -> dict[str, float]:
    """Id -> x, as an epoch of a watched loader names its samples, under their last names."""
    rows, values = [], []
    session = loader.weightslab.session
    for batch in loader:
        x = batch["x"] if isinstance(batch, dict) else batch[0]
        values += torch.as_tensor(x).flatten().tolist()
        rows += session.batches.current.rows.tolist()
    return dict(zip(session.ledger.ids.names(np.array(rows, np.int32)), values, strict=True))


def drop_third(items: list[Any]) -> Any:
    """A collate function that forgets what names the items."""
    return default_collate([item[:2] for item in items])


def pop_id(items: list[Any]) -> Any:
    """A collate function that takes a field out of the items and hands it on under its name."""
    ids = [item.pop("id") for item in items]
    return {**default_collate(items), "id": ids}


Make = Callable[..., DataLoader[Any]]

DATASETS: dict[str, tuple[Make, dict[str, Any]]] = {
    "indices": (lambda **k: DataLoader(Numbers(), 6, **k), {}),
    "batches": (lambda **k: DataLoader(Batched(), 6, **k), {}),
    "subset": (lambda **k: DataLoader(Subset(Numbers(), [5, 3, 8]), 2, **k), {}),
    "subset of a subset": (
        lambda **k: DataLoader(Subset(Subset(Numbers(), range(4, 20)), [9, 2]), 2, **k),
        {},
    ),
    "concatenation": (
        lambda **k: DataLoader(ConcatDataset([Numbers(4), Numbers(5, first=50)]), 3, **k),
        {},
    ),
    "named by strings": (lambda **k: DataLoader(Triples(NAMES), 6, **k), {}),
    "named by integers": (lambda **k: DataLoader(Triples(range(100, 120)), 6, **k), {}),
    "a class that looks like an id": (
        lambda **k: DataLoader(Triples([n % 7 for n in range(20)]), 6, **k),
        {},
    ),
    "named in a dict": (lambda **k: DataLoader(Keyed("id", NAMES), 6, **k), {}),
    "named by a function": (lambda **k: DataLoader(Numbers(), 6, **k), {"id_fn": item_name}),
    "names not wanted": (lambda **k: DataLoader(Triples(NAMES), 6, **k), {"ids": False}),
    "names dropped by collate": (
        lambda **k: DataLoader(Triples(NAMES), 6, collate_fn=drop_third, **k),
        {},
    ),
    "names popped by collate": (
        lambda **k: DataLoader(Keyed("id", NAMES), 6, collate_fn=pop_id, **k),
        {},
    ),
    "one by one": (lambda **k: DataLoader(Numbers(), batch_size=None, **k), {}),
    "one by one, named": (
        lambda **k: DataLoader(Keyed("id", [[name] for name in NAMES]), batch_size=None, **k),
        {},
    ),
    "a stream that says ids": (
        lambda **k: DataLoader(Stream(), 6, **k),
        {"id_fn": item_name},
    ),
}

WORKERS = {"no workers": {}, "two workers": {"num_workers": 2}}


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")
def test_ids_are_those_of_the_watched_loader(kind: str, workers: str, tmp_path: Path) -> None:
    """Read before any epoch, or after one, every item has the id that the loader gives it."""
    make, options = DATASETS[kind]
    with Session(tmp_path / "a") as session:
        expected = as_watched(watch(make(**WORKERS[workers]), session, **options))
    with Session(tmp_path / "b") as session:
        loader = watch(make(**WORKERS[workers]), session, **options)
        before = {name: first(item) for name, item in read(loader, session=session).items()}
        assert before == expected
        assert as_watched(loader) == expected
        after = {name: first(item) for name, item in read(loader, session=session).items()}
        assert after == expected


def test_items_whose_ids_nobody_says_are_numbered_as_in_an_epoch(tmp_path: Path) -> None:
    """A stream's items are called by worker and place, the same ones, and that is said."""
    with Session(tmp_path) as session, pytest.warns(WeightsLabWarning) as caught:
        loader = watch(DataLoader(Stream(), 6, num_workers=2), session)
        items = {name: first(item) for name, item in read(loader, session=session).items()}
        assert items == as_watched(loader)
    assert any("w<worker>:<n>" in str(one.message) for one in caught)


@pytest.mark.parametrize("kind", ["indices", "subset", "concatenation", "named by strings"])
def test_an_unwatched_dataset_is_named_as_if_it_were_watched(kind: str, tmp_path: Path) -> None:
    """Under the origin that is given, and without becoming a loader of the session."""
    make, _ = DATASETS[kind]
    with Session(tmp_path / "a") as session:
        expected = as_watched(watch(make(), session, name="val"))
    with Session(tmp_path / "b") as session:
        data = make().dataset
        items = Items(session, data, "val")
        assert items.origin == "val"
        assert {name: first(item) for name, item in read(data, "val").items()} == expected
        assert session.registry.loaders == {}
        # Watched later, under the same name, its samples are the same ones.
        assert as_watched(watch(DataLoader(data, 3), session, name="val")) == expected


def test_without_an_origin_the_split_is_train() -> None:
    """Where nothing is watched there is nothing else that it could be."""
    assert list(read(Numbers(2))) == ["train/0", "train/1"]


def test_the_users_own_loader_and_dataset_mean_the_watched_samples() -> None:
    """Whoever kept the loader from before, or the dataset, means the same samples."""
    dataset = Numbers(4)
    plain = DataLoader(dataset, 2)
    watch(plain, name="val")
    expected = [f"val/{n}" for n in range(4)]
    assert list(read(plain)) == expected
    assert list(read(dataset)) == expected
    assert list(read(Subset(dataset, [2]))) == ["val/2"]
    assert Items(current(), plain).origin == "val"


def test_of_two_loaders_over_a_dataset_the_named_one_counts_else_that_of_training() -> None:
    """Both have the same samples; the split is the one that was asked for."""
    dataset = Numbers(4)
    watch(DataLoader(dataset, 2), name="val_view", is_training=False)
    watch(DataLoader(dataset, 2), name="train_loader")
    session = current()
    assert Items(session, dataset).origin == "train_loader"
    assert Items(session, dataset, "val_view").origin == "val_view"
    assert Items(session, dataset, "train").origin == "train"
    assert list(read(dataset, "val_view")) == list(read(dataset))


def test_a_subset_whose_indices_were_changed_is_read_as_it_is_now() -> None:
    """Scripts that grow their training set change the indices in place."""
    subset = Subset(Numbers(), [1, 2])
    loader = watch(DataLoader(subset, 2))
    list(loader)
    subset.indices = [7, 2, 5]
    assert {name: first(item) for name, item in read(loader).items()} == {
        "train/7": 7,
        "train/2": 2,
        "train/5": 5,
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda data: DataLoader(data, 6, shuffle=True),
        lambda data: DataLoader(data, 6, drop_last=True),
        lambda data: DataLoader(data, 6, sampler=WeightedRandomSampler([1.0] * 20, 50)),
        lambda data: DataLoader(data, batch_sampler=Pairs(20)),
        lambda data: DataLoader(
            data,
            batch_size=None,
            sampler=BatchSampler(RandomSampler(range(20)), 6, drop_last=False),
        ),
    ],
    ids=["shuffle", "drop_last", "weighted", "own batch sampler", "lists of indices"],
)
def test_each_sample_comes_once_and_in_order(make: Callable[[Any], Any]) -> None:
    """However the loader draws: no sample is left out, none comes twice."""
    loader = watch(make(TensorDataset(torch.arange(20.0))))
    assert list(read(loader)) == [f"train/{n}" for n in range(20)]


def test_a_sample_that_a_subset_holds_twice_comes_once() -> None:
    """A bootstrap draws a sample several times; it is one sample."""
    bootstrap = Subset(Numbers(), [4, 4, 1, 4])
    items = Items(current(), bootstrap)
    assert items.total == 2
    assert list(read(bootstrap)) == ["train/4", "train/1"]


def test_discarded_samples_are_there() -> None:
    """What is left out of training is still a sample of the dataset."""
    import weightslab as wl

    loader = watch(DataLoader(Numbers(5), 2))
    wl.discard_samples(["train/1", "train/3"])
    assert list(read(loader)) == [f"train/{n}" for n in range(5)]


ITEM: dict[str, Any] = {
    "float": torch.arange(6.0).reshape(2, 3),
    "transposed": torch.arange(6).reshape(2, 3).T,
    "half": torch.ones(2, dtype=torch.bfloat16),
    "complex": torch.tensor([1 + 2j]).conj(),
    "none": torch.zeros(0, 4),
    "number": torch.tensor(3, dtype=torch.uint8),
    "mask": torch.tensor([True, False]),
    "sparse": torch.eye(3).to_sparse(),
    "array": np.arange(4, dtype=np.int16),
    "text": "seven",
    "nested": [(1, {"deep": torch.ones(1)})],
}


class Mixed(Dataset[Any]):
    """Items of everything that a dataset returns."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return {**ITEM, "which": index}


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        one, other = one.to_dense(), other.to_dense()
        return type(one) is type(other) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and bool((one == other).all())
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return bool(one == other)


@pytest.mark.parametrize("context", ["none", "fork", "spawn"])
def test_items_are_what_the_dataset_returned(context: str) -> None:
    """Nothing is collated or converted, in this process or on the way out of a worker."""
    workers = {"num_workers": 2, "multiprocessing_context": context} if context != "none" else {}
    loader = DataLoader(Mixed(), 2, **workers)
    items = read(loader)
    assert list(items) == ["train/0", "train/1", "train/2"]
    for index, item in enumerate(items.values()):
        assert equal(item, {**ITEM, "which": index})


def test_a_view_leaves_a_worker_without_what_it_looks_at() -> None:
    """A row of a large tensor travels as that row, not as the tensor behind it."""
    large = torch.zeros(1000, 1000)
    listed = Listed([large[3]], Origins([0]))
    listed.pack()
    assert isinstance(listed._packed, bytes)
    assert len(listed._packed) < 8_000
    assert torch.equal(listed.items[0], large[3])


class ManyTensors(Dataset[Any]):
    def __len__(self) -> int:
        return 256

    def __getitem__(self, index: int) -> Any:
        return [torch.full((1,), index) for _ in range(16)]


def test_items_of_many_tensors_do_not_use_up_file_descriptors() -> None:
    """A chunk of 64 items of 16 tensors is no problem where a process may open 256 files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        held = read(DataLoader(ManyTensors(), 64, num_workers=2))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(held) == 256
    assert [int(item[0]) for item in held.values()] == list(range(256))


class Unpicklable(Numbers):
    def __getitem__(self, index: int) -> Any:
        return lambda: index


def test_items_that_cannot_leave_a_worker_are_refused_with_the_way_out() -> None:
    """They do not hang the loader; without workers they are items like others."""
    with pytest.raises(InputError, match=r"cannot leave a worker.*num_workers=0"):
        read(DataLoader(Unpicklable(4), 2, num_workers=1))
    assert [item() for item in read(Unpicklable(4)).values()] == [0, 1, 2, 3]


class Holes(Numbers):
    def __getitem__(self, index: int) -> Any:
        return None if index % 2 else super().__getitem__(index)


def test_items_that_are_none_are_left_out_and_said() -> None:
    """A dataset says that a file is broken with None; its neighbours keep their ids."""
    with pytest.warns(WeightsLabWarning):
        assert list(read(Holes(5))) == ["train/0", "train/2", "train/4"]
    assert "some items of 'train' are None" in said()
    assert current().notices.counts()["('items', 'train', 'absent')"] == 2


def refusing(items: list[Any]) -> Any:
    raise ValueError("not like this")


def test_a_collate_function_that_fails_costs_only_the_names() -> None:
    """The items are there; what their batch would have said of ids is not, and that is said."""
    loader = DataLoader(Triples(NAMES), 6, collate_fn=refusing)
    with pytest.warns(WeightsLabWarning):
        assert list(read(loader)) == [f"train/{n}" for n in range(20)]
    assert "ValueError: not like this" in said()


class Wholesale(IterableDataset[Any]):
    """A stream that yields whole batches."""

    def __iter__(self) -> Iterator[Any]:
        for start in (0, 2):
            yield {"x": torch.arange(start, start + 2), "id": [f"s{start}", f"s{start + 1}"]}


class Swallowing(Numbers):
    def __getitems__(self, indices: list[int]) -> Any:
        return [self[indices[0]]]


class Endless:
    def __getitem__(self, index: int) -> Any:
        return index


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: DataLoader(Wholesale(), batch_size=None), "whole batches"),
        (Swallowing, "1 for 20 samples"),
        (Endless, "no length"),
        (lambda: IterableWrapper(range(3)), "data pipe"),
        (lambda: "train", "takes a DataLoader or a dataset"),
        (lambda: {"train": Numbers()}, "takes a DataLoader or a dataset"),
        (lambda: Numbers, "takes a DataLoader or a dataset"),
        (lambda: 7, "takes a DataLoader or a dataset"),
    ],
    ids=["batches", "too few", "no length", "data pipe", "text", "dict", "class", "number"],
)
@pytest.mark.filterwarnings("ignore:.*DataPipe.*")
def test_what_has_no_single_samples_is_refused(data: Callable[[], Any], words: str) -> None:
    """With what came and what to do."""
    with pytest.raises(InputError, match=words):
        read(data())


def test_a_second_dataset_without_an_origin_is_refused() -> None:
    """It would be taken for the samples of the first."""
    watch(DataLoader(Numbers(), 2), name="train")
    with pytest.raises(InputError, match=r"'train' is over another one.*origin="):
        read(Numbers())


def test_an_id_function_that_fails_is_said(tmp_path: Path) -> None:
    """Where the ids cannot be told the items belong to nobody."""
    loader = watch(DataLoader(Numbers(), 2), id_fn=lambda item: item["id"])
    with pytest.raises(InputError, match="id_fn raised"):
        read(loader)


@pytest.mark.parametrize("persistent", [False, True], ids=["workers", "persistent workers"])
def test_the_loaders_own_iterator_goes_on(persistent: bool) -> None:
    """In the middle of an epoch the dataset is read, and the epoch ends as it would have."""
    loader = watch(DataLoader(Numbers(), 4, num_workers=2, persistent_workers=persistent))
    batches = iter(loader)
    seen = [next(batches)[0]]
    iterator, held = loader._iterator, current().registry.loaders["train"]
    assert len(read(loader)) == 20
    seen += [batch[0] for batch in batches]
    assert torch.cat(seen).flatten().tolist() == list(range(20))
    assert loader._iterator is iterator
    assert current().registry.loaders == {"train": held}


def test_an_iteration_that_is_left_leaves_no_worker_behind() -> None:
    """Whoever stops in the middle is rid of the workers as well."""
    import multiprocessing

    before = set(multiprocessing.active_children())
    chunks = iter(Items(current(), DataLoader(Numbers(), 2, num_workers=2)))
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]  # a generator
    del chunks
    assert set(multiprocessing.active_children()) == before
