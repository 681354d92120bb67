"""A run of 100 million rows: what it costs to write, to keep and to ask, beside bare tools.

Run: `python -m tests.scale.suite [--rows 100000000] [--folder FOLDER]`. The folder stays when
it is named.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.scale import agreeing, reading, writing
from tests.scale.data import Shape
from tests.scale.measuring import run_phase

__all__ = ["main"]

Phase = tuple[Callable[..., object], tuple[object, ...]]


def phases(folder: Path, shape: Shape) -> list[Phase]:
    """Everything that is measured, in order."""
    root = folder / "run"
    return [
        (writing.bare, (root, shape)),
        (writing.fill, (root, shape)),
        (_merge_due, (root,)),
        (writing.edit, (root, shape)),
        (reading.open_folder, (root,)),
        (reading.of_one, (root, shape)),
        (reading.of_some, (root, shape)),
        (reading.of_all, (root, shape)),
        (reading.table, (root, shape)),
        (reading.export, (root, shape)),
        (_merge_archive, (root,)),
        (reading.of_one, (root, shape)),
        (reading.check_folder, (root,)),
        (agreeing.check_ours, (root, shape)),
        (agreeing.check_duckdb, (root, shape)),
        (agreeing.check_spark, (root, shape)),
        (writing.curve, (folder / "curve", shape.rows // 10)),
    ]


def _merge_due(root: Path) -> None:
    writing.merge(root, archive=False)


def _merge_archive(root: Path) -> None:
    writing.merge(root, archive=True)


def main(arguments: list[str]) -> int:
    """Print every measure; 1 when a phase failed, or a tool's answer was another."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale.suite")
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--folder", type=Path, help="an empty folder to work in, and to keep")
    given = parser.parse_args(arguments)
    shape = Shape.of_rows(given.rows)
    print(f"{shape.samples:,} samples x {shape.epochs} epochs: {shape.rows:,} rows", flush=True)
    with tempfile.TemporaryDirectory(prefix="wl-scale-") as scratch:
        folder = (given.folder or Path(scratch)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        failed = []
        for phase, values in phases(folder, shape):
            if not run_phase(phase, *values):
                failed.append(phase.__name__)
                if phase is writing.fill:
                    break
    print(f"failed: {', '.join(failed)}" if failed else "all answers agree")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
