"""How the scale run measures.

Each phase is a process of its own, so that none warms another's caches or memory; everything
is printed beside what a bare tool needs for the same.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Peak", "forget_pages", "median_s", "row", "run_phase", "seconds", "show_s", "size_of"]


def row(what: str, measured: str, floor: str = "") -> None:
    """Print one result beside its floor."""
    print(f"  {what:<46} {measured:<38} {f'floor: {floor}' if floor else ''}".rstrip(), flush=True)


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes, once."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_s(work: Callable[[], object], *, rounds: int = 5) -> float:
    """Median of several times, after one that does not count."""
    work()
    return statistics.median(seconds(work) for _ in range(rounds))


def show_s(taken_s: float) -> str:
    """A duration with three digits and its unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if taken_s * scale >= 1:
            return f"{taken_s * scale:.3g} {unit}"
    return f"{taken_s * 1e6:.3g} µs"


def run_phase(phase: Callable[..., object], *arguments: Any) -> bool:
    """Run `phase` in a new interpreter; gives whether it went through."""
    process = multiprocessing.get_context("spawn").Process(target=phase, args=arguments)
    process.start()
    process.join()
    return process.exitcode == 0


class Peak:
    """The most memory of this process above what it holds now."""

    def __init__(self) -> None:
        # 5 sets the kernel's high-water mark back to what is resident now.
        Path("/proc/self/clear_refs").write_text("5")
        self._before = _status_kib("VmRSS")

    def mib(self) -> float:
        """MiB so far."""
        return (_status_kib("VmHWM") - self._before) / 1024


def _status_kib(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise KeyError(name)


def forget_pages(root: Path) -> None:
    """Let the kernel forget what it holds of the files below `root`, so that a read is cold."""
    for path in root.rglob("*.parquet"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def size_of(root: Path) -> tuple[int, int]:
    """Bytes and number of the Parquet files below `root`."""
    sizes = [path.stat().st_size for path in root.rglob("*.parquet")]
    return sum(sizes), len(sizes)
