"""Which loaders an edit of the batch size means."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from weightslab.hyperparameters.loaders import resized
from weightslab.hyperparameters.values import Refusal


@dataclass
class Loader:
    """A loader that takes any size, or none."""

    batch_size: int | None
    is_training: bool = True
    refuses: str | None = None

    @property
    def current(self) -> int | None:
        return self.batch_size

    def resize(self, size: int) -> None:
        if self.refuses is not None:
            raise Refusal(self.refuses)
        self.batch_size = size


def test_training_loaders_of_the_former_size_are_meant() -> None:
    """Others have a size of their own, and validation is not training."""
    loaders = {"train": Loader(8), "more": Loader(4), "val": Loader(8, is_training=False)}
    assert resized(loaders, None, 8, 16) == ["train"]
    assert [loader.batch_size for loader in loaders.values()] == [16, 4, 8]


def test_a_loader_that_the_key_names_is_meant_alone() -> None:
    """Whatever its size was, and whether it trains."""
    loaders = {"train": Loader(8), "val": Loader(100, is_training=False)}
    assert resized(loaders, "val", 8, 16) == ["val"]
    assert [loader.batch_size for loader in loaders.values()] == [8, 16]


def test_a_new_key_means_all_where_they_agree() -> None:
    """There is no former value that could tell them apart."""
    loaders = {"a": Loader(8), "b": Loader(8)}
    assert resized(loaders, None, None, 16) == ["a", "b"]
    loaders["b"].batch_size = 4
    with pytest.raises(Refusal, match="'a' has 16, 'b' has 4"):
        resized(loaders, None, None, 8)


def test_nobody_with_the_former_size_is_said() -> None:
    """The refusal says what the loaders have."""
    with pytest.raises(Refusal, match="no training loader had batches of 32: 'train' has 8"):
        resized({"train": Loader(8)}, None, 32, 16)
    with pytest.raises(Refusal, match="no training loader is watched"):
        resized({"val": Loader(8, is_training=False)}, None, 8, 16)


def test_a_loader_that_has_the_size_already_is_fine() -> None:
    """The script was there first."""
    assert resized({"train": Loader(16)}, None, 8, 16) == ["train"]
    assert resized({"train": Loader(16, refuses="never")}, "train", 8, 16) == ["train"]


def test_a_loader_that_cannot_is_said_by_name() -> None:
    """Where no other can, that is the reason."""
    loaders = {"odd": Loader(8, refuses="batches of its own")}
    with pytest.raises(Refusal, match="not by 'odd': batches of its own"):
        resized(loaders, None, 8, 16)
    assert resized(loaders | {"train": Loader(8)}, None, 8, 16) == ["train"]
