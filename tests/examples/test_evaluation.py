from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "evaluation" / "main.py"


def test_each_request_is_a_line_and_a_marker(tmp_path: Path) -> None:
    """The example evaluates after each epoch and once over hard samples, and learns meanwhile."""
    ended = subprocess.run(
        [sys.executable, EXAMPLE, "--epochs", "3", "--out", tmp_path / "run"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    lines = re.findall(
        r"\[WeightsLab\] Evaluation 'val' @ step (\d+) — loss=\d\.\d{4}, accuracy=(\d\.\d{4})\n",
        ended.stdout,
    )
    assert [int(step) for step, _ in lines] == [22, 44, 66, 66]
    left = re.findall(
        r"marker ([0-9a-f]{24})_(\d) @ step (\d+): accuracy (\d\.\d{3})\n", ended.stdout
    )
    assert [int(number) for _, number, _, _ in left] == [1, 2, 3, 4]
    assert len({name for name, *_ in left}) == 1
    assert [step for *_, step, _ in left] == [step for step, _ in lines]
    first, *_, last, hard = (float(value) for *_, value in lines)
    assert last > max(first, 0.8)
    assert hard < 0.5
