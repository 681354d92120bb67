"""Exports of a million rows beside bare Polars, which writes the same frame.

Answers the row "CSV export of 1M rows" of goals.md: at most 0.7 s, floor 0.21 s.
Run: `python benchmarks/export.py [rows]`.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import polars as pl
from common import in_turns, row

from weightslab.export.dataframe import write_dataframe_frame
from weightslab.export.history import write_history_frames

ROUNDS = 5


def history_frame(rows: int) -> pl.DataFrame:
    """Rows of the sample layer, as the queries room gives them."""
    draw = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "signal": pl.repeat("train/loss", rows, eager=True),
            "experiment_hash": pl.repeat("acf5db7dea06963a50f6b7ac", rows, eager=True),
            "launch": pl.repeat(1, rows, eager=True, dtype=pl.Int32),
            "sample_id": [f"train/{n}" for n in range(rows)],
            "step": np.arange(rows) // 256,
            "value": draw.random(rows, dtype=np.float32).astype(np.float64),
        }
    )


def samples_frame(rows: int, *, instances: bool) -> pl.DataFrame:
    """A sample table with flags, tags, two signals and targets; half of it instances or none."""
    draw = np.random.default_rng(1)
    weather = pl.Series(["sun", "rain", None, "fog"])
    annotation = np.arange(rows, dtype=np.int32) % 2 if instances else np.zeros(rows, np.int32)
    frame = pl.DataFrame(
        {
            "sample_id": [f"train/{n}" for n in range(rows)],
            "annotation_id": annotation,
            "origin": pl.repeat("train", rows, eager=True),
            "discarded": draw.random(rows) < 0.1,
            "tag:hard": draw.random(rows) < 0.1,
            "tag:weather": weather.gather(draw.integers(4, size=rows)),
            "signals//loss": draw.random(rows),
            "signals//iou": draw.random(rows),
            "target": draw.integers(10, size=rows),
        }
    )
    sample = pl.col("annotation_id") == 0
    return frame.with_columns(
        pl.when(sample).then(pl.col("discarded", "tag:hard", "tag:weather", "signals//loss")),
        pl.when(~sample).then("signals//iou"),
    )


def main(rows: int) -> None:
    """Print seconds, and the ratio to bare Polars, of each export."""
    layers = {"sample": {"signals//loss"}, "instance": {"signals//iou"}}
    history = history_frame(rows)
    flat = samples_frame(rows, instances=False)
    mixed = samples_frame(rows, instances=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def export_history(format: str) -> Path:
            return write_history_frames(
                lambda kind, **filters: iter([history]),  # noqa: ARG005 - one layer, unfiltered
                format=format,
                type_of_history="sample",
                default_dir=folder,
                current_hash=None,
                warn=warnings.warn,
            )

        def export_samples(frame: pl.DataFrame, format: str) -> Path:
            return write_dataframe_frame(
                frame, format=format, default_dir=folder, layers=layers, warn=warnings.warn
            )

        for title, frame, export in (
            ("history", history, export_history),
            ("sample table", flat, lambda format: export_samples(flat, format)),
            ("half of it instances", mixed, lambda format: export_samples(mixed, format)),
        ):
            for format, floor, goal in (
                ("csv", frame.write_csv, "at most 0.7 s"),
                ("json", frame.write_json, "none set"),
                ("parquet", frame.write_parquet, "none set"),
            ):
                pair = in_turns(
                    lambda floor=floor: floor(folder / "floor"),
                    lambda format=format, export=export: export(format),
                    rounds=ROUNDS,
                )
                row(
                    f"{title}, {rows:,} rows as {format}",
                    f"{pair.ours_s:.3f} s ({pair.ratio:.2f}x)",
                    floor=f"bare Polars {pair.floor_s:.3f} s",
                    goal=goal,
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
