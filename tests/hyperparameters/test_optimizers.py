"""New values for an optimizer that is training, with schedulers that nobody registered."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler as schedules

from weightslab.hyperparameters.optimizers import set_held, set_lr

Make = Callable[[torch.optim.Optimizer], Any]


def _chained(optimizer: torch.optim.Optimizer) -> Any:
    parts = [schedules.ExponentialLR(optimizer, 0.9), schedules.StepLR(optimizer, 3, 0.5)]
    return schedules.ChainedScheduler(parts, optimizer)


def _sequential(optimizer: torch.optim.Optimizer) -> Any:
    warm_up = schedules.LinearLR(optimizer, 0.1, total_iters=4)
    cosine = schedules.CosineAnnealingLR(optimizer, 8)
    return schedules.SequentialLR(optimizer, [warm_up, cosine], [4])


def _cyclic(optimizer: torch.optim.Optimizer, mode: Any) -> Any:
    lowest = [group["lr"] for group in optimizer.param_groups]
    highest = [5 * rate for rate in lowest]
    return schedules.CyclicLR(optimizer, lowest, highest, 3, mode=mode, cycle_momentum=False)


SCHEDULES: dict[str, Make] = {
    "none": lambda _: None,
    "step": lambda o: schedules.StepLR(o, 3, 0.5),
    "multi step": lambda o: schedules.MultiStepLR(o, [2, 5], 0.3),
    "exponential": lambda o: schedules.ExponentialLR(o, 0.8),
    "lambda": lambda o: schedules.LambdaLR(o, lambda step: 1 / (1 + step)),
    "lambda from zero": lambda o: schedules.LambdaLR(o, lambda step: step / 10),
    "multiplicative": lambda o: schedules.MultiplicativeLR(o, lambda _: 0.9),
    "linear": lambda o: schedules.LinearLR(o, 0.25, total_iters=6),
    "constant": lambda o: schedules.ConstantLR(o, 0.5, total_iters=5),
    "polynomial": lambda o: schedules.PolynomialLR(o, total_iters=9, power=2),
    "cosine": lambda o: schedules.CosineAnnealingLR(o, 8),
    "warm restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 4, 2),
    "one cycle": lambda o: schedules.OneCycleLR(
        o, [group["lr"] for group in o.param_groups], total_steps=14, cycle_momentum=False
    ),
    "cyclic": lambda o: _cyclic(o, "triangular"),
    "cyclic, lower and lower": lambda o: _cyclic(o, "triangular2"),
    "plateau": lambda o: schedules.ReduceLROnPlateau(o, factor=0.5, patience=1, eps=0),
    "averaging": lambda o: torch.optim.swa_utils.SWALR(o, 0.05, anneal_epochs=5),
    "chained": _chained,
    "sequential": _sequential,
}


def _optimizer(rates: list[float], make: type[torch.optim.Optimizer] = torch.optim.SGD) -> Any:
    groups = [{"params": nn.Linear(2, 1).parameters(), "lr": rate} for rate in rates]
    return make(groups, lr=rates[0])


def _rates(optimizer: Any) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


def _course(
    make: Make, rates: list[float], edits: dict[int, tuple[float, float]], steps: int = 12
) -> list[list[float]]:
    """Learning rates of every step; `edits`: (before, after) that are set before a step."""
    optimizer = _optimizer(rates)
    schedule = make(optimizer)
    course = []
    for step in range(steps):
        if step in edits:
            assert set_lr(optimizer, *edits[step]).applied
        course.append(_rates(optimizer))
        optimizer.step()
        if isinstance(schedule, schedules.ReduceLROnPlateau):
            schedule.step(1.0)
        elif schedule is not None:
            schedule.step()
    return course


@pytest.mark.parametrize("name", SCHEDULES)
@settings(max_examples=10, deadline=None)
@given(
    at=st.integers(0, 11),
    factor=st.sampled_from([0.1, 0.5, 0.3, 2.0, 10.0]),
    first=st.sampled_from([0.1, 0.3, 1.0]),
)
def test_later_learning_rates_are_the_factor_times_those_of_the_unedited_run(
    name: str, at: int, factor: float, first: float
) -> None:
    """Under every schedule, groups keep their proportions and the schedule goes on."""
    rates = [first, first / 4]
    plain = _course(SCHEDULES[name], rates, {})
    edited = _course(SCHEDULES[name], rates, {at: (first, first * factor)})
    assert edited[:at] == plain[:at]
    for after, before in zip(edited[at:], plain[at:], strict=True):
        assert after == pytest.approx([factor * rate for rate in before], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("name", SCHEDULES)
def test_there_and_back_is_the_unedited_run(name: str) -> None:
    """Doubled and halved again, to the last bit."""
    rates = [0.1, 0.025]
    edits = {3: (0.1, 0.2), 5: (0.2, 0.1)}
    plain, edited = _course(SCHEDULES[name], rates, {}), _course(SCHEDULES[name], rates, edits)
    assert edited[5:] == plain[5:]


def test_a_group_that_holds_the_former_value_gets_the_new_one_to_the_last_bit() -> None:
    """No rounding of a ratio stands between the hyperparameter and the optimizer."""
    optimizer = _optimizer([0.3, 0.1])
    schedule = schedules.StepLR(optimizer, 5)
    set_lr(optimizer, 0.3, 0.7)
    assert optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["initial_lr"] == 0.7
    assert schedule.base_lrs[0] == schedule.get_last_lr()[0] == 0.7
    assert optimizer.param_groups[1]["lr"] == pytest.approx(0.7 / 3)


@pytest.mark.parametrize("before", [None, 0.0])
def test_without_a_former_value_the_first_learning_rate_is_set(before: float | None) -> None:
    """A schedule that is half way down stays half way down from the new start."""
    optimizer = _optimizer([0.4, 0.1])
    schedule = schedules.StepLR(optimizer, 1, 0.5)
    optimizer.step()
    schedule.step()
    set_lr(optimizer, before, 1.0)
    assert _rates(optimizer) == [0.5, 0.5]
    assert schedule.base_lrs == [1.0, 1.0]


def test_from_zero_every_group_gets_the_value() -> None:
    """Nothing is left of a proportion to zero."""
    optimizer = _optimizer([0.4, 0.1])
    set_lr(optimizer, 0.4, 0.0)
    assert _rates(optimizer) == [0.0, 0.0]
    set_lr(optimizer, 0.0, 0.2)
    assert _rates(optimizer) == [0.2, 0.2]


def test_what_the_script_has_set_itself_is_not_set_twice() -> None:
    """Where every group has the new value already, nothing is scaled."""
    optimizer = _optimizer([0.4, 0.4])
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    assert set_lr(optimizer, 0.4, 0.1).applied
    assert _rates(optimizer) == [0.1, 0.1]


def test_a_tensor_is_filled_in_place() -> None:
    """A captured graph reads the tensor that it was captured with."""
    rate = torch.tensor(0.5)
    optimizer = torch.optim.Adam(nn.Linear(2, 1).parameters(), lr=rate, fused=True)
    schedule = schedules.ExponentialLR(optimizer, 0.5)
    assert set_lr(optimizer, 0.5, 0.2).applied
    held = optimizer.param_groups[0]["lr"]
    assert held is rate
    assert held == torch.tensor(0.2)
    assert schedule.base_lrs[0] == torch.tensor(0.2)
    optimizer.step()
    schedule.step()
    assert held is optimizer.param_groups[0]["lr"]
    assert held == torch.tensor(0.1)


def test_a_group_that_joined_after_its_schedule_is_scaled_too() -> None:
    """The schedule's own rates are shorter than the groups then."""
    optimizer = _optimizer([0.4])
    schedule = schedules.StepLR(optimizer, 5)
    optimizer.add_param_group({"params": nn.Linear(1, 1).parameters(), "lr": 0.2})
    set_lr(optimizer, 0.4, 0.8)
    assert _rates(optimizer) == [0.8, 0.4]
    assert schedule.base_lrs == [0.8]


def test_schedules_of_another_optimizer_stay() -> None:
    """Only those that drive this one are scaled."""
    mine, other = _optimizer([0.4]), _optimizer([0.4])
    schedule = schedules.StepLR(other, 5)
    set_lr(mine, 0.4, 0.8)
    assert schedule.base_lrs == [0.4]
    assert _rates(other) == [0.4]


def test_bounds_of_their_own_stay() -> None:
    """`eta_min` and `min_lr` are what the user named, and no part of the learning rate."""
    optimizer = _optimizer([0.4])
    cosine = schedules.CosineAnnealingLR(optimizer, 4, eta_min=0.1)
    plateau = schedules.ReduceLROnPlateau(optimizer, min_lr=0.05)
    set_lr(optimizer, 0.4, 0.8)
    assert cosine.eta_min == 0.1
    assert plateau.min_lrs == [0.05]


def test_a_ratio_beyond_all_numbers_changes_nothing() -> None:
    """Infinity is no learning rate."""
    optimizer = _optimizer([0.4])
    outcome = set_lr(optimizer, 5e-324, 1.0)
    assert not outcome.applied
    assert outcome.why is not None
    assert _rates(optimizer) == [0.4]


def test_an_optimizer_without_a_number_is_left_alone() -> None:
    """An optimizer that makes its own learning rate says what it holds instead."""
    optimizer = _optimizer([0.4])
    optimizer.param_groups[0]["lr"] = None
    outcome = set_lr(optimizer, 0.4, 0.8)
    assert (outcome.applied, outcome.why) == (
        False,
        "its learning rate is None, and not a number in every group",
    )


def test_accelerate_s_wrapper_is_reached_with_its_schedule() -> None:
    """The wrapper's groups are those of the optimizer in it, and so are its schedules."""
    accelerate = pytest.importorskip("accelerate")
    optimizer = _optimizer([0.4])
    schedule = schedules.LambdaLR(optimizer, lambda _: 1.0)
    accelerator = accelerate.Accelerator(cpu=True)
    prepared, prepared_schedule = accelerator.prepare(optimizer, schedule)
    assert set_lr(prepared, 0.4, 0.2).applied
    prepared.step()
    prepared_schedule.step()
    assert _rates(optimizer) == [0.2]


def test_groups_without_weight_decay_stay_without() -> None:
    """Biases and normalisations have 0 on purpose."""
    optimizer = _optimizer([0.1, 0.1, 0.1])
    for group, decay in zip(optimizer.param_groups, (0.01, 0.0, 0.05), strict=True):
        group["weight_decay"] = decay
    outcome = set_held(optimizer, "weight_decay", 0.01, 0.02)
    assert outcome.applied
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.02, 0.0, 0.05]


def test_what_was_set_to_zero_comes_back_alone() -> None:
    """The groups that took the last edit take the next: those that were 0 before do not."""
    optimizer = _optimizer([0.1, 0.1])
    optimizer.param_groups[0]["weight_decay"] = 0.01
    off = set_held(optimizer, "weight_decay", 0.01, 0.0)
    on = set_held(optimizer, "weight_decay", 0.0, 0.02, among=off.groups)
    assert on.groups == {0}
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.02, 0]


def test_a_value_that_nobody_held_is_not_applied_and_said() -> None:
    """The outcome says what is there instead."""
    optimizer = _optimizer([0.1, 0.1])
    optimizer.param_groups[0]["momentum"] = 0.5
    outcome = set_held(optimizer, "momentum", 0.9, 0.8)
    assert not outcome.applied
    assert outcome.why == "its momentum was not 0.9, it is 0.5 or 0.0"
    assert [group["momentum"] for group in optimizer.param_groups] == [0.5, 0]


def test_a_new_key_means_all_groups_where_they_agree() -> None:
    """Without a former value there is nothing to compare with."""
    optimizer = _optimizer([0.1, 0.1])
    assert set_held(optimizer, "weight_decay", None, 0.3).groups == {0, 1}
    optimizer.param_groups[0]["weight_decay"] = 0.1
    assert not set_held(optimizer, "weight_decay", None, 0.2).applied


def test_betas_are_set_together_or_one_by_one() -> None:
    """A pair in the configuration, or two keys."""
    optimizer = _optimizer([0.1], torch.optim.Adam)
    group = optimizer.param_groups[0]
    assert set_held(optimizer, "betas", (0.9, 0.999), (0.8, 0.99)).applied
    assert group["betas"] == (0.8, 0.99)
    assert set_held(optimizer, "beta1", 0.8, 0.7).applied
    assert set_held(optimizer, "beta2", 0.99, 0.95).applied
    assert group["betas"] == (0.7, 0.95)
    outcome = set_held(optimizer, "momentum", 0.9, 0.8)
    assert (outcome.applied, outcome.is_lacking) == (False, True)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.RMSprop])
def test_momentum_that_an_optimizer_cannot_gain_does_not_end_training(
    make: type[torch.optim.Optimizer],
) -> None:
    """SGD makes its buffer when it needs it; RMSprop would raise at the next step, and does not."""
    layer = nn.Linear(2, 1)
    optimizer = make(layer.parameters(), lr=0.1)
    for _ in range(2):
        layer(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        outcome = set_held(optimizer, "momentum", 0.0, 0.9)
    optimizer.step()
    gains = make is torch.optim.SGD
    assert optimizer.param_groups[0]["momentum"] == (0.9 if gains else 0)
    assert outcome.applied is gains


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam])
def test_momentum_that_a_schedule_drives_is_left_to_it(make: type[torch.optim.Optimizer]) -> None:
    """The schedule would undo the edit at its next step."""
    optimizer = _optimizer([0.1], make)
    schedule = schedules.OneCycleLR(optimizer, 0.1, total_steps=10)
    setting: Any = "momentum" if make is torch.optim.SGD else "beta1"
    outcome = set_held(optimizer, setting, 0.95, 0.5)
    assert schedule.cycle_momentum
    assert outcome.why == f"a scheduler sets its {setting} with every step"


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=4), st.floats(1e-6, 10))
@settings(max_examples=50, deadline=None)
def test_proportions_of_groups_are_kept(rates: list[float], after: float) -> None:
    """Whatever the rates of the groups are, an edit scales all by one factor."""
    optimizer = _optimizer(rates)
    set_lr(optimizer, rates[0], after)
    for new, old in zip(_rates(optimizer), rates, strict=True):
        assert math.isclose(new / after, old / rates[0], rel_tol=1e-9)
