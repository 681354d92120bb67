"""Edits applied to what is watched, and what was asked beside what holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.hyperparameters.test_loaders import Loader
from weightslab.hyperparameters.changes import MISSING, Change
from weightslab.hyperparameters.live import Live


class Scene:
    """Watched objects, and what was said."""

    def __init__(self, **optimizers: torch.optim.Optimizer) -> None:
        self.held = optimizers
        self.sizes = {"train": Loader(8)}
        self.said: list[str] = []
        self.switched: list[bool] = []
        self.live = Live(self, lambda _, message: self.said.append(message))

    def optimizers(self) -> Any:
        return self.held

    def loaders(self) -> Any:
        return self.sizes

    def train(self, is_training: bool) -> None:
        self.switched.append(is_training)

    def edit(self, key: str, before: Any, after: Any, step: int = 5) -> dict[str, Any]:
        """Apply one change; gives what became of it."""
        self.live.apply({key: Change(before, after)}, step)
        return self.live.describe()[key]


def sgd(**options: Any) -> torch.optim.Optimizer:
    """An optimizer of one layer."""
    return torch.optim.SGD(nn.Linear(2, 1).parameters(), **{"lr": 0.1, **options})


def rate(optimizer: torch.optim.Optimizer) -> float:
    """Its learning rate."""
    return float(optimizer.param_groups[0]["lr"])


def test_what_was_applied_is_shown_with_its_step() -> None:
    """Requested and applied are one value, since the step at which it was applied."""
    scene = Scene(optimizer=sgd())
    assert scene.edit("lr", 0.1, 0.2) == {
        "requested": 0.2, "applied": 0.2, "step": 5, "why": None,
    }  # fmt: skip
    assert rate(scene.held["optimizer"]) == 0.2
    assert scene.said == []


@pytest.mark.parametrize("bad", [-1.0, float("nan"), "fast", True, None, MISSING])
def test_a_value_that_is_none_changes_nothing(bad: Any) -> None:
    """It is said, the applied value stays, and the next one is measured against that."""
    scene = Scene(optimizer=sgd())
    scene.edit("lr", 0.1, 0.2, step=3)
    shown = scene.edit("lr", 0.2, bad)
    assert (shown["applied"], shown["step"]) == (0.2, 3)
    assert shown["why"] in scene.said[0]
    assert rate(scene.held["optimizer"]) == 0.2
    assert scene.edit("lr", bad, 0.4)["applied"] == 0.4
    assert rate(scene.held["optimizer"]) == 0.4


def test_a_key_that_nothing_takes_is_left_to_the_code_that_reads_it() -> None:
    """It is said, and what the objects have is untouched."""
    scene = Scene(optimizer=sgd())
    shown = scene.edit("epochs", 3, 5)
    assert (shown["requested"], shown["applied"], shown["step"]) == (5, 3, None)
    assert scene.said == [f"hyperparameter epochs: {shown['why']}"]
    assert "code that reads it from the handle sees it" in scene.said[0]


def test_a_slip_of_the_pen_is_answered_with_the_name_that_is_near() -> None:
    """`optimizer.lrr` may be meant for the learning rate: it is left alone, and that is said."""
    scene = Scene(optimizer=sgd())
    scene.edit("optimizer.lrr", 0.1, 0.2)
    assert "nothing watched takes it (did you mean 'lr'?)" in scene.said[0]


def test_a_prefix_of_something_else_reaches_no_optimizer() -> None:
    """`scheduler.lr` is not the learning rate of the optimizer."""
    scene = Scene(optimizer=sgd())
    shown = scene.edit("scheduler.lr", 0.1, 0.2)
    assert "'scheduler' is nothing that is watched" in shown["why"]
    assert rate(scene.held["optimizer"]) == 0.1


def test_a_named_optimizer_is_edited_alone() -> None:
    """The others keep theirs; a key without a name means all."""
    scene = Scene(actor=sgd(), critic=sgd())
    scene.edit("critic.lr", 0.1, 0.2)
    assert [rate(one) for one in scene.held.values()] == [0.1, 0.2]
    scene.edit("lr", 0.1, 0.3)
    assert [rate(one) for one in scene.held.values()] == pytest.approx([0.3, 0.6])


def test_one_optimizer_under_two_names_is_scaled_once() -> None:
    """It is one object."""
    optimizer = sgd()
    scene = Scene(a=optimizer, b=optimizer)
    scene.edit("lr", 0.2, 0.4)
    assert rate(optimizer) == 0.2


def test_what_the_handle_says_between_two_objects_counts_for_the_later_one() -> None:
    """An optimizer that was made with an edited value is scaled from that value."""
    scene = Scene()
    assert "no optimizer is watched" in scene.edit("lr", 0.1, 0.2)["why"]
    scene.held["optimizer"] = sgd(lr=0.2)
    scene.edit("lr", 0.2, 0.4)
    assert rate(scene.held["optimizer"]) == 0.4


def test_an_optimizer_that_has_no_such_thing_is_passed_over() -> None:
    """Momentum of SGD beside Adam; it is said only where nobody has it."""
    adam = torch.optim.Adam(nn.Linear(2, 1).parameters())
    scene = Scene(a=adam, b=sgd(momentum=0.9))
    assert scene.edit("momentum", 0.9, 0.8)["why"] is None
    del scene.held["b"]
    assert scene.edit("momentum", 0.8, 0.7)["why"] == "Adam has no momentum ('a')"


def test_an_optimizer_that_holds_another_value_is_named() -> None:
    """The value is applied where it was held, and who did not take it is said."""
    scene = Scene(a=sgd(weight_decay=0.1), b=sgd(weight_decay=0.5))
    shown = scene.edit("weight_decay", 0.1, 0.2)
    assert shown["applied"] == 0.2
    assert shown["why"] == "its weight decay was not 0.1, it is 0.5 ('b')"
    assert len(scene.said) == 1


def test_an_optimizer_that_raises_costs_only_its_own_edit() -> None:
    """An error in an object of the user's is a reason, and the others are edited."""

    class Odd:
        @property
        def param_groups(self) -> Any:
            raise RuntimeError("not now")

    scene = Scene(good=sgd())
    scene.held["odd"] = Odd()  # type: ignore[assignment]
    shown = scene.edit("weight_decay", 0, 0.1)
    assert shown["applied"] == 0.1
    assert shown["why"] == "RuntimeError: not now ('odd')"


def test_keys_that_are_linked_set_an_optimizer_once() -> None:
    """`optimizer.lr: ${lr}` changes with `lr`, and the groups are scaled by it once."""
    layer = nn.Linear(2, 1)
    groups = [{"params": [layer.weight]}, {"params": [layer.bias], "lr": 0.025}]
    scene = Scene(optimizer=torch.optim.SGD(groups, lr=0.1))
    both = {key: Change(0.1, 0.2) for key in ("lr", "optimizer.lr")}
    scene.live.apply(both, 1)
    assert [group["lr"] for group in scene.held["optimizer"].param_groups] == [0.2, 0.05]
    assert [one["applied"] for one in scene.live.describe().values()] == [0.2, 0.2]


def test_of_keys_that_contradict_the_one_with_the_longest_prefix_counts() -> None:
    """The other is not applied, and the one that was is named."""
    scene = Scene(optimizer=sgd())
    scene.live.apply({"lr": Change(0.1, 0.2), "optimizer.lr": Change(0.1, 0.4)}, 1)
    assert rate(scene.held["optimizer"]) == 0.4
    shown = scene.live.describe()["lr"]
    assert (shown["applied"], shown["why"]) == (0.1, "optimizer.lr sets it, to 0.4 ('optimizer')")


def test_the_switch_comes_last() -> None:
    """What came with a pause holds before training waits."""
    scene = Scene(optimizer=sgd())
    scene.live.apply({"is_training": Change(True, False), "lr": Change(0.1, 0.2)}, 1)
    assert list(scene.live.describe()) == ["lr", "is_training"]
    assert scene.switched == [False]


def test_zero_and_back_leaves_the_biases_without_weight_decay() -> None:
    """Groups that were 0 beside the edited ones are remembered."""
    layer = nn.Linear(2, 1)
    groups = [{"params": [layer.weight], "weight_decay": 0.1}, {"params": [layer.bias]}]
    scene = Scene(optimizer=torch.optim.SGD(groups, lr=0.1))
    scene.edit("wd", 0.1, 0.0)
    scene.edit("wd", 0.0, 0.2)
    held = [group["weight_decay"] for group in scene.held["optimizer"].param_groups]
    assert held == [0.2, 0]


class Busy(Loader):
    """A loader in the middle of an epoch of batches of 8."""

    current = 8  # type: ignore[assignment]


def test_a_batch_size_holds_from_the_next_epoch_on() -> None:
    """Until then the one of the epoch under way is shown as applied, however often it changed."""
    scene = Scene()
    busy = scene.sizes["train"] = Busy(8)
    for before, after in ((8, 16), (16, 32)):
        shown = scene.edit("bs", before, after)
        assert (shown["requested"], shown["applied"]) == (after, 8)
        assert shown["why"] == "from the next epoch on"
    busy.current = 32  # type: ignore[misc]
    assert scene.live.describe()["bs"]["applied"] == 32
    assert scene.live.describe()["bs"]["why"] is None


def test_a_loader_that_raises_costs_only_its_own_edit() -> None:
    """A sampler of the user's may do so when it is asked; what else was edited is applied."""

    class Raising(Loader):
        def resize(self, size: int) -> None:
            raise RuntimeError(f"not {size}")

    scene = Scene(optimizer=sgd())
    scene.sizes["train"] = Raising(8)
    scene.live.apply({"bs": Change(8, 16), "lr": Change(0.1, 0.2)}, 1)
    shown = scene.live.describe()
    assert (shown["bs"]["applied"], shown["bs"]["why"]) == (8, "RuntimeError: not 16")
    assert shown["lr"]["applied"] == rate(scene.held["optimizer"]) == 0.2
