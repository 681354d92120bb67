"""How fast small segments become large ones, and what a row weighs before and after."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import row, scratch_folder

from weightslab.ledger import Ledger, LedgerOptions

SAMPLES = 100_000
EPOCHS = 40
BATCH = 4_096
FLUSHES = 2
"""Flushes an epoch."""
HISTORY = Path("run/history/kind=sample")


def fill() -> None:
    """Four million rows in many small segments, as a training run leaves them."""
    draw = np.random.default_rng(0)
    level = draw.gamma(2.0, 0.5, SAMPLES).astype(np.float32)
    options = LedgerOptions(compact=False)
    ledger = Ledger("run", options=options)
    rows = ledger.register("train", range(SAMPLES))
    step = 0
    for epoch in range(EPOCHS):
        order = draw.permutation(SAMPLES)
        noise = 1 + np.float32(0.1) * draw.standard_normal(SAMPLES, dtype=np.float32)
        values = level[order] * np.exp(np.float32(-0.05 * epoch)) * noise
        for low in range(0, SAMPLES, BATCH):
            part = slice(low, low + BATCH)
            ledger.append_samples({"loss": values[part]}, rows[order[part]], step=step)
            step += 1
            if low // BATCH % (SAMPLES // BATCH // FLUSHES) == 0:
                ledger.flush()
    ledger.close()


def stored() -> tuple[float, int]:
    """Bytes a row of the history, and files."""
    paths = list(HISTORY.rglob("*.parquet"))
    return sum(p.stat().st_size for p in paths) / (SAMPLES * EPOCHS), len(paths)


def floor() -> tuple[float, float]:
    """Seconds and bytes a row of the bare work: read it all, one numpy sort, one pyarrow file."""
    start = time.perf_counter()
    table = pa.concat_tables(
        pq.ParquetFile(path).read() for path in sorted(HISTORY.rglob("*.parquet"))
    )
    keys = (np.asarray(table["sample"]).astype(np.int64) << 32) | np.arange(len(table))
    ordered = table.take(pa.array(np.argsort(keys, kind="stable")))
    pq.write_table(ordered, "floor.parquet", compression="zstd", compression_level=1)
    return time.perf_counter() - start, Path("floor.parquet").stat().st_size / len(table)


def main() -> None:
    """Print the rows of compaction."""
    fill()
    n = SAMPLES * EPOCHS
    before, files = stored()
    floor_s, floor_bytes = floor()
    for what, archive, goal in (
        ("merge what is due", False, "at most 8 B/row"),
        ("merge into the archive", True, "none set"),
    ):
        ledger = Ledger("run")
        start = time.perf_counter()
        ledger.compact(archive=archive)
        taken_s = time.perf_counter() - start
        ledger.close()
        after, left = stored()
        row(
            f"{what}, {n / 1e6:.0f}M rows, {files} files to {left}",
            f"{n / taken_s / 1e6:.2f}M rows/s, {before:.1f} to {after:.1f} B/row "
            f"({taken_s / floor_s:.1f}x)",
            floor=f"sort, pyarrow {n / floor_s / 1e6:.2f}M rows/s, {floor_bytes:.1f} B/row",
            goal=goal,
        )
        before, files = after, left


if __name__ == "__main__":
    with scratch_folder():
        main()
