"""The decorator: what it takes, what it refuses, what it gives back."""

from __future__ import annotations

import functools
from typing import Any

import pytest

import weightslab as wl
from weightslab.errors import InputError
from weightslab.session import current


def plain(ctx: Any) -> float:
    return 1.0


def defined(name: str) -> Any:
    found = current().signals.registry.get(name)
    assert found is not None
    return found


def test_it_works_without_a_call() -> None:
    """`@wl.signal` alone registers a static signal by the function's name."""
    assert wl.signal(plain) is plain
    assert defined("plain").function is plain
    assert not defined("plain").is_dynamic


def test_options_reach_the_definition() -> None:
    """Every option is what the signal is defined by; names lose the prefix of their column."""
    decorate = wl.signal(
        "signals//x", "signals//loss", 3, True, True, False, batched=True
    )  # the seed's order
    assert decorate(plain) is plain
    made = defined("x")
    assert (made.name, made.subscribe_to, made.every) == ("x", "loss", 3)
    assert (made.include_history, made.include_history_metadata, made.log) == (True, True, False)
    assert made.batched


def test_a_callable_object_may_be_a_signal() -> None:
    """Anything that can be called with a context, if it has a name or is given one."""
    half = functools.partial(plain)
    wl.signal(name="half")(half)
    assert defined("half").function is half
    with pytest.raises(InputError, match="no name of its own"):
        wl.signal()(half)


async def later(ctx: Any) -> float:
    return 1.0


@pytest.mark.parametrize("thing", [3, None, later])
def test_what_is_no_function(thing: Any) -> None:
    """The error shows what came."""
    with pytest.raises(InputError, match="decorates a function of one context"):
        wl.signal(name="x")(thing)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": 3}, "name"),
        ({"name": ""}, "name"),
        ({"name": "signals//"}, "name"),
        ({"subscribe_to": 3}, "name"),
        ({"subscribe_to": " "}, "name"),
        ({"compute_every_n_steps": 0}, "compute_every_n_steps is a whole number from 1"),
        ({"compute_every_n_steps": True}, "compute_every_n_steps is a whole number from 1"),
        ({"compute_every_n_steps": 2.0}, "compute_every_n_steps is a whole number from 1"),
        ({"include_history": "yes"}, "include_history is True or False"),
        ({"include_history": True, "include_history_metadata": 1}, "include_history_metadata is"),
        ({"log": None}, "log is True or False"),
        ({"batched": "no"}, "batched is True or False"),
        ({"include_history_metadata": True}, "give include_history=True as well"),
    ],
)
def test_what_cannot_be_meant(options: dict[str, Any], message: str) -> None:
    """Refused with the option's name before anything is registered."""
    with pytest.raises(InputError, match=message):
        wl.signal(**{"name": "x", "subscribe_to": "loss"} | options)(plain)
    assert len(current().signals.registry) == 0


@pytest.mark.parametrize("option", [{"compute_every_n_steps": 2}, {"include_history": True}])
def test_what_a_static_signal_cannot_have(option: dict[str, Any]) -> None:
    """Options that mean nothing without a subscription say so."""
    with pytest.raises(InputError, match="name the signal whose values fire this one"):
        wl.signal(name="x", **option)


def nothing() -> float:
    return 1.0


def of_two(ctx: Any, more: Any) -> float:
    return 1.0


def keyword(*, ctx: Any) -> float:
    return 1.0


class Measure:
    def level(self, ctx: Any) -> float:
        return 1.0


@pytest.mark.parametrize("function", [nothing, of_two, keyword, Measure.level])
def test_what_cannot_take_one_argument(function: Any) -> None:
    """It is met where it is decorated, with what it takes, and not at its first value."""
    with pytest.raises(InputError, match=r"'x' is called with one argument.*takes \("):
        wl.signal(name="x", subscribe_to="loss")(function)
    assert len(current().signals.registry) == 0


def more(ctx: Any, scale: float = 2.0, *rest: Any, **options: Any) -> float:
    return scale


@pytest.mark.parametrize("function", [more, Measure().level, functools.partial(of_two, 1), float])
def test_what_takes_one_argument_among_others(function: Any) -> None:
    """Defaults, bound methods, partials and what does not say what it takes are functions too."""
    assert wl.signal(name="x", subscribe_to="loss")(function) is function


def watched(name: str) -> None:
    wl.watch_or_edit(lambda values: values, flag="loss", signal_name=name)


def test_a_signal_with_the_name_of_a_watched_one() -> None:
    """Said once, whichever comes second: both would write one history."""
    watched("first")
    with pytest.warns(wl.WeightsLabWarning) as caught:
        for _ in range(2):
            wl.signal(name="signals//first", subscribe_to="other")(plain)
    wl.signal(name="second", subscribe_to="other")(plain)
    with pytest.warns(wl.WeightsLabWarning) as later_caught:
        for _ in range(2):
            watched("second")
    assert ["'first' is both" in str(one.message) for one in caught] == [True]
    assert ["'second' is both" in str(one.message) for one in later_caught] == [True]


def test_a_subscription_that_met_no_value_shows_in_the_status() -> None:
    """A slip of the pen waits for ever: its name stands there until a value comes."""
    wl.signal(name="x", subscribe_to="train_los")(plain)
    wl.signal(name="y", subscribe_to="x")(plain)
    wl.signal(name="z", subscribe_to="train_loss", compute_every_n_steps=9)(plain)
    wl.save_signals({"train_loss": [1.0]}, ["a"])
    assert wl.status()["signals"]["unheard"] == {"x": "train_los", "y": "x"}
    wl.save_signals({"train_los": [1.0]}, ["a"])
    wl.history()
    assert wl.status()["signals"]["unheard"] == {}
