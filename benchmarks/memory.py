"""How much memory a growing history takes: resident MiB as rows come, and where they go on.

The goal is for 100 million rows; what is measured is the growth per million once the fixed
parts (log, buffers, the sample table) are there, over as many rows as a minute allows.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from common import row, scratch_folder

from weightslab.ledger import Ledger

SAMPLES = 1_000_000
BATCH = 4_096
ROWS = 30_000_000
WARM_ROWS = 10_000_000
LONGEST_S = 60.0
MOST_WAITING = 2_000_000


def resident_mib() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Print the growth per million rows, and what is held above the start."""
    draw = np.random.default_rng(0)
    pool = draw.random((64, BATCH), dtype=np.float32)
    until = time.monotonic() + LONGEST_S
    ledger = Ledger("run")
    rows = ledger.register("train", range(SAMPLES))
    start_mib = resident_mib()
    looks = []
    saved = step = 0
    while saved < ROWS and time.monotonic() < until:
        order = draw.permutation(SAMPLES)
        for low in range(0, SAMPLES, BATCH):
            some = rows[order[low : low + BATCH]]
            values = pool[step % 64, : len(some)] + np.float32(step)
            ledger.append_samples({"loss": values}, some, step=step)
            saved += len(some)
            step += 1
            if ledger.status()["waiting_rows"] > MOST_WAITING:
                ledger.flush()
        looks.append((saved, resident_mib()))
    ledger.close()
    warm = np.array([look for look in looks if look[0] >= min(WARM_ROWS, saved // 2)])
    slope = float(np.polyfit(warm[:, 0] / 1e6, warm[:, 1], 1)[0])
    most_mib = max(mib for _, mib in looks) - start_mib
    bytes_of_table = SAMPLES * 9 / 2**20
    row(
        f"memory, {saved / 1e6:.0f}M rows of {SAMPLES:,} samples",
        f"{most_mib:.0f} MiB above the start, {slope:+.2f} MiB per 1M rows",
        floor=f"latest values as numpy {bytes_of_table:.0f} MiB",
        goal="under 500 MiB at 100M rows",
    )


if __name__ == "__main__":
    with scratch_folder():
        main()
