from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "raw_loop" / "main.py"


def test_the_raw_loop_finds_planted_errors_and_trains_on_without_them(tmp_path: Path) -> None:
    """The example finds most planted errors while it trains, and leaves them out from then on."""
    ended = subprocess.run(
        [sys.executable, EXAMPLE, "--epochs", "8", "--out", tmp_path / "run"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    found = re.search(r"discarded 70 suspects; (\d+) of 70", ended.stdout)
    assert found is not None, ended.stdout
    assert int(found[1]) >= 50
    (path,) = (tmp_path / "run").glob("*_dataframe.csv")
    with path.open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 1797
    suspects = [row for row in table if row["tag:suspect"] == "True"]
    assert len(suspects) == 70
    assert {row["discarded"] for row in suspects} == {"True"}
    assert all(row["target"] and row["prediction"] for row in suspects)
