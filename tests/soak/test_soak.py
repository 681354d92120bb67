"""What the soak compares at its end; `nox -s soak` is the long one, which also looks for growth."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.soak.suite import check_everything, judge
from tests.soak.watching import Look

ROOT = Path(__file__).parents[2]


def test_a_short_run_is_all_there(tmp_path: Path) -> None:
    """Values, tags, discards and arrays of a training loop with forked workers are all found."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.soak.training", str(tmp_path), "4"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert check_everything(tmp_path) > 0


@pytest.mark.parametrize(("grown_mib", "flat"), [(0.0, True), (19.0, True), (60.0, False)])
def test_growth_is_seen_through_noise(grown_mib: float, flat: bool) -> None:
    """A line through the looks after the first third tells growth from noise."""
    noise = np.random.default_rng(0).normal(0, 3, 180)
    looks = [
        Look(10.0 * at, 300 + grown_mib * max(0, at - 60) / 120 + noise[at], 0, 18, 8, 60, 9)
        for at in range(180)
    ]
    assert judge(looks) is flat
