"""Ids that were edited before their samples appeared."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

import weightslab as wl
from weightslab.errors import WeightsLabWarning


class Named(Dataset):  # type: ignore[type-arg]
    def __init__(self, names: list[str]) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, str]:
        return torch.tensor([float(index)]), 0, self.names[index]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeightsLabWarning)
        yield


def table() -> list[tuple[str, bool, bool]]:
    frame = wl.samples()
    return frame.select("sample_id", "tag:early", "discarded").rows()


@pytest.mark.parametrize("reopened", [False, True])
def test_an_index_that_was_tagged_early_is_tagged_when_its_dataset_comes(reopened: bool) -> None:
    """A tag on "train/1" before the dataset is known is the sample's, and makes no second row."""
    wl.tag_samples(["train/1"], "early")
    wl.discard_samples(["train/2"])
    assert wl.samples().height == 0
    if reopened:
        wl.reset()
    data = TensorDataset(torch.arange(4.0), torch.zeros(4))
    loader = wl.watch_or_edit(DataLoader(data, batch_size=2), flag="data", loader_name="train")
    assert [list(ids) for *_, ids in loader] == [["train/0", "train/1"], ["train/3"]]
    expected = [(f"train/{i}", i == 1, i == 2) for i in range(4)]
    assert sorted(table()) == expected
    wl.reset()
    assert sorted(table()) == expected


def test_a_name_that_was_tagged_early_is_tagged_when_its_sample_appears() -> None:
    """A tag on a name that nobody knows is its sample's as soon as a batch brings it."""
    wl.tag_samples(["cat.png"], "early")
    data = Named(["dog.png", "cat.png"])
    loader = wl.watch_or_edit(DataLoader(data, batch_size=2), flag="data", loader_name="train")
    for _ in loader:
        pass
    assert sorted(table()) == [("cat.png", True, False), ("dog.png", False, False)]
    wl.reset()
    assert sorted(table()) == [("cat.png", True, False), ("dog.png", False, False)]


def test_an_id_at_two_indices_is_one_row_of_the_table() -> None:
    """An id that repeats is one sample: no empty row stands for its second place."""
    data = Named(["a", "b", "a"])
    loader = wl.watch_or_edit(DataLoader(data, batch_size=3), flag="data", loader_name="train")
    wl.tag_samples(["a"], "early")
    for _ in range(2):
        for _ in loader:
            pass
    assert sorted(name for name, *_ in table()) == ["a", "b"]
    wl.reset()
    again = wl.watch_or_edit(DataLoader(data, batch_size=3), flag="data", loader_name="train")
    for _ in again:
        pass
    assert sorted(name for name, *_ in table()) == ["a", "b"]
