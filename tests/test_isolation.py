"""Random numbers that work beside the training does not use up."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from weightslab.isolation import preserved_rng

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

DRAWS: dict[str, Callable[[], float]] = {
    "torch": lambda: torch.rand(()).item(),
    "random": random.random,
    "numpy": lambda: float(np.random.rand()),  # noqa: NPY002  # the global one is meant
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_what_is_drawn_within_does_not_count(draw: Callable[[], float]) -> None:
    """The number after the block is the one that would have come without it."""
    with preserved_rng():
        first = draw()
        draw()
    assert draw() == first


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_also_when_the_body_raises(draw: Callable[[], float]) -> None:
    """An error inside leaves the generators as they were, and comes out."""
    drawn = []

    def body() -> None:
        drawn.append(draw())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), preserved_rng():
        body()
    assert draw() == drawn[0]


def test_a_seed_within_does_not_count() -> None:
    """Seeding inside the block is undone as well, also what torch says its seed is."""
    with preserved_rng():
        torch.manual_seed(99)
        random.seed(99)
        np.random.seed(99)  # noqa: NPY002
    after = [draw() for draw in DRAWS.values()]
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002
    assert after == [draw() for draw in DRAWS.values()]
    assert torch.initial_seed() == 7


def test_blocks_can_stand_in_each_other() -> None:
    """An inner block ends where it began, not where the outer one did."""
    with preserved_rng():
        first, second = torch.rand(()), torch.rand(())
    with preserved_rng():
        assert torch.rand(()) == first
        with preserved_rng():
            torch.rand(9)
        assert torch.rand(()) == second
    assert torch.rand(()) == first


def test_cuda_is_not_started() -> None:
    """A process that has not touched CUDA has not touched it afterwards, so it can still fork."""
    before = torch.cuda.is_initialized()
    with preserved_rng():
        pass
    assert torch.cuda.is_initialized() == before


@needs_cuda
def test_cuda_generators_are_restored_too() -> None:
    """The number after the block is the one that would have come without it, on the device."""
    torch.rand(1, device="cuda")
    with preserved_rng():
        first = torch.rand(3, device="cuda")
    assert torch.equal(torch.rand(3, device="cuda"), first)
