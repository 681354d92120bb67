"""Writers that are gone become files."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from tests.ledger.support import FailingFiles, run_script, sample_rows, samples
from weightslab.errors import FolderError
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.log.frames import log_files
from weightslab.ledger.settle import Settled, settle_writers
from weightslab.notices import Notices

RANK = """
import os, signal, sys, numpy as np
from weightslab.ledger import Ledger, LedgerOptions
ledger = Ledger(sys.argv[1], rank=int(sys.argv[2]), options=LedgerOptions(flush_interval_s=1e6))
rows = ledger.register("train", range(4))
for step in range(5):
    ledger.append_samples({"loss": np.full(4, step, np.float32)}, rows, step=step)
ledger.edit.tag(rows[:1], "hard", True)
ledger.append_arrays("preds", rows, np.arange(4))
os.kill(os.getpid(), signal.SIGKILL)
"""

SETTLE = """
import sys
from pathlib import Path
from tests.ledger.disks import DyingFiles
from weightslab.ledger.settle import settle_writers
print(settle_writers(Path(sys.argv[1]), files=DyingFiles(int(sys.argv[2]))))
"""


def dead_rank(root: Path, rank: int) -> None:
    ended = run_script(RANK, root, rank, path=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def test_a_rank_that_nobody_claims_becomes_files(tmp_path: Path) -> None:
    """The log of a dead rank becomes files, a living one's stays; each row is there once."""
    dead_rank(tmp_path, 7)
    living = Ledger(tmp_path, options=LedgerOptions(flush_interval_s=1e6))
    rows = living.register("train", range(4))
    living.append_samples({"loss": np.zeros(4)}, rows, step=9)
    log = log_files(tmp_path / "_wal" / "0-0")
    before = sorted(sample_rows(tmp_path))
    table = samples(tmp_path)
    assert settle_writers(tmp_path) == Settled(settled=("7-0",), living=("0-0",), refused=())
    assert log_files(tmp_path / "_wal" / "7-0") == []
    assert log_files(tmp_path / "_wal" / "0-0") == log
    assert sorted(sample_rows(tmp_path)) == before
    assert samples(tmp_path) == table
    assert len(before) == 24
    assert settle_writers(tmp_path) == Settled(settled=(), living=("0-0",), refused=())
    living.close()


def test_a_settled_writer_is_taken_up_again(tmp_path: Path) -> None:
    """A launch that has the rank again goes on with its writer."""
    dead_rank(tmp_path, 7)
    settle_writers(tmp_path)
    again = Ledger(tmp_path, rank=7)
    assert (again.writer, len(again.ids)) == ("7-0", 4)
    again.append_samples({"loss": np.zeros(4)}, again.register("train", range(4)), step=9)
    again.close()
    assert len(sample_rows(tmp_path)) == 24


def test_a_disk_that_refuses_leaves_the_log(tmp_path: Path) -> None:
    """What cannot be written stays in the log, is said, and is settled when the disk works."""
    dead_rank(tmp_path, 0)
    files, notices = FailingFiles(), Notices()
    files.broken = True
    found = settle_writers(tmp_path, files=files, notices=notices)
    assert found == Settled(settled=(), living=(), refused=("0-0",))
    assert any("cannot be written" in message for message in notices.messages())
    assert len(log_files(tmp_path / "_wal" / "0-0")) == 1
    files.broken = False
    assert settle_writers(tmp_path, files=files).settled == ("0-0",)
    assert len(sample_rows(tmp_path)) == 20


def test_a_kill_while_settling_loses_nothing(tmp_path: Path) -> None:
    """Killed before any single change of the folder, it leaves every row and tag there, once."""
    at = 0
    while True:
        root = tmp_path / str(at)
        dead_rank(root, 3)
        ended = run_script(SETTLE, root, at, path=True)
        assert len(sample_rows(root)) == 20
        assert [r["tag:hard"] for r in samples(root)] == [True, False, False, False]
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert settle_writers(root).living == ()
        assert len(sample_rows(root)) == 20
        assert [r["prediction"] for r in samples(root)] == [0, 1, 2, 3]
        at += 5
    assert at >= 10


def test_a_folder_without_a_ledger_is_refused(tmp_path: Path) -> None:
    """What is no run folder is said, and nothing is made in it."""
    with pytest.raises(FolderError, match="holds no ledger"):
        settle_writers(tmp_path)
    assert list(tmp_path.iterdir()) == []
