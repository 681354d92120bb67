"""A training that is edited live is, to the last bit, the one whose loop sets the same by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as schedules
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from weightslab.session import current

Schedule = Callable[[torch.optim.Optimizer], Any]

EPOCHS = 3
EDIT_AFTER = 2
"""The batch of the first epoch in whose body the edit is made: it counts from the next on."""

HP: dict[str, Any] = {
    "optimizer": {"lr": 0.1, "weight_decay": 0.01, "momentum": 0.9},
    "data": {"batch_size": 4},
}

NEW: dict[str, dict[str, Any]] = {
    "lr": {"optimizer.lr": 0.03},
    "weight decay": {"optimizer.weight_decay": 0.2},
    "momentum": {"optimizer.momentum": 0.5},
    "batch size": {"data.batch_size": 6},
    "all": {"optimizer.lr": 0.03, "optimizer.momentum": 0.5, "data.batch_size": 6},
}

SCHEDULES: dict[str, Schedule | None] = {
    "none": None,
    "step": lambda o: schedules.StepLR(o, 4, 0.5),
    "one cycle": lambda o: schedules.OneCycleLR(o, 0.1, total_steps=40, cycle_momentum=False),
}


def parts() -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model with a bias without weight decay, and its optimizer."""
    torch.manual_seed(7)
    model = nn.Linear(5, 3)
    groups = [{"params": [model.weight]}, {"params": [model.bias], "weight_decay": 0.0}]
    return model, torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.01)


def loader(batch_size: int, **options: Any) -> DataLoader[Any]:
    """The loader of every run here."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(18, 5, generator=generator)
    labels = torch.randint(3, (18,), generator=generator)
    return DataLoader(TensorDataset(inputs, labels), batch_size=batch_size, shuffle=True, **options)


def by_hand(changes: Mapping[str, Any], make: Schedule | None) -> list[torch.Tensor]:
    """A plain loop, which sets the values itself: weights after each update."""
    model, optimizer = parts()
    schedule = None if make is None else make(optimizer)
    batch_size = 4
    course = []
    for epoch in range(EPOCHS):
        for number, (inputs, labels) in enumerate(loader(batch_size)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
            course.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
            if (epoch, number) == (0, EDIT_AFTER):
                _set(optimizer, schedule, changes)
        batch_size = changes.get("data.batch_size", batch_size)
    return course


def _set(optimizer: Any, schedule: Any, changes: Mapping[str, Any]) -> None:
    rate = changes.get("optimizer.lr")
    for group in optimizer.param_groups:
        group["momentum"] = changes.get("optimizer.momentum", group["momentum"])
        if group["weight_decay"]:
            group["weight_decay"] = changes.get("optimizer.weight_decay", group["weight_decay"])
        for name in ("lr", "initial_lr", "max_lr", "min_lr"):
            if rate is not None and name in group:
                group[name] = rate if group[name] == 0.1 else group[name] * (rate / 0.1)
    if rate is not None and schedule is not None:
        schedule.base_lrs = [
            rate if base == 0.1 else base * (rate / 0.1) for base in schedule.base_lrs
        ]


def live(changes: Mapping[str, Any], make: Schedule | None, **options: Any) -> list[torch.Tensor]:
    """The same loop, watched, and edited by a client."""
    wl.watch_or_edit(HP, flag="hp")
    model, optimizer = parts()
    wl.watch_or_edit(model, flag="model")
    wl.watch_or_edit(optimizer, flag="optimizer")
    schedule = None if make is None else make(optimizer)
    batches = wl.watch_or_edit(loader(4, **options), flag="data")
    hyperparameters = current().hyperparameters
    assert hyperparameters is not None
    course = []
    for epoch in range(EPOCHS):
        for number, (inputs, labels, _) in enumerate(batches):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
            course.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
            if (epoch, number) == (0, EDIT_AFTER) and changes:
                hyperparameters.edit(changes)
    assert current().notices.messages() == []
    return course


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("changes", NEW)
def test_weights_are_those_of_a_loop_that_sets_the_values_itself(
    changes: str, schedule: str
) -> None:
    """After every update, before and after the edit, and another one for every setting."""
    expected = by_hand(NEW[changes], SCHEDULES[schedule])
    found = live(NEW[changes], SCHEDULES[schedule])
    assert len(found) == len(expected)
    assert all(map(torch.equal, found, expected))
    untouched = by_hand({}, SCHEDULES[schedule])
    assert not torch.equal(found[-1], untouched[-1])


def test_a_training_that_nobody_edits_is_the_plain_one() -> None:
    """Being ready for edits changes nothing."""
    assert all(map(torch.equal, live({}, None), by_hand({}, None)))


@pytest.mark.parametrize("persistent", [False, True])
def test_an_edit_during_an_epoch_with_workers_counts_at_the_same_step(persistent: bool) -> None:
    """Batches that workers have ready do not delay a learning rate: it is set before the next.

    A batch size waits for the next epoch, also of workers that live on.
    """
    changes = {"optimizer.lr": 0.03, "data.batch_size": 6}
    found = live(changes, None, num_workers=2, persistent_workers=persistent)
    expected = by_hand(changes, None)
    assert len(found) == len(expected)
    # Persistent workers draw their seed once, so that the later epochs are shuffled otherwise.
    same = 5 if persistent else len(expected)
    assert all(map(torch.equal, found[:same], expected[:same]))


def test_betas_count_at_the_next_step() -> None:
    """Adam's pair, set by a client and by hand."""
    courses = []
    for edited in (False, True):
        torch.manual_seed(1)
        hp = wl.watch_or_edit({"betas": [0.9, 0.999]}, flag="hp")
        layer = nn.Linear(4, 1)
        optimizer = wl.watch_or_edit(
            torch.optim.Adam(layer.parameters(), betas=tuple(hp.betas)), flag="optimizer"
        )
        for step in range(4):
            layer(torch.ones(1, 4)).sum().backward()
            if step == 2 and edited:
                hyperparameters = current().hyperparameters
                assert hyperparameters is not None
                hyperparameters.edit({"betas": [0.5, 0.9]})
                current().safe_point()
            elif step == 2:
                optimizer.param_groups[0]["betas"] = (0.5, 0.9)
            optimizer.step()
        courses.append(layer.weight.detach().clone())
        wl.reset()
    assert torch.equal(*courses)
