from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import weightslab as wl
from tests.ledger.support import FailingFiles, sample_rows, samples
from weightslab.errors import WeightsLabWarning
from weightslab.ledger import Ledger, LedgerOptions

FAST = LedgerOptions(flush_interval_s=0.02, sync_interval_s=0.02, log_bytes=4096)


def until(condition: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_a_full_disk_is_said_once_and_writing_resumes_by_itself(tmp_path: Path) -> None:
    """A full disk warns once, training goes on, and every row is written when there is room."""
    files = FailingFiles()
    ledger = Ledger(tmp_path / "run", files=files, options=FAST)
    rows = ledger.ids.block("train", range(50))
    files.broken = True
    with pytest.warns(WeightsLabWarning, match="No space left") as caught:
        for step in range(40):
            ledger.append_samples({"loss": np.full(50, step, np.float32)}, rows, step=step)
            time.sleep(0.002)
        ledger.edit.tag(rows[:1], "hard", True)
    assert len(caught) == 1
    files.broken = False
    until(lambda: ledger.status()["waiting_rows"] == 0)
    ledger.close()
    assert len(sample_rows(tmp_path / "run")) == 2000
    assert samples(tmp_path / "run")[0]["tag:hard"] is True


def test_a_folder_that_cannot_be_made_does_not_stop_training(tmp_path: Path) -> None:
    """Where the run folder cannot be made, values wait in memory until it can."""
    files = FailingFiles()
    files.broken = True
    with pytest.warns(WeightsLabWarning, match="cannot be written"):
        ledger = Ledger(tmp_path / "run", files=files, options=FAST)
    rows = ledger.ids.add(["a", "b"], "train")
    ledger.append_samples({"loss": np.array([1.0, 2.0])}, rows, step=0)
    assert not ledger.attached
    files.broken = False
    until(lambda: ledger.attached)
    ledger.append_samples({"loss": np.array([3.0, 4.0])}, rows, step=1)
    ledger.close()
    assert sample_rows(tmp_path / "run") == [
        ("a", 0, 1.0),
        ("a", 1, 3.0),
        ("b", 0, 2.0),
        ("b", 1, 4.0),
    ]


def test_memory_stays_bounded_when_the_disk_never_comes_back(tmp_path: Path) -> None:
    """Beyond the bound new rows are dropped, counted and said once; training is never held up."""
    files = FailingFiles()
    options = LedgerOptions(flush_interval_s=0.02, sync_interval_s=0.02, most_waiting_rows=1000)
    ledger = Ledger(tmp_path / "run", files=files, options=options)
    rows = ledger.ids.block("train", range(100))
    files.broken = True
    with pytest.warns(WeightsLabWarning):
        ledger.append_samples({"loss": np.zeros(100, np.float32)}, rows, step=0)
        until(lambda: ledger._flusher is not None and ledger._flusher.failing)
        begun = time.monotonic()
        for step in range(1, 50):
            ledger.append_samples({"loss": np.zeros(100, np.float32)}, rows, step=step)
        assert time.monotonic() - begun < 10
    status = ledger.status()
    assert status["waiting_rows"] <= 1200
    assert status["notices"]["dropped"] == 5000 - status["waiting_rows"]
    files.broken = False
    ledger.close()


def test_a_damaged_segment_is_left_out_and_named(tmp_path: Path) -> None:
    """A damaged Parquet file is named in a warning; the rest of the folder opens."""
    ledger = Ledger(tmp_path / "run")
    rows = ledger.ids.add(["a"], "train")
    for step in range(2):
        ledger.append_samples({"loss": np.array([float(step)])}, rows, step=step)
        ledger.flush()
    ledger.close()
    first = min((tmp_path / "run/history/kind=sample").rglob("*.parquet"))
    first.write_bytes(b"PAR1 this is no parquet")
    with pytest.warns(WeightsLabWarning, match=first.name):
        found = sample_rows(tmp_path / "run")
    assert found == [("a", 1, 1.0)]
    assert first.exists()


def test_a_moved_folder_opens_where_it_is(tmp_path: Path) -> None:
    """A run folder can be moved."""
    with wl.Session(tmp_path / "here"):
        wl.save_signals({"loss": [1.0]}, ["a"], step=0)
    (tmp_path / "here").rename(tmp_path / "there")
    assert sample_rows(tmp_path / "there") == [("a", 0, 1.0)]
