from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from weightslab.evaluation.ambient import Ambient


def on_another_thread(ambient: Ambient) -> Ambient:
    """How torch is set on a fresh thread that works like `ambient`."""
    seen: list[Ambient] = []

    def look() -> None:
        with ambient.applied():
            seen.append(Ambient.here())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return seen[0]


@pytest.mark.parametrize(
    "setting",
    [
        torch.no_grad,
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: torch.autocast("cpu", dtype=torch.float16, cache_enabled=False),
        lambda: torch.device("meta"),
    ],
)
def test_a_thread_works_as_the_noted_one_did(setting: Callable[[], Any]) -> None:
    """Grad mode, autocast and default device are those of the training thread."""
    plain = Ambient.here()
    with setting():
        noted = Ambient.here()
    assert noted != plain
    assert on_another_thread(noted) == noted


def test_the_thread_is_as_before_afterwards() -> None:
    """Also after an error."""
    plain = Ambient.here()
    with torch.no_grad(), torch.autocast("cpu"), torch.device("meta"):
        noted = Ambient.here()
    with pytest.raises(ZeroDivisionError), noted.applied():
        raise ZeroDivisionError
    assert Ambient.here() == plain


def test_looking_draws_no_random_number() -> None:
    """Training is as it would have been."""
    before = torch.get_rng_state()
    with torch.device("cpu:0"):
        Ambient.here()
    assert torch.equal(before, torch.get_rng_state())
