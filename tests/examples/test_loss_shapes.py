from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "loss_shapes" / "main.py"
SHAPES = ("monotonic", "plateaued", "Flat_high", "high_variance", "U_Shape", "Spiked")


def test_loss_shapes_tell_flipped_labels_from_clean_ones(tmp_path: Path) -> None:
    """The example draws how often each shape was found; flipped labels stay high, clean do not."""
    ended = subprocess.run(
        [sys.executable, EXAMPLE, "--epochs", "40", "--out", tmp_path / "run"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    counts = {}
    for shape in (*SHAPES, "not looked at"):
        found = re.search(rf"^{shape} +(\d+) [ █]+?(\d+)( +█*)?$", ended.stdout, re.MULTILINE)
        assert found is not None, ended.stdout
        counts[shape] = (int(found[1]), int(found[2]))
    assert sum(clean for clean, _ in counts.values()) == 1618
    assert sum(flipped for _, flipped in counts.values()) == 179
    clean, flipped = counts["Flat_high"]
    assert flipped > 60
    assert clean < flipped / 2
    assert sum(counts["high_variance"]) > 100
    (path,) = (tmp_path / "run").glob("*_dataframe.csv")
    with path.open() as file:
        table = list(csv.DictReader(file))
    tagged = [row for row in table if row["tag:loss_shape"]]
    assert len(tagged) == 1797 - sum(counts["not looked at"])
    assert {SHAPES[int(float(r["signals//loss_shape_classifier"]))] for r in tagged} == {
        row["tag:loss_shape"] for row in tagged
    }
