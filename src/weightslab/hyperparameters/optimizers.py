"""New learning rates, weight decays, momenta and betas for an optimizer that is training.

Optimizers and schedulers are taken for what they hold: `param_groups`, `base_lrs`, ... .
Values come checked (`values.py`). Each function changes all that it should, or nothing.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from weightslab.hyperparameters.names import Setting
from weightslab.hyperparameters.schedulers import schedulers_of
from weightslab.hyperparameters.values import Value

__all__ = ["IN_GROUPS", "IN_SCHEDULERS", "Outcome", "put_rate", "set_held", "set_lr"]

IN_GROUPS = ("lr", "initial_lr", "max_lr", "min_lr", "swa_lr")
IN_SCHEDULERS = ("base_lrs", "max_lrs", "_last_lr")
_BETAS = {"beta1": 0, "beta2": 1}
_CYCLED = frozenset(("momentum", "betas", "beta1"))
"""What `OneCycleLR` and `CyclicLR` drive beside the learning rate."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether an object took a value."""

    applied: bool
    why: str | None = None
    """Why not, or what should be known although it did."""
    groups: frozenset[int] = frozenset()
    """Parameter groups that have the value now."""
    is_lacking: bool = False
    """Whether there is nothing of the kind on the object."""


def set_lr(optimizer: Any, before: float | None, after: float) -> Outcome:
    """Scale every learning rate of an optimizer and of its schedulers by `after / before`.

    So all later steps have the learning rate that they would have had, times that
    factor; groups with a rate of their own keep their proportion to the others. A rate
    that is `before` becomes `after` to the last bit. A rate held as a tensor is filled in
    place. Where `before` is None or 0, a group's first learning rate becomes `after`, and
    its present one keeps its proportion to that; groups whose rates were all 0 are equal
    afterwards (what an edit made 0 comes back by `Asleep`). Where every group has `after`
    already, the script was there first and nothing is changed.

    What is a bound of its own stays: `eta_min` of the cosine schedulers, `min_lr` and `eps`
    of `ReduceLROnPlateau`. A schedule that counts on them differs from the factor by as much.
    """
    groups = optimizer.param_groups
    if not all(_is_number(group.get("lr")) for group in groups):
        rates = _listed(group.get("lr") for group in groups)
        return Outcome(False, f"its learning rate is {rates}, and not a number in every group")
    firsts = [group.get("initial_lr", group["lr"]) for group in groups]
    if all(first == after for first in firsts):
        return Outcome(True)
    moves = [_Move(before or float(first), after) for first in firsts]
    if not all(math.isfinite(move.ratio) for move in moves):
        return Outcome(False, "it is too many times the former learning rate")
    schedulers = schedulers_of(optimizer)
    for group, move in zip(groups, moves, strict=True):
        for name in IN_GROUPS:
            if _is_number(group.get(name)):
                group[name] = move(group[name])
    for scheduler in schedulers:
        held = vars(scheduler)
        for name in IN_SCHEDULERS:
            # A new list: a scheduler of schedulers shares the list of the one at work. It is
            # shorter than the groups where one was added since.
            if isinstance(held.get(name), list):
                held[name] = [move(rate) for move, rate in zip(moves, held[name], strict=False)]
    if not schedulers and gc.get_freeze_count() and any("initial_lr" in group for group in groups):
        return Outcome(True, "its scheduler is out of sight (gc.freeze) and may undo it")
    return Outcome(True)


def put_rate(group: dict[str, Any], name: str, rate: float) -> None:
    """Give a group a learning rate, or fill the tensor that holds it."""
    group[name] = _filled(group[name], rate)


class _Move:
    """What happens to the learning rates of one group."""

    def __init__(self, before: float, after: float) -> None:
        self.before = before
        self.after = after
        self.ratio = after / before if before else 1.0
        self._filled: list[Any] = []

    def __call__(self, rate: Any) -> Any:
        moved = self.after if bool(rate == self.before) else float(rate) * self.ratio
        if not hasattr(rate, "fill_"):
            return moved
        if not any(rate is one for one in self._filled):
            self._filled.append(rate)
            rate.detach().fill_(moved)
        return rate


def set_held(
    optimizer: Any,
    setting: Setting,
    before: Value | None,
    after: Value,
    among: Collection[int] | None = None,
) -> Outcome:
    """Give `after` to the parameter groups that hold `before`; the others have their reasons.

    Biases and normalisations without weight decay stay without it. `among` are the groups
    that took the last edit of this setting: what was set to 0 with them comes back with
    them alone. Where nobody holds `before`, nothing is changed. None: the key is new, and means
    all where they agree.
    """
    held = [_held(group, setting) for group in optimizer.param_groups]
    if all(value is None for value in held):
        return Outcome(False, f"{_class_of(optimizer)} has no {_words(setting)}", is_lacking=True)
    if setting in _CYCLED and any(
        vars(one).get("cycle_momentum") for one in schedulers_of(optimizer)
    ):
        return Outcome(False, f"a scheduler sets its {_words(setting)} with every step")
    if before is None and len({value for value in held if value is not None}) == 1:
        before = next(value for value in held if value is not None)
    takers = [at for at, value in enumerate(held) if value is not None and value == before]
    followers = [at for at in takers if among is None or at in among]
    takers = followers or takers
    if not takers:
        there = frozenset(at for at, value in enumerate(held) if value == after)
        if there:
            return Outcome(True, groups=there)
        present = _listed(value for value in held if value is not None)
        return Outcome(False, f"its {_words(setting)} was not {before!r}, it is {present}")
    if setting == "momentum" and after:
        for at in takers:
            if _lacks_momentum_buffer(optimizer, at):
                return Outcome(
                    False, f"{_class_of(optimizer)} began without momentum and cannot gain it"
                )
    for at in takers:
        _put(optimizer.param_groups[at], setting, after)
    return Outcome(True, groups=frozenset(takers))


def _lacks_momentum_buffer(optimizer: Any, at: int) -> bool:
    """Whether parameters have a state that was made without room for momentum (RMSprop)."""
    states = (optimizer.state.get(one) for one in optimizer.param_groups[at]["params"])
    return any(state and "momentum_buffer" not in state for state in states)


def _held(group: dict[str, Any], setting: Setting) -> Value | None:
    """What a group holds of a setting; None when there is no such thing."""
    if setting in ("betas", *_BETAS):
        betas = group.get("betas")
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            return None
        first, second = float(betas[0]), float(betas[1])
        return (first, second)[_BETAS[setting]] if setting in _BETAS else (first, second)
    value = group.get(setting)
    return float(value) if value is not None and _is_number(value) else None


def _put(group: dict[str, Any], setting: Setting, value: Value) -> None:
    if setting == "betas":
        assert isinstance(value, tuple)
        group["betas"] = tuple(map(_filled, group["betas"], value))
    elif setting in _BETAS:
        betas = list(group["betas"])
        betas[_BETAS[setting]] = _filled(betas[_BETAS[setting]], value)
        group["betas"] = tuple(betas)
    else:
        group[setting] = _filled(group[setting], value)


def _filled(held: Any, value: Any) -> Any:
    """`value`, or the tensor that holds it from now on: a captured graph reads that one."""
    if not hasattr(held, "fill_"):
        return value
    held.detach().fill_(value)
    return held


def _is_number(value: Any) -> bool:
    """Whether it is a number, or a tensor of one."""
    if hasattr(value, "fill_"):
        count: Callable[[], int] = value.numel
        return count() == 1
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _class_of(optimizer: Any) -> str:
    return type(optimizer).__name__


def _words(setting: str) -> str:
    return setting.replace("_", " ")


def _listed(values: Any) -> str:
    return " or ".join(dict.fromkeys(map(repr, values)))
