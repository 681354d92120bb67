"""What watching a loader costs before the first batch: seconds and memory, by size."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from common import row
from torch.utils.data import DataLoader, Dataset

import weightslab as wl

SIZES = ((60_000, "0.05 s, 50 MiB"), (1_000_000, "0.3 s, 50 MiB"))


class Sized(Dataset[torch.Tensor]):
    """Knows its length; reading it would be noticed."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        """Number of samples."""
        return self.size

    def __getitem__(self, index: int) -> torch.Tensor:
        """Never asked for while registering."""
        raise AssertionError(f"registration read sample {index}")


def peak_mib() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one(size: int) -> None:
    """Register `size` samples in this process; print seconds, MiB and the floor's seconds."""
    start = time.perf_counter()
    np.arange(size, dtype=np.int32).copy()
    floor_s = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder, wl.Session(folder):
        # A tiny loader first: what opening the run costs is no part of the registration.
        wl.watch_or_edit(DataLoader(Sized(1)), flag="data", loader_name="first")
        before_mib = peak_mib()
        start = time.perf_counter()
        wl.watch_or_edit(DataLoader(Sized(size)), flag="data", loader_name="train")
        taken_s = time.perf_counter() - start
        print(taken_s, peak_mib() - before_mib, floor_s)


def main() -> None:
    """Print a row for each size, each measured in a process of its own."""
    for size, goal in SIZES:
        done = subprocess.run(
            [sys.executable, __file__, str(size)], check=True, capture_output=True, text=True
        )
        taken_s, mib, floor_s = map(float, done.stdout.split())
        row(
            f"register {size:,} samples",
            f"{taken_s:.4f} s ({taken_s / floor_s:.1f}x), {mib:.1f} MiB",
            floor=f"np.arange {floor_s * 1e3:.2f} ms",
            goal=f"at most {goal}",
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one(int(sys.argv[1]))
    else:
        main()
