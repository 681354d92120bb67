from __future__ import annotations

import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightslab.evaluation.underway import Underway


class Iterator:
    """Something that a loop holds."""


def never() -> float:
    return float("-inf")


def test_nothing_was_ever_seen_of_a_training_that_has_not_begun() -> None:
    """Before the first step it is quiet at once."""
    assert Underway(2.0, never).is_quiet(0.0)


def test_a_sign_is_followed_by_a_quiet_time() -> None:
    """One sign of training counts for the quiet time, and no longer."""
    underway = Underway(2.0, never)
    underway.sign(10.0)
    assert not underway.is_quiet(11.9) and underway.is_quiet(12.0)


def test_a_saved_value_is_a_sign() -> None:
    """A loop in which nothing but a loss is watched is under way, too."""
    underway = Underway(2.0, lambda: 10.0)
    assert not underway.is_quiet(11.9) and underway.is_quiet(12.0)


def test_a_loop_with_slow_steps_is_not_over_between_two_of_them() -> None:
    """Steps of five seconds: silence is three of them, until quicker ones have followed."""
    underway = Underway(2.0, never)
    for second in (0.0, 5.0, 10.0):
        underway.sign(second)
    assert not underway.is_quiet(24.9) and underway.is_quiet(25.0)
    for tenth in range(1, 11):
        underway.sign(10.0 + tenth / 10)
    assert underway.is_quiet(13.1)


def test_several_values_of_one_step_do_not_hide_its_pace() -> None:
    """A step of five seconds that saves twenty values at its end is a slow step."""
    underway = Underway(2.0, never)
    for start in (0.0, 5.0, 10.0):
        for value in range(20):
            underway.sign(start + value / 1000)
    assert not underway.is_quiet(24.9)


def test_a_pause_does_not_hide_the_pace() -> None:
    """Whoever waits at a safe point looks up often, and then the slow steps go on."""
    underway = Underway(2.0, never)
    underway.sign(0.0)
    underway.sign(5.0)
    for tenth in range(1, 100):
        underway.stays(5.0 + tenth / 10)
    assert not underway.is_quiet(29.8) and underway.is_quiet(30.0)


def test_a_training_stands_still_when_no_value_was_saved_for_long() -> None:
    """An open epoch, and a thread that waits at a safe point, do not matter."""
    underway, iterator = Underway(2.0, lambda: 10.0), Iterator()
    underway.begin(weakref.ref(iterator))
    underway.sign(11.9)
    assert not underway.is_still(11.9) and underway.is_still(12.0)


def test_a_long_break_is_no_pace() -> None:
    """Ten minutes between two trainings do not make the second one look slow."""
    underway = Underway(2.0, never)
    underway.sign(0.0)
    underway.sign(600.0)
    assert underway.is_quiet(602.0)


def test_an_open_epoch_is_never_quiet() -> None:
    """However long a step takes: while the loop holds the iterator, training is under way."""
    underway, iterator = Underway(2.0, never), Iterator()
    underway.begin(weakref.ref(iterator))
    assert not underway.is_quiet(1e9)
    del iterator
    assert underway.is_quiet(1e9)


def test_an_epoch_that_ended_is_over_though_its_iterator_lives() -> None:
    """Persistent workers keep the iterator of an epoch that is through."""
    underway, iterator = Underway(2.0, never), Iterator()
    key = weakref.ref(iterator)
    underway.begin(key)
    underway.end(key)
    assert underway.is_quiet(0.0)


@given(st.lists(st.floats(0, 100), max_size=20), st.floats(0.01, 10))
def test_it_becomes_quiet_within_a_minute(gaps: list[float], quiet_s: float) -> None:
    """Whatever the pace was: the quiet time at least, a minute at most."""
    underway, now = Underway(quiet_s, never), 0.0
    for gap in gaps:
        now += gap
        underway.sign(now)
    assert underway.is_quiet(now + 60.1)
    if gaps:
        assert not underway.is_quiet(now + quiet_s * 0.99)


@pytest.mark.parametrize("quiet_s", [0.0, 2.0])
def test_the_quiet_time_can_be_set(quiet_s: float) -> None:
    """It is read whenever somebody asks."""
    underway = Underway(5.0, never)
    underway.sign(0.0)
    underway.quiet_s = quiet_s
    assert underway.is_quiet(quiet_s)
