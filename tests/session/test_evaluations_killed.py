"""A process that is killed in an evaluation leaves a folder that the next one goes on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import weightslab as wl
from tests.session.evaluated import SAMPLES, Training, curve

SCRIPT = """
import os, signal, sys
import weightslab as wl
from tests.session.evaluated import Training

root, moment = sys.argv[1:]
with wl.Session(root) as session:
    training = Training()
    training.epoch(lambda batch: batch == 1 and wl.request_evaluation("val_loader"))
    if moment == "in the pass":
        @wl.eval_fn
        def evaluate(loader):
            for inputs, targets, _ in loader:
                training.loss(training.model(inputs), targets)
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        kept = session.ledger.append_scalars
        def append_scalars(*args, **kwargs):
            os.kill(os.getpid(), signal.SIGKILL)
        session.ledger.append_scalars = append_scalars
    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
"""


@pytest.mark.parametrize("moment", ["in the pass", "as it publishes"])
def test_the_next_launch_is_right(tmp_path: Path, moment: str) -> None:
    """The plain hash has the training's values alone, and the next marker follows."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "run", moment],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    with wl.Session(tmp_path / "run"):
        Training().epoch(lambda batch: batch == 1 and wl.request_evaluation("val_loader"))
        plain = wl.get_current_experiment_hash()
        assert plain is not None and "_" not in plain
        of_plain = wl.history("loss", exp_hash=plain)
        assert of_plain["sample_id"].str.starts_with("train_loader/").all()
        assert of_plain.group_by("launch").len()["len"].to_list() == [SAMPLES, SAMPLES]
        steps = wl.history("loss", kind="global", exp_hash=plain)["step"].to_list()
        assert sorted(steps) == sorted([*range(5), *range(5)])
        # One that was killed as it published has a number, its rows, and no point.
        last = "2" if moment == "in the pass" else "3"
        assert [number for number, _, _ in curve()] == ["1", last]
        rows = wl.history("loss").group_by("experiment_hash").len()
        markers = rows.filter(pl.col("experiment_hash").str.contains("_"))
        assert set(markers["len"].to_list()) == {SAMPLES}
        assert markers.height == int(last)


@pytest.mark.parametrize("moment", ["in the pass", "as it publishes"])
def test_whoever_looks_on_sees_the_plain_hash(tmp_path: Path, moment: str) -> None:
    """A session that trains nothing has the hash of the training, and exports its values."""
    subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "run", moment],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        timeout=120,
    )
    for mode in ("r", "w"):
        with wl.Session(tmp_path / "run", mode=mode):  # type: ignore[arg-type]
            plain = wl.get_current_experiment_hash()
            assert plain is not None and "_" not in plain
            exported = pl.read_csv(wl.write_history(tmp_path / "out.csv", format="csv"))
            assert set(exported["experiment_hash"].to_list()) == {plain}
