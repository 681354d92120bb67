"""What the tests of this room share: waiting for a thread, and structured configs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Adam", "Net", "settled", "until"]


def until(true: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something holds; fails when it never does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def settled(_: float) -> bool:
    """A wait that takes no time: a file that is whole when the test looks stands still."""
    return False


@dataclass
class Adam:
    """An optimizer's part of a structured config."""

    lr: float = 0.1
    betas: list[float] = field(default_factory=lambda: [0.9, 0.99])


@dataclass
class Net:
    """A structured config."""

    adam: Adam = field(default_factory=Adam)
    layers: int = 2
    sizes: dict[str, int] = field(default_factory=dict)
