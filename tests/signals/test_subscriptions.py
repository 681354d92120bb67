"""Who is fired by a value: every signal at its own steps."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weightslab.signals.definition import Signal
from weightslab.signals.item import Item
from weightslab.signals.subscriptions import Subscription

ONE = np.zeros(1, np.int32)


def subscription(*every: int, **options: bool) -> Subscription:
    made = Subscription("loss")
    made.follow(
        tuple(Signal(f"s{n}", lambda ctx: None, "loss", every=n, **options) for n in every), None
    )
    return made


def heard(made: Subscription, step: int, value: float = 0.0) -> Item | None:
    return made.heard(
        np.array([value], np.float32),
        ONE,
        None,
        step=step,
        experiment_hash=None,
        origin=None,
        chain=("loss",),
    )


@given(
    st.lists(st.one_of(st.integers(0, 15), st.integers(-(2**40), 2**40)), max_size=60),
    st.lists(st.integers(1, 7), min_size=1, max_size=3, unique=True),
)
def test_every_nth_distinct_step(steps: list[int], every: list[int]) -> None:
    """Each fires at its n-th, 2n-th, ... distinct step, at every batch of it, and at no other."""
    made = subscription(*every)
    order: list[int] = []
    for step in steps:
        if step not in order:
            order.append(step)
        item = heard(made, step)
        fired = [] if item is None else [signal.every for signal in item.fires]
        assert fired == [n for n in every if (order.index(step) + 1) % n == 0]


def test_thirty_steps_by_ten() -> None:
    """30 steps with n = 10 fire 3 times."""
    made = subscription(10)
    assert [step for step in range(30) if heard(made, step) is not None] == [9, 19, 29]


def test_a_definition_more_changes_no_numbers() -> None:
    """Who came first goes on counting, whoever joins."""
    made = subscription(3)
    assert [heard(made, step) is not None for step in range(4)] == [False, False, True, False]
    one = made.signals[0]
    made.follow((one, Signal("all", lambda ctx: None, "loss")), None)
    fired = [item.fires for step in range(4, 6) if (item := heard(made, step)) is not None]
    assert [[signal.name for signal in fires] for fires in fired] == [["all"], ["s3", "all"]]


def test_nothing_is_made_of_what_nobody_needs() -> None:
    """A step that fires nobody, of a signal whose history nobody reads, is no item."""
    assert heard(subscription(2), 0) is None
    assert heard(subscription(2, include_history=True), 0) is None  # not yet: nobody has read
    item = heard(subscription(1), 0)
    assert item is not None
    assert item.layer is item.earlier is item.places is None


def test_what_is_kept_is_a_copy() -> None:
    """Values, rows and annotations are the item's own."""
    values, rows, annotations = (
        np.ones(2, np.float32),
        np.arange(2, dtype=np.int32),
        np.ones(2, np.int32),
    )
    item = subscription(1).heard(
        values, rows, annotations, step=0, experiment_hash="h", origin="train", chain=("loss",)
    )
    assert item is not None
    values[:], rows[:], annotations[:] = 7, 7, 7
    assert item.values.tolist() == [1.0, 1.0]
    assert item.rows is not None
    assert item.annotations is not None
    assert (item.rows.tolist(), item.annotations.tolist()) == ([0, 1], [1, 1])
    assert (item.kind, item.experiment_hash, item.origin) == ("instance", "h", "train")
