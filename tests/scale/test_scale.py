"""The scale run in its smallest form; `nox -s scale` is the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_phase_of_a_small_run_goes_through_and_all_tools_agree() -> None:
    """Everything that the scale run measures works, and other readers give the same answers."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.scale.suite", "--rows", "100000"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "all answers agree" in ended.stdout
    assert "DuckDB" in ended.stdout
