"""Learning rates that an edit set to 0, which keep no proportion to each other of their own."""

from __future__ import annotations

from typing import Any

from weightslab.hyperparameters.optimizers import IN_GROUPS, IN_SCHEDULERS, put_rate
from weightslab.hyperparameters.schedulers import schedulers_of

__all__ = ["Asleep"]


class Asleep:
    """What an optimizer and its schedulers held before their learning rate became 0.

    Args:
        optimizer: as it is before that edit.
        before: the learning rate that the edit replaces.
    """

    def __init__(self, optimizer: Any, before: float) -> None:
        self.before = before
        self._groups = [
            {name: float(group[name]) for name in IN_GROUPS if group.get(name) is not None}
            for group in optimizer.param_groups
        ]
        self._schedulers = [
            (
                found,
                {name: list(vars(found)[name]) for name in IN_SCHEDULERS if name in vars(found)},
            )
            for found in schedulers_of(optimizer)
        ]

    def wake(self, optimizer: Any) -> bool:
        """Put all of it back; not where the script has set a rate or added a group meanwhile."""
        groups = optimizer.param_groups
        if len(groups) != len(self._groups) or any(float(group["lr"]) for group in groups):
            return False
        for group, held in zip(groups, self._groups, strict=True):
            for name, rate in held.items():
                put_rate(group, name, rate)
        for scheduler, held_lists in self._schedulers:
            for name, rates in held_lists.items():
                vars(scheduler)[name] = list(rates)
        return True
