"""What `wl.save_signals` costs its caller: 3 signals x 256 samples, as the history grows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from common import per_call_s, percentile, row, scratch_folder
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl

BATCH = 256
SIGNALS = 3
CALLS = 4_000
SAMPLES = 60_000


def floor_s() -> float:
    """Seconds per call of the bare work: three arrays copied into memory that is already there."""
    values = [np.random.default_rng(0).random(BATCH, dtype=np.float32) for _ in range(SIGNALS)]
    rows = np.arange(BATCH, dtype=np.int32)
    held = np.zeros((64, SIGNALS, BATCH), np.float32)
    held_rows = np.zeros((64, BATCH), np.int32)
    slot = 0

    def copy() -> None:
        nonlocal slot
        slot = (slot + 1) % 64
        held_rows[slot] = rows
        for place, value in enumerate(values):
            held[slot, place] = value

    return statistics.median(per_call_s(copy, calls=CALLS))


def show(what: str, save: Callable[[], object], floor: float) -> None:
    """Call `save` many times and print its rate, its tail and whether it stays flat."""
    per_call_s(save, calls=50)
    taken = per_call_s(save, calls=CALLS)
    rows = BATCH * SIGNALS
    tenth = CALLS // 10
    growth = statistics.median(taken[-tenth:]) / statistics.median(taken[:tenth])
    p50, p99 = percentile(taken, 0.5), percentile(taken, 0.99)
    row(
        what,
        f"{rows * CALLS / sum(taken) / 1e6:.2f}M rows/s, p50 {p50 * 1e6:.0f} µs, "
        f"p99 {p99 * 1e6:.0f} µs, late/early {growth:.2f}x ({p50 / floor:.1f}x)",
        floor=f"numpy copies {rows / floor / 1e6:.0f}M rows/s",
        goal="2M rows/s, flat; p50 15, p99 150 µs with our ids",
    )


def main() -> None:
    """Print the rows of `save_signals`."""
    values = {f"signal/{place}": torch.rand(BATCH) for place in range(SIGNALS)}
    floor = floor_s()
    session = wl.Session("run")
    with session:
        dataset = TensorDataset(torch.zeros(SAMPLES, 1), torch.zeros(SAMPLES))
        loader = wl.watch_or_edit(DataLoader(dataset, BATCH), flag="data", loader_name="train")
        _, _, ids = next(iter(loader))
        texts = [str(name) for name in ids]
        clock = iter(range(10**9))
        show("ids of our loader", lambda: wl.save_signals(values, ids, step=next(clock)), floor)
        show("ids as strings", lambda: wl.save_signals(values, texts, step=next(clock)), floor)
        started = time.perf_counter()
    closed_s = time.perf_counter() - started
    rows = 2 * (CALLS + 50) * BATCH * SIGNALS
    print(f"{'closing: all of it in Parquet':<44} {closed_s:.2f} s after {rows / 1e6:.1f}M rows")


if __name__ == "__main__":
    with scratch_folder():
        main()
