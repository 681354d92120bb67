"""The step: number of training updates completed before a batch, from 0."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

__all__ = ["StepClock"]


class StepClock:
    """Counts updates of the watched optimizers; without one, calls by signal.

    `by_hand` is called before each value of a loop that has no watched optimizer:
    there the saving call is the only sign of a training step. It gives the step where an
    evaluation is what saves: that counts nothing. `of_batch` gives the step of the batch at
    hand, if there is one.
    """

    def __init__(
        self, by_hand: Callable[[], int | None], of_batch: Callable[[], int | None]
    ) -> None:
        self._updates: list[int] = []
        self._calls: defaultdict[str, int] = defaultdict(int)
        self._by_hand = by_hand
        self._of_batch = of_batch
        self.age = 0
        """Training updates completed: of several optimizers, the one that stepped most."""
        self._is_driven = False

    @property
    def has_optimizer(self) -> bool:
        """Whether an optimizer is watched, or a trainer says how many updates there were."""
        return self._is_driven or bool(self._updates)

    def drive(self, age: int) -> None:
        """A trainer counts the updates by itself, and has completed `age` of them."""
        self._is_driven = True
        self.age = age

    def let_go(self) -> None:
        """The trainer is through: watched optimizers count on from where it left."""
        self._is_driven = False
        self._updates = [self.age] * len(self._updates)

    def watch_optimizer(self) -> int:
        """Take up an optimizer; gives the token to `advance` with."""
        self._updates.append(self.age)
        return len(self._updates) - 1

    def advance(self, token: int) -> None:
        """One optimizer completed an update."""
        if self._is_driven:
            return
        updates = self._updates
        updates[token] += 1
        self.age = max(self.age, updates[token])

    def step(self, signal: str, explicit: int | None) -> int:
        """Step of a value of `signal`.

        The explicit one; else the updates completed before the batch at hand, or before
        now where no watched loader gave it; without an optimizer one more per call.
        """
        if not self.has_optimizer:
            evaluated = self._by_hand()
            if evaluated is not None:
                return evaluated
        if explicit is not None:
            return int(explicit)
        if self.has_optimizer:
            of_batch = self._of_batch()
            return self.age if of_batch is None else of_batch
        calls = self._calls[signal]
        self._calls[signal] = calls + 1
        return calls
