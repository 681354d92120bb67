"""What the tests of signals share."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import weightslab as wl
from weightslab.session import current

__all__ = ["Gate", "feed", "said", "series"]


def feed(signal: str, steps: Sequence[int], ids: Sequence[str] = ("a", "b")) -> None:
    """Save step + 0.0, 0.5, ... of each sample at every step."""
    for step in steps:
        wl.save_signals({signal: [step + 0.5 * n for n in range(len(ids))]}, list(ids), step=step)


def series(signal: str) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every sample, in order of arrival."""
    found: dict[str, list[tuple[int, float]]] = {}
    for sample, step, value, _ in wl.query_signal_history(signal):
        found.setdefault(sample, []).append((step, value))
    return found


def said() -> str:
    """Everything that the current session has warned of."""
    return "\n".join(current().notices.messages())


class Gate:
    """A signal that stands still until the test lets it go, while values are saved."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, _: Any = None) -> None:
        self.reached.set()
        assert self.open.wait(30), "the test never opened the gate"
