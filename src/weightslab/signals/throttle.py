"""Which steps of a subscribed signal fire: every n-th distinct one."""

from __future__ import annotations

from array import array
from bisect import bisect_left

__all__ = ["StepCount"]


class StepCount:
    """Numbers the distinct steps at which a signal has appeared, from 1, in order of appearance.

    A step that comes again, at once (gradient accumulation) or much later (a loop that
    counts from 0 in each epoch), keeps its number. 16 bytes a step while steps grow.
    """

    def __init__(self) -> None:
        self._steps = array("q")
        self._numbers = array("q")
        self._late: dict[int, int] = {}
        """Steps that first came after a greater one."""
        self._count = 0

    def number(self, step: int) -> int:
        """The number of a step; a new step gets the next one."""
        steps = self._steps
        if not steps or step > steps[-1]:
            self._count += 1
            steps.append(step)
            self._numbers.append(self._count)
            return self._count
        at = len(steps) - 1 if step == steps[-1] else bisect_left(steps, step)
        if steps[at] == step:
            return self._numbers[at]
        found = self._late.get(step)
        if found is None:
            self._count += 1
            found = self._late[step] = self._count
        return found
