"""Who writes where, and which launch it belongs to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.ledger.support import sample_rows
from weightslab.ledger import Ledger
from weightslab.ledger.claim import new_launch
from weightslab.ledger.files import Files
from weightslab.ledger.layout import Layout
from weightslab.ledger.log.frames import log_files

if TYPE_CHECKING:
    import pytest

WRITER = """
import sys, numpy as np
from weightslab.ledger import Ledger, LedgerOptions
root, rank, name = sys.argv[1:4]
ledger = Ledger(root, rank=int(rank), options=LedgerOptions(flush_interval_s=1e6))
rows = ledger.ids.add([f"{name}/a", "common"], "train")
for step in range(20):
    ledger.append_samples({"loss": np.array([step, step], np.float32)}, rows, step=step)
ledger.edit.discard(rows[:1], True)
print(ledger.writer, ledger.launch, len(ledger.views()[0].store.ids), flush=True)
sys.stdin.readline()
ledger.close()
"""


class Process:
    """A process that has saved and edited, and goes on living."""

    def __init__(self, root: Path, name: str, rank: int = 0, **environment: str) -> None:
        paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root), str(rank), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **paths, **environment},
        )

    def wait(self) -> tuple[str, int, int]:
        """Its writer, its launch, and how many samples its writer has."""
        assert self._process.stdout is not None
        writer, launch, count = self._process.stdout.readline().split()
        return writer, int(launch), int(count)

    def close(self) -> None:
        self._process.communicate("\n", timeout=60)
        assert self._process.returncode == 0

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate(timeout=60)


@contextmanager
def processes(*started: Process) -> Iterator[tuple[Process, ...]]:
    try:
        yield started
    finally:
        for process in started:
            process.kill()


def times_seen(root: Path) -> dict[str, int]:
    """How often each step of each sample is in the folder."""
    found = sample_rows(root)
    assert len(found) % 20 == 0
    return {name: sum(one == name for one, *_ in found) for name, *_ in found}


def test_a_dead_writer_is_taken_over_and_the_living_ones_are_left_alone(tmp_path: Path) -> None:
    """Killed, a writer's log is replayed by the next process alone; everything is read once."""
    root = tmp_path / "run"
    with processes(Process(root, "p")) as (first,):
        assert first.wait() == ("0-0", 1, 2)
        with processes(Process(root, "q"), Process(root, "r", rank=1)) as (second, other):
            assert second.wait()[0::2] == ("0-1", 2)
            assert other.wait()[0::2] == ("1-0", 2)
            living = {w: log_files(root / "_wal" / w) for w in ("0-1", "1-0")}
            first.kill()
            everything = {"p/a": 20, "q/a": 20, "r/a": 20, "common": 60}
            assert times_seen(root) == everything
            with processes(Process(root, "s")) as (third,):
                writer, _, samples = third.wait()
                # The id that only the dead writer knew, and the two of its own.
                assert (writer, samples) == ("0-0", 3)
                assert times_seen(root) == {**everything, "s/a": 20, "common": 80}
                assert {w: log_files(root / "_wal" / w) for w in living} == living
                third.close()
            second.close()
            other.close()
    assert times_seen(root) == {"p/a": 20, "q/a": 20, "r/a": 20, "s/a": 20, "common": 80}
    assert all(not log_files(root / "_wal" / w) for w in ("0-0", "0-1", "1-0"))
    reader = Ledger(root, mode="r")
    assert reader.notices.messages() == []


def test_ranks_of_one_group_share_a_launch(tmp_path: Path) -> None:
    """Processes with one run id are one launch, whichever saves first, and have own writers."""
    root = tmp_path / "run"
    group = {"TORCHELASTIC_RUN_ID": "one"}
    with processes(*(Process(root, f"r{rank}", rank, **group) for rank in (2, 1, 0))) as ranks:
        found = sorted(rank.wait() for rank in ranks)
        for rank in ranks:
            rank.close()
    assert found == [("0-0", 1, 2), ("1-0", 1, 2), ("2-0", 1, 2)]
    assert [p.name for p in (root / "launches").glob("*.json")] == ["000001.json"]


def launch(root: Path, rank: int) -> int:
    return new_launch(Files(), Layout(root), rank)


def test_a_group_that_is_started_again_is_a_new_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rank takes part in a launch once: the same run id again opens the next one."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert [launch(tmp_path, rank) for rank in (1, 0, 2)] == [1, 1, 1]
    assert [launch(tmp_path, rank) for rank in (2, 0, 1)] == [2, 2, 2]


def test_a_restart_by_the_launcher_is_a_new_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher counts its restarts: a rank that saves first after one opens a launch."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert launch(tmp_path, 0) == 1
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert [launch(tmp_path, rank) for rank in (1, 0)] == [2, 2]


def test_a_process_without_a_group_is_a_launch_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No launcher, no sharing; a launch file that is no JSON is passed over."""
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    assert [launch(tmp_path, 0), launch(tmp_path, 1)] == [1, 2]
    (tmp_path / "launches" / "000002.json").write_text("{")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    assert [launch(tmp_path, 0), launch(tmp_path, 1)] == [3, 3]
    assert json.loads((tmp_path / "launches" / "000003.json").read_text())["group"] == "one/0"


def test_a_client_that_saves_nothing_makes_no_launch(tmp_path: Path) -> None:
    """Who only edits has a writer of its own, an entry in the journal, and no launch."""
    ledger = Ledger(tmp_path)
    ledger.edit.tag(ledger.ids.add(["a"], "train"), "hard", True)
    assert (ledger.writer, ledger.launch) == ("0-0", 0)
    ledger.close()
    assert not (tmp_path / "launches").exists()
    again = Ledger(tmp_path)
    again.append_samples({"loss": np.zeros(1)}, np.zeros(1, np.int32), step=0)
    assert again.launch == 1
    again.close()
