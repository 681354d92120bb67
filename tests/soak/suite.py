"""Train for a long time and see that memory, descriptors and files stay flat, and nothing lacks.

Run: `python -m tests.soak.suite [--minutes 30]`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

import weightslab as wl
from tests.soak.training import SAMPLES
from tests.soak.watching import Limit, Look, growth, look_at

__all__ = ["main"]

_LOOKS = 60
_LONGEST_BETWEEN_S = 10.0
_LINES = 20
"""Most lines of the printed table."""

LIMITS = (
    Limit("memory_mib", 0.05, 20.0),
    Limit("descriptors", 0.0, 8.0),
    Limit("threads", 0.0, 1.5),
    # Merging leaves a few files of every size: their number grows with the logarithm of rows.
    Limit("files", 0.05, 40.0),
)


def watch(folder: Path, duration_s: float) -> list[Look]:
    """Train in a process of its own and look at it until it ends. Raises AssertionError."""
    arguments = [sys.executable, "-m", "tests.soak.training", str(folder), str(duration_s)]
    training = subprocess.Popen(arguments)
    between_s = min(_LONGEST_BETWEEN_S, duration_s / _LOOKS)
    begun = time.monotonic()
    looks = []
    try:
        while training.poll() is None:
            time.sleep(between_s)
            passed_s = time.monotonic() - begun
            look = look_at(training.pid, folder / "run", passed_s)
            # Starting and closing are no part of it.
            if look is not None and between_s < passed_s < duration_s:
                looks.append(look)
            assert passed_s < 2 * duration_s + 120, "training does not come to its end"
    finally:
        training.kill()
        training.wait()
    assert training.returncode == 0, f"training ended with {training.returncode}"
    return looks


def check_everything(folder: Path) -> int:
    """Whether the closed folder holds all that was saved; gives the number of rows."""
    truth = {
        name: np.array(held)
        for name, held in json.loads((folder / "truth.json").read_text()).items()
    }
    steps = int(truth["steps"][0])
    with wl.Session(folder / "run", mode="r") as session:
        rows = 0
        for name, kind, times in (
            ("step", "sample", 1),
            ("iou", "instance", 2),
            ("train/loss", "sample", 1),
        ):
            frame = wl.history(name, kind=kind)
            counts = _by_place(frame.group_by("sample_id").len(), "len")
            wrong = np.flatnonzero(counts != times * truth["seen"])
            assert not len(wrong), f"{name}: {len(wrong)} samples have another number of rows"
            if name != "train/loss":
                assert (frame["value"] == frame["step"]).all(), f"{name}: a value changed"
            rows += len(frame)
        curve = wl.history("lr", kind="global")
        assert len(curve) == -(-steps // 5), f"lr has {len(curve)} points after {steps} steps"
        table = wl.samples().filter(pl.col("annotation_id") == 0)
        for column, name in (("tag:odd", "tagged"), ("discarded", "discarded")):
            found = _by_place(table.select("sample_id", pl.col(column).cast(pl.Int64)), column)
            assert (found == truth[name]).all(), f"{column} is wrong somewhere"
        latest = _by_place(table.select("sample_id", "signals//step"), "signals//step")
        known = truth["seen"] > 0
        assert (latest[known] == truth["last_step"][known]).all(), "a latest value is old"
        arrays = table.select("sample_id", first=_first_number("prediction_raw"))
        known = truth["last_array"] >= 0
        found = _by_place(arrays, "first")
        assert (found[known] == truth["last_array"][known]).all(), "an array is old"
        said = session.notices.messages()
    assert not said, f"the reader said: {said}"
    return rows


def _first_number(column: str) -> pl.Expr:
    return pl.col(column).str.extract(r"^\[(\d+)").cast(pl.Int64)


def _by_place(frame: pl.DataFrame, column: str) -> np.ndarray:
    """A column of the samples "train/<place>" as an array by place; 0 where there is none."""
    held = np.zeros(SAMPLES, np.int64)
    places = frame["sample_id"].str.strip_prefix("train/").cast(pl.Int64).to_numpy()
    held[places] = frame[column].fill_null(0).cast(pl.Int64).to_numpy()
    return held


def judge(looks: list[Look]) -> bool:
    """Print the table and the growth after the first third; whether all of it stayed flat."""
    print("".join(f"{name:>13}" for name in Look.names()))
    for look in looks[:: max(1, len(looks) // _LINES)]:
        print(look.show())
    watched = looks[len(looks) // 3 :]
    flat = True
    for limit in LIMITS:
        grown, median = growth(watched, limit.column)
        allowed = limit.allowed(median)
        flat = flat and grown <= allowed
        verdict = "flat" if grown <= allowed else "GROWS"
        print(f"{limit.column}: {grown:+.1f} over {median:,.1f}, allowed {allowed:.1f}: {verdict}")
    return flat


def main(arguments: list[str]) -> int:
    """Watch, judge and check; 0 when all stayed flat and everything is there."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.suite")
    parser.add_argument("--minutes", type=float, default=30)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="wl-soak-") as name:
        folder = Path(name)
        looks = watch(folder, 60 * given.minutes)
        flat = judge(looks)
        rows = check_everything(folder)
    print(f"{rows:,} rows, tags, discards and arrays: everything is there")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
