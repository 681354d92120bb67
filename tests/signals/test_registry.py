"""Definitions by name, in order, and never in a circle."""

from __future__ import annotations

import pytest

from weightslab.errors import InputError
from weightslab.signals.definition import Signal
from weightslab.signals.registry import SignalRegistry


def signal(name: str, subscribe_to: str | None = None) -> Signal:
    return Signal(name, lambda ctx: None, subscribe_to)


def registry(*signals: Signal) -> SignalRegistry:
    made = SignalRegistry()
    for one in signals:
        made.add(one)
    return made


def names(signals: object) -> list[str]:
    return [one.name for one in signals]  # type: ignore[attr-defined]


def test_order_is_that_of_registration() -> None:
    """Subscribers of a name come as they were registered, whatever stands between them."""
    made = registry(signal("z", "loss"), signal("m"), signal("a", "loss"), signal("q", "z"))
    assert names(made) == ["z", "m", "a", "q"]
    assert names(made.subscribers("loss")) == ["z", "a"]
    assert names(made.static) == ["m"]


def test_one_that_is_defined_again_keeps_its_place() -> None:
    """The newer definition stands where the former stood."""
    made = registry(signal("a", "loss"), signal("b", "loss"))
    newer = signal("a", "loss")
    made.add(newer)
    assert names(made.subscribers("loss")) == ["a", "b"]
    assert made.get("a") is newer
    assert len(made) == 2


def test_both_spellings_are_one_name() -> None:
    """A name is found with the prefix of its column and without."""
    made = registry(signal("a", "loss"))
    assert "a" in made
    assert "signals//a" in made
    assert made.get("signals//a") is made.get("a") is not None
    assert names(made.subscribers("signals//loss")) == ["a"]


def test_a_circle_is_refused_with_its_chain() -> None:
    """The error names every signal of the chain, in the order in which they would fire."""
    made = registry(signal("b", "a"), signal("c", "b"))
    with pytest.raises(InputError, match="a -> b -> c -> a"):
        made.add(signal("a", "c"))
    assert names(made) == ["b", "c"]


def test_a_signal_that_subscribes_to_itself_is_refused() -> None:
    """The shortest circle is one."""
    with pytest.raises(InputError, match="a -> a"):
        registry(signal("a", "a"))


def test_a_new_definition_may_undo_a_circle() -> None:
    """A replaced definition's subscription counts no more."""
    made = registry(signal("b", "a"), signal("c", "b"))
    made.add(signal("b", "loss"))
    made.add(signal("a", "c"))
    assert names(made.subscribers("c")) == ["a"]
