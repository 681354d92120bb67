"""What the tests of maintenance share: a real run folder, and ways to damage it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import weightslab as wl
from weightslab.ledger import Ledger
from weightslab.ledger.history.segments import (
    concat_chunks,
    read_chunk,
    read_footer,
    sort_chunk,
    write_chunk,
)
from weightslab.ledger.layout import FileRange
from weightslab.maintenance.check import check, open_tree
from weightslab.maintenance.report import Finding, Report

SAMPLES = 60


def build(root: Path, *, rank: int = 0) -> None:
    """Two launches that leave every kind of file that there is."""
    for launch in range(2):
        ledger = Ledger(root, rank=rank)
        rows = ledger.ids.block("train", range(SAMPLES))
        for step in range(3):
            ledger.ids.add([f"own{launch}{step}"], "train")
            values = np.arange(SAMPLES, dtype=np.float64) + step
            ledger.append_samples({"loss": values, "a/b": -values}, rows, step=3 * launch + step)
            ledger.append_instances({"box": values[:4]}, rows[[0, 0, 1, 1]], BOXES, step=step)
            ledger.append_scalars({"lr": 0.1}, step=step)
            ledger.edit.tag(rows[step : step + 1], "hard", True)
            ledger.append_arrays("preds", rows, np.arange(SAMPLES))
            ledger.flush()
        ledger.edit.categorize(rows[:2], "weather", "rainy")
        ledger.append_arrays("targets", rows[:1], np.zeros((1, 5000)))
        ledger.close()


BOXES = np.array([1, 2, 1, 2], np.int32)

KILLED = """
import os, sys, numpy as np
from weightslab.ledger import Ledger, LedgerOptions
ledger = Ledger(sys.argv[1], rank=int(sys.argv[2]), options=LedgerOptions(
    flush_interval_s=1e9, log_bytes=1 << 12))
rows = ledger.ids.block(f"late{sys.argv[2]}", range(5))
for step in range(40):
    ledger.append_samples({"late": np.full(5, step, np.float32)}, rows, step=step)
ledger.edit.tag(rows[:1], "late", True)
print("written", flush=True)
if sys.argv[3] == "stay":
    sys.stdin.read()
os._exit(9)
"""


def killed_writer(root: Path, *, rank: int = 0) -> None:
    """A process that saves 40 steps of 5 samples and dies before anything is in files."""
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), str(rank), "die"], capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (9, "written\n"), ended.stderr


class LivingWriter:
    """The same process, alive until the block ends; then it is killed."""

    def __init__(self, root: Path, *, rank: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(root), str(rank), "stay"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"written\n"

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate(timeout=60)


def report(root: Path) -> Report:
    """A check of a folder."""
    return check(open_tree(root)).report


def found(root: Path) -> list[tuple[str, str]]:
    """(kind, path) of everything that a check finds."""
    return [(finding.kind, finding.path) for finding in report(root).findings]


def only(root: Path) -> Finding:
    """The one thing that a check finds."""
    (finding,) = report(root).findings
    return finding


def history(root: Path, signal_name: str = "loss", kind: str = "sample") -> list[tuple[Any, ...]]:
    """Everything of one signal, as a session of its own reads it."""
    with wl.Session(root, mode="r"):
        frame = wl.history(signal_name, kind=kind)
        return sorted(frame.select("sample_id", "step", "value").rows())


def table(root: Path) -> list[dict[str, Any]]:
    """The sample table of a folder."""
    with wl.Session(root, mode="r"):
        return wl.samples().sort("sample_id", "annotation_id").to_dicts()


def parquet(root: Path, *parts: str, at: int = 0) -> Path:
    """One of the Parquet files below a folder, in order of name."""
    return sorted(root.joinpath(*parts).rglob("*.parquet"))[at]


def segment(root: Path, *, signal_name: str = "loss", at: int = 0) -> Path:
    """A segment of the samples' history."""
    return sorted((root / "history/kind=sample").glob(f"*/signal={signal_name}/*/*.parquet"))[at]


def flip(path: Path, position: int | None = None) -> None:
    """Change one byte; without a position one in the middle of the first page."""
    data = bytearray(path.read_bytes())
    if position is None:
        import pyarrow.parquet as pq

        first = pq.read_metadata(path).row_group(0).column(0)
        position = first.data_page_offset + first.total_compressed_size - 2
    data[position] ^= 0x10
    path.write_bytes(bytes(data))


def merge(paths: list[Path]) -> Path:
    """Write the file that a merge of segments leaves; its inputs stay, as after a kill."""
    ranges = [FileRange.parse(path) for path in paths]
    assert all(ranges)
    chunk = sort_chunk(concat_chunks("sample", [read_chunk(path, "sample") for path in paths]))
    target = paths[0].with_name(f"seg-{ranges[0].first:09d}-{ranges[-1].last:09d}.parquet")  # type: ignore[union-attr]
    with target.open("xb") as stream:
        write_chunk(chunk, read_footer(paths[-1]), stream)
    return target


def rewrite(path: Path, change: Callable[[Any], Any], footer: dict[str, Any] | None = None) -> None:
    """Replace a Parquet file by one whose table was changed."""
    from weightslab.ledger.columns import read_table
    from weightslab.ledger.history.segments import write_parquet

    metadata = read_footer(path) if footer is None else footer
    changed = change(read_table(path).replace_schema_metadata(None))
    with path.open("wb") as stream:
        write_parquet(changed, metadata, stream)


def run_script(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script in a process that imports what this one does."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
