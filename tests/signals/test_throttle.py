"""Every n-th distinct step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weightslab.signals.throttle import StepCount

STEPS = st.one_of(
    st.lists(st.integers(0, 12)),
    st.lists(st.integers(-(2**63), 2**63 - 1)),
    st.lists(st.integers(0, 40)).map(sorted),
)


@given(STEPS)
def test_a_step_has_the_number_of_its_first_appearance(steps: list[int]) -> None:
    """Whatever the order and however often a step comes again, it keeps one number, from 1."""
    count = StepCount()
    first: dict[int, int] = {}
    for step in steps:
        expected = first.setdefault(step, len(first) + 1)
        assert count.number(step) == expected


def test_epochs_that_count_from_nothing_keep_their_numbers() -> None:
    """A loop whose steps begin anew in each epoch has as many distinct steps as one epoch."""
    count = StepCount()
    epochs = [[count.number(step) for step in range(5)] for _ in range(3)]
    assert epochs == [[1, 2, 3, 4, 5]] * 3
