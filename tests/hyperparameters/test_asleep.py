"""A learning rate that is 0 for a while."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as schedules

from tests.hyperparameters.test_live import Scene


def groups(rates: list[Any]) -> torch.optim.Optimizer:
    """An optimizer with a group for each rate."""
    return torch.optim.SGD([{"params": nn.Linear(1, 1).parameters(), "lr": r} for r in rates])


def rates(optimizer: torch.optim.Optimizer) -> list[float]:
    """Those of its groups."""
    return [float(group["lr"]) for group in optimizer.param_groups]


@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_a_frozen_group_stays_frozen_after_a_rate_of_zero(kind: Any) -> None:
    """Groups keep their proportions through 0, tensors their identity."""
    optimizer = groups([kind(0.1), kind(0.0), kind(0.02)])
    scene = Scene(optimizer=optimizer)
    scene.edit("lr", 0.1, 0.0)
    assert rates(optimizer) == [0, 0, 0]
    scene.edit("lr", 0.0, 0.2)
    assert rates(optimizer) == pytest.approx([0.2, 0.0, 0.04])


def test_a_schedule_goes_on_from_where_it_was() -> None:
    """The rate that a scheduler had come to is not forgotten with the 0."""
    optimizer = groups([0.1, 0.0])
    schedule = schedules.StepLR(optimizer, 1, 0.5)
    optimizer.step()
    schedule.step()
    scene = Scene(optimizer=optimizer)
    scene.edit("lr", 0.1, 0.0)
    scene.edit("lr", 0.0, 0.2)
    assert rates(optimizer) == pytest.approx([0.1, 0.0])
    assert schedule.base_lrs == pytest.approx([0.2, 0.0])


def test_what_the_script_set_meanwhile_is_not_overwritten() -> None:
    """A rate that is no longer 0, or another number of groups, is the script's."""
    optimizer = groups([0.1, 0.05])
    scene = Scene(optimizer=optimizer)
    scene.edit("lr", 0.1, 0.0)
    optimizer.add_param_group({"params": nn.Linear(1, 1).parameters(), "lr": 0.0})
    scene.edit("lr", 0.0, 0.2)
    assert rates(optimizer) == [0.2, 0.2, 0.2]
