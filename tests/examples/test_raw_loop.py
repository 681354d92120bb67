from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import polars as pl

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
    table = pl.read_csv(path)
    assert table.height == 1797
    suspects = table.filter(pl.col("tag:suspect") == "True")
    assert suspects.height == 70
    assert suspects["discarded"].unique().to_list() == ["True"]
    assert suspects.select("target", "prediction").null_count().row(0) == (0, 0)
