from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import weightslab as wl
from tests.ledger.support import FailingFiles, run_script, sample_rows, samples
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
    with pytest.warns(WeightsLabWarning) as caught:
        for step in range(40):
            ledger.append_samples({"loss": np.full(50, step, np.float32)}, rows, step=step)
            time.sleep(0.002)
        ledger.edit.tag(rows[:1], "hard", True)
    first, second = (str(said.message) for said in caught)
    assert "No space left" in first
    assert "'hard' of 1 sample could not be put on the disk" in second
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


HICCUP = """
import os, sys, time, warnings, numpy as np
from pathlib import Path
warnings.simplefilter("ignore")
from tests.ledger.support import FailingFiles, UnmappedFailingFiles
from weightslab.ledger import Ledger, LedgerOptions
files = FailingFiles() if sys.argv[2] == "mapped" else UnmappedFailingFiles()
options = LedgerOptions(flush_interval_s=3600, sync_interval_s=0.05, log_bytes=2048)
if sys.argv[3] == "late":
    files.broken = True
ledger = Ledger(sys.argv[1], files=files, options=options)
rows = ledger.ids.add(["before"], "train")
ledger.append_samples({"loss": np.array([1.0])}, rows, step=0)
files.broken = True
new = ledger.ids.add([f"during{i}" for i in range(300)], "train")
ledger.edit.tag(new[:1], "t", True)
ledger.append_samples({"loss": np.arange(300.0)}, new, step=1)
files.broken = False
deadline = time.monotonic() + 20
while ledger._writer.gap:
    assert time.monotonic() < deadline
    time.sleep(0.01)
ledger.append_samples({"acc": np.array([7.0])}, new[5:6], step=2)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("kind", ["mapped", "appended"])
@pytest.mark.parametrize("when", ["late", "later"])
def test_a_kill_after_a_disk_recovered_loses_and_mixes_nothing(
    tmp_path: Path, kind: str, when: str
) -> None:
    """After a disk came back, ids and values are durable again, and no value changes its sample."""
    ended = run_script(HICCUP, tmp_path / "run", kind, when, path=True)
    assert ended.returncode == -9, ended.stderr
    expected = [("before", 0, 1.0)] + [(f"during{i}", 1, float(i)) for i in range(300)]
    assert sorted(sample_rows(tmp_path / "run")) == sorted(expected)
    assert sample_rows(tmp_path / "run", "acc") == [("during5", 2, 7.0)]
    again = Ledger(tmp_path / "run")
    assert again.ids.add(["stranger"], "train").tolist() == [301]
    again.close()
    assert [r["sample_id"] for r in samples(tmp_path / "run") if r["tag:t"]] == ["during0"]


def test_a_folder_sync_that_fails_after_the_rename_doubles_nothing(tmp_path: Path) -> None:
    """A file whose folder could not be synced is written again, not a second time."""
    files = FailingFiles()
    ledger = Ledger(tmp_path / "run", files=files, options=LedgerOptions(flush_interval_s=3600))
    rows = ledger.ids.add(["a"], "train")
    for step in range(3):
        ledger.append_samples({"loss": np.array([float(step)])}, rows, step=step)
        files.unsynced = step == 1
        if files.unsynced:
            with pytest.warns(WeightsLabWarning, match="cannot be written"):
                ledger.flush()
        else:
            ledger.flush()
    ledger.close()
    assert [step for _, step, _ in sample_rows(tmp_path / "run")] == [0, 1, 2]


def test_a_close_that_loses_edits_says_so_and_lets_go(tmp_path: Path) -> None:
    """Closing on a dead disk says what is not written, and does not hold the folder."""
    files = FailingFiles()
    ledger = Ledger(tmp_path / "run", files=files)
    rows = ledger.ids.add(["a"], "train")
    files.broken = True
    ledger.edit.tag(rows, "t", True)
    with pytest.warns(WeightsLabWarning) as caught:
        ledger.close()
    assert any("not everything could be written" in str(w.message) for w in caught)
    again = Ledger(tmp_path / "run")
    assert again.writer == "0-0"
    again.close()


def test_arrays_on_a_dead_disk_are_bounded_and_counted(tmp_path: Path) -> None:
    """Targets and predictions on a dead disk take bounded memory; what is left out is counted."""
    files = FailingFiles()
    options = LedgerOptions(flush_interval_s=3600, most_waiting_array_bytes=10_000)
    ledger = Ledger(tmp_path / "run", files=files, options=options)
    rows = ledger.ids.block("train", range(100))
    files.broken = True
    with pytest.warns(WeightsLabWarning):
        for step in range(100):
            ledger.append_arrays("preds", rows, np.full(100, step))
    assert ledger._store.pending.array_bytes < 12_000
    assert ledger.status()["notices"]["dropped arrays"] > 8000
    files.broken = False
    ledger.close()


@pytest.mark.parametrize("which", [0, 1])
def test_no_new_sample_gets_the_values_of_one_whose_id_was_lost(tmp_path: Path, which: int) -> None:
    """With an ids file damaged the folder opens, and no later sample takes over lost rows."""
    ledger = Ledger(tmp_path / "run")
    for step, name in enumerate(("a", "b")):
        rows = ledger.ids.add([name], "train")
        ledger.append_samples({"loss": np.array([float(step)])}, rows, step=step)
        ledger.flush()
    ledger.close()
    files = sorted((tmp_path / "run/ids").rglob("*.parquet"))
    files[which].write_bytes(b"nothing")
    with pytest.warns(WeightsLabWarning, match=files[which].name):
        again = Ledger(tmp_path / "run")
    assert again.ids.add(["new"], "train").tolist() == [2]
    again.close()
    kept, lost = ("b", "lost/0") if which == 0 else ("a", "lost/1")
    with pytest.warns(WeightsLabWarning):
        found = sample_rows(tmp_path / "run")
    assert {name for name, *_ in found} == {kept, lost}
