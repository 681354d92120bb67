"""How the benchmarks measure: always in pairs with a floor of the same run, and printed as ratios.

Seconds mean little on a shared machine; two things that are measured in turns share its moods.
"""

from __future__ import annotations

import contextlib
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["Pair", "in_turns", "per_call_s", "percentile", "row"]


@dataclass(frozen=True, slots=True)
class Pair:
    """What a floor and our version took, in seconds per piece of work."""

    floor_s: float
    ours_s: float
    ratio: float
    """Median of the ratios of neighbouring measurements."""


def in_turns(floor: Callable[[], object], ours: Callable[[], object], *, rounds: int) -> Pair:
    """Time both `rounds` times in turns, each leading every other time; medians."""
    pairs = []
    for turn in range(rounds):
        first, second = (floor, ours) if turn % 2 == 0 else (ours, floor)
        taken = _timed(first), _timed(second)
        pairs.append(taken if turn % 2 == 0 else taken[::-1])
    return Pair(
        floor_s=statistics.median(pair[0] for pair in pairs),
        ours_s=statistics.median(pair[1] for pair in pairs),
        ratio=statistics.median(pair[1] / pair[0] for pair in pairs),
    )


def per_call_s(call: Callable[[], object], *, calls: int) -> list[float]:
    """What each of `calls` calls took, in order."""
    return list(_each(call, calls))


def percentile(values: list[float], share: float) -> float:
    """The value that `share` (0..1) of all values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def row(what: str, measured: str, *, floor: str, goal: str) -> None:
    """Print one result beside its floor and the goal that it answers."""
    print(f"{what:<44} {measured:<40} floor: {floor:<34} goal: {goal}", flush=True)


@contextlib.contextmanager
def scratch_folder() -> Iterator[None]:
    """Work in an empty folder that goes away, so that a benchmark leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="wl-bench-") as folder, contextlib.chdir(folder):
        yield


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _each(call: Callable[[], object], calls: int) -> Iterator[float]:
    gc.collect()
    for _ in range(calls):
        yield _timed(call)
