"""A watched optimizer counts updates, and is otherwise what it was."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

import weightslab as wl
from tests.capture.recorded import samples
from weightslab.session import current


def _optimizer(**options: Any) -> torch.optim.Optimizer:
    layer = nn.Linear(2, 1)
    layer(torch.ones(1, 2)).sum().backward()
    return torch.optim.Adam(layer.parameters(), **options)


def test_the_same_object_comes_back() -> None:
    """A watched optimizer is the same object, with the same state."""
    optimizer = _optimizer()
    before = optimizer.state_dict()
    assert wl.watch_or_edit(optimizer, flag="optimizer") is optimizer
    assert optimizer.state_dict() == before


def test_a_step_is_an_update() -> None:
    """Each step makes the model one update older, and values are kept at its age."""
    optimizer = wl.watch_or_edit(_optimizer())
    for value in (1.0, 2.0, 3.0):
        wl.save_signals({"s": [value]}, ["a"])
        optimizer.step()
    assert current().clock.age == 3
    assert [step for _, step, _ in samples("s")] == [0, 1, 2]


def test_watching_twice_counts_once() -> None:
    """An optimizer that is watched twice counts each update once."""
    optimizer = wl.watch_or_edit(wl.watch_or_edit(_optimizer()), flag="optimizer")
    optimizer.step()
    assert current().clock.age == 1


def test_two_optimizers_do_not_double_the_step() -> None:
    """Of two optimizers that step in turn, the age is that of one."""
    both = [wl.watch_or_edit(_optimizer(), obj_name=name) for name in ("g", "d")]
    for optimizer in both:
        optimizer.step()
    assert current().clock.age == 1


@pytest.mark.parametrize("fused", [False, True])
def test_a_skipped_step_is_no_update(fused: bool) -> None:
    """A step that GradScaler skips for infinite gradients does not count."""
    optimizer = wl.watch_or_edit(_optimizer(fused=fused))
    scaler = torch.amp.GradScaler("cpu")
    for grad in (float("inf"), 1.0):
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.grad = torch.full_like(parameter, grad)
        scaler.scale(torch.ones(()))
        scaler.step(optimizer)
        scaler.update()
    assert current().clock.age == 1


@pytest.mark.parametrize("copied", ["deepcopy", "pickle"])
def test_copies_are_clean_and_count_nowhere(copied: str) -> None:
    """A copy has nothing of ours in it, and its steps are not counted."""
    optimizer = wl.watch_or_edit(_optimizer())
    data = pickle.dumps(optimizer)
    twin = copy.deepcopy(optimizer) if copied == "deepcopy" else pickle.loads(data)
    twin.step()
    assert b"weightslab" not in data
    assert current().clock.age == 0


def test_schedulers_see_an_optimizer() -> None:
    """A learning rate scheduler takes a watched optimizer and drives it."""
    optimizer = wl.watch_or_edit(_optimizer(lr=1.0))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_after_a_reset_steps_are_free() -> None:
    """An optimizer of a session that is over steps as ever, and can be watched again."""
    optimizer = wl.watch_or_edit(_optimizer())
    former = current()  # kept alive: the harder case
    wl.reset()
    with pytest.warns(wl.WeightsLabWarning, match=r"training goes on.*this session is closed"):
        optimizer.step()
    wl.watch_or_edit(optimizer)
    optimizer.step()
    assert current().clock.age == 1
    assert former is not current()


def test_something_else_is_refused() -> None:
    """What is no optimizer is refused, and the error says what was expected and what came."""
    with pytest.raises(ValueError, match=r"torch\.optim\.Optimizer, got Linear"):
        wl.watch_or_edit(nn.Linear(1, 1), flag="optimizer")
