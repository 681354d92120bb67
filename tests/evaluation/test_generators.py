"""Generators that a dataset keeps for itself are found wherever it keeps them."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Subset

from weightslab.evaluation.generators import generators_within, kept_generators

DRAWS = np.random.default_rng(1)
ELSEWHERE = np.random.default_rng(2)


class Holder:
    def __init__(self, held: Any) -> None:
        self.held = held


class Slotted:
    __slots__ = ("empty", "held")

    def __init__(self, held: Any) -> None:
        self.held = held


class Names:
    """Draws from a generator of its module, and has one of its class."""

    own = ELSEWHERE

    def __getitem__(self, index: int) -> float:
        return float(DRAWS.random())


class Untouchable:
    """Answers nothing: whoever asks it for an attribute that it has not got fails."""

    def __init__(self, held: Any) -> None:
        self.held = held

    @property
    def heavy(self) -> Any:
        raise AssertionError("a property was asked")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")


def _closing(held: Any) -> Callable[[], Any]:
    return lambda: held


class Proxy:
    """Stands for something heavy, which is made when anything is asked."""

    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
        self.held = held

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"{name} was asked for")


MAKE: dict[str, Callable[[], Any]] = {
    "torch": lambda: torch.Generator().manual_seed(1),
    "numpy": lambda: np.random.default_rng(1),
    "numpy's old one": lambda: np.random.RandomState(1),
    "standard library": lambda: random.Random(1),
}
DRAW: dict[str, Callable[[Any], Any]] = {
    "torch": lambda one: float(torch.rand(1, generator=one)),
    "numpy": lambda one: one.random(),
    "numpy's old one": lambda one: one.rand(),
    "standard library": lambda one: one.random(),
}
PLACES: dict[str, Callable[[Any], Any]] = {
    "itself": lambda one: one,
    "an attribute": Holder,
    "a slot": Slotted,
    "a subset's dataset": lambda one: Subset(Holder(one), [0]),  # type: ignore[arg-type]
    "a list of transforms": lambda one: Holder([print, functools.partial(print, one)]),
    "a keyword": lambda one: functools.partial(print, file=one),
    "a dict": lambda one: {"train": (Holder(one),)},
    "a closure": lambda one: Holder(_closing(one)),
    "a method": lambda one: Holder(one).__init__,  # type: ignore[misc]
    "an object that answers nothing": Untouchable,
    "a proxy": Proxy,
}


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("place", PLACES)
def test_a_generator_is_put_back_wherever_it_is_kept(kind: str, place: str) -> None:
    """After the block the next number is the one that would have come."""
    generator, twin = MAKE[kind](), MAKE[kind]()
    draw = DRAW[kind]
    held = PLACES[place](generator)
    draw(generator), draw(twin)
    with kept_generators(held):
        draw(generator)
    assert draw(generator) == draw(twin)


def test_a_generator_is_put_back_after_an_error() -> None:
    """An error within passes, and the generator is where it was."""
    generator, twin = random.Random(1), random.Random(1)

    def draw_and_fail() -> None:
        with kept_generators(generator):
            generator.random()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        draw_and_fail()
    assert generator.random() == twin.random()


def test_a_method_names_a_generator_of_its_module() -> None:
    """What a user's class holds, and what its methods name in their module, is found."""
    assert set(map(id, generators_within(Names()))) == {id(DRAWS), id(ELSEWHERE)}


def test_a_circle_ends() -> None:
    """Objects that hold each other are seen once."""
    one, other = Holder(None), Holder(None)
    one.held, other.held = other, [one, DRAWS]
    assert generators_within(one) == [DRAWS]


def test_samples_are_not_searched() -> None:
    """A long list holds samples: a dataset of a million entries costs nothing."""
    assert generators_within(Holder([random.Random(1)] * 65)) == []
