"""How long one sample's history takes among a million rows, while the run lives and from disk."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from common import per_call_s, row, scratch_folder
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl

SAMPLES = 10_000
EPOCHS = 100
BATCH = 500
QUERIES = 100
SIGNAL = "train/loss"


def floor_file(path: Path) -> None:
    """The same rows in one file, sorted by sample: what a careful user would write by hand."""
    frame = pl.DataFrame(
        {
            "sample": np.repeat(np.arange(SAMPLES, dtype=np.int32), EPOCHS),
            "step": np.tile(np.arange(EPOCHS, dtype=np.int64), SAMPLES),
            "value": np.random.default_rng(0).random(SAMPLES * EPOCHS, dtype=np.float32),
        }
    )
    frame.write_parquet(path, row_group_size=16_384)


def fill() -> None:
    """A million rows through the public verbs."""
    dataset = TensorDataset(torch.zeros(SAMPLES, 1), torch.zeros(SAMPLES))
    loader = wl.watch_or_edit(
        DataLoader(dataset, BATCH, shuffle=True), flag="data", loader_name="train"
    )
    step = 0
    for _ in range(EPOCHS):
        for _, _, ids in loader:
            wl.save_signals({SIGNAL: torch.rand(len(ids))}, ids, step=step, log=False)
            step += 1


def median_s(query: Callable[[int], object]) -> float:
    """Median seconds of `query(index)` over samples at random, the first ones not counted."""
    draw = random.Random(0)
    taken = per_call_s(lambda: query(draw.randrange(SAMPLES)), calls=QUERIES)
    return statistics.median(taken[5:])


def history_of(index: int) -> None:
    """Ask for one sample, and see that all of it came."""
    found = len(wl.query_sample_history(f"train/{index}", signal_name=SIGNAL))
    if found != EPOCHS:
        raise AssertionError(f"sample {index} has {found} rows, expected {EPOCHS}")


def main() -> None:
    """Print the rows of one sample's history."""
    bare = Path("floor.parquet")
    floor_file(bare)
    lazy = pl.scan_parquet(bare)
    floor = median_s(lambda index: lazy.filter(pl.col("sample") == index).collect())
    with wl.Session("run"):
        fill()
        living = median_s(history_of)
    with wl.Session("run", mode="r"):
        closed = median_s(history_of)
    for what, taken in (("while the run lives", living), ("of a closed run", closed)):
        row(
            f"one sample's history, 1M rows, {what}",
            f"{taken * 1e3:.2f} ms ({taken / floor:.2f}x)",
            floor=f"sorted Parquet, Polars {floor * 1e3:.2f} ms",
            goal="0.1 ms",
        )


if __name__ == "__main__":
    with scratch_folder():
        main()
