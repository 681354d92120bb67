"""What `wl.save_signals` costs its caller: 3 signals x 256 samples, as the history grows."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
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


def fresh_values() -> Callable[[], dict[str, torch.Tensor]]:
    """Gives the values of a call, no two calls the same for as long as one part is measured.

    Values that come again after a while would be compressed to nothing in the files.
    """
    pool = torch.rand(CALLS + 50, SIGNALS, BATCH).unbind()
    calls = [{f"signal/{n}": value for n, value in enumerate(call.unbind())} for call in pool]
    return itertools.cycle(calls).__next__


def show_durable(session: wl.Session, ids: object, values: Callable[[], Any]) -> None:
    """Save as fast as it goes, then wait until all of it is in files; count what came back."""
    before = stored_bytes()
    start = time.perf_counter()
    for step in range(CALLS):
        wl.save_signals(values(), ids, step=10**6 + step)
    session.flush()
    taken_s = time.perf_counter() - start
    rows = CALLS * BATCH * SIGNALS
    bare = pl.DataFrame(
        {
            "sample": np.tile(np.arange(BATCH, dtype=np.int32), rows // BATCH),
            "step": np.repeat(np.arange(rows // BATCH), BATCH),
            "value": np.random.default_rng(0).random(rows, dtype=np.float32),
        }
    )
    start = time.perf_counter()
    bare.write_parquet("floor.parquet", compression="zstd")
    floor_taken_s = time.perf_counter() - start
    row(
        "until durable",
        f"{rows / taken_s / 1e6:.2f}M rows/s, {(stored_bytes() - before) / rows:.1f} B/row "
        f"({taken_s / floor_taken_s:.1f}x)",
        floor=f"Polars, zstd {rows / floor_taken_s / 1e6:.1f}M rows/s, "
        f"{Path('floor.parquet').stat().st_size / rows:.1f} B/row",
        goal="at least 1M rows/s, at most 8 B/row",
    )


def stored_bytes() -> int:
    """Bytes of history in the run folder."""
    return sum(path.stat().st_size for path in Path("run/history").rglob("*.parquet"))


def main() -> None:
    """Print the rows of `save_signals`."""
    values = fresh_values()
    floor = floor_s()
    with wl.Session("run") as session:
        dataset = TensorDataset(torch.zeros(SAMPLES, 1), torch.zeros(SAMPLES))
        loader = wl.watch_or_edit(DataLoader(dataset, BATCH), flag="data", loader_name="train")
        _, _, ids = next(iter(loader))
        texts = [str(name) for name in ids]
        clock = itertools.count()
        show("ids of our loader", lambda: wl.save_signals(values(), ids, step=next(clock)), floor)
        show("ids as strings", lambda: wl.save_signals(values(), texts, step=next(clock)), floor)
        session.flush()
        show_durable(session, ids, values)
        saved = (next(clock) + CALLS) * BATCH * SIGNALS
    with wl.Session("run", mode="r"):
        found = len(wl.history())
    if found != saved:
        raise AssertionError(f"{saved} rows were saved, {found} came back")


if __name__ == "__main__":
    with scratch_folder():
        main()
