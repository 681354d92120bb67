"""What a process and its run folder take, over time, and whether that stays flat."""

from __future__ import annotations

import os
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

__all__ = ["Limit", "Look", "growth", "look_at"]


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the process and its folder."""

    time_s: float
    memory_mib: float
    """Resident memory of the training process alone."""
    others_mib: float
    """Resident memory of what it started: loader workers, merging."""
    descriptors: int
    threads: int
    files: int
    disk_mib: float

    @classmethod
    def names(cls) -> list[str]:
        """Names of the columns."""
        return [field.name for field in fields(cls)]

    def show(self) -> str:
        """The columns as a line of a table."""
        return "".join(f"{value:>13,.1f}" for value in astuple(self))


@dataclass(frozen=True, slots=True)
class Limit:
    """How much a column may grow over the watched time."""

    column: str
    share: float
    """Of its median."""
    least: float
    """Growth that is always allowed."""

    def allowed(self, median: float) -> float:
        """The most growth."""
        return max(self.share * median, self.least)


def look_at(process: int, root: Path, time_s: float) -> Look | None:
    """Look once; None when the process is gone."""
    try:
        descriptors = sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())
        threads = sum(1 for _ in Path(f"/proc/{process}/task").iterdir())
        memory = _resident_mib(process)
        others = sum(map(_resident_mib, _descendants(process)))
    except (FileNotFoundError, ProcessLookupError):
        return None
    sizes = [size for path in root.rglob("*") if (size := _size(path)) is not None]
    return Look(time_s, memory, others, descriptors, threads, len(sizes), sum(sizes) / 2**20)


def _size(path: Path) -> int | None:
    """Bytes of a file; None for a folder, and for what is gone meanwhile."""
    try:
        return path.stat().st_size if path.is_file() else None
    except FileNotFoundError:
        return None


def _resident_mib(process: int) -> float:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _descendants(process: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in children:
            found += [child, *_descendants(child)]
    return found


def growth(looks: list[Look], column: str) -> tuple[float, float]:
    """Growth over the looks by a straight line through them, and the median."""
    times = np.array([look.time_s for look in looks])
    values = np.array([float(getattr(look, column)) for look in looks])
    slope = float(np.polyfit(times, values, 1)[0])
    return slope * float(times[-1] - times[0]), float(np.median(values))
