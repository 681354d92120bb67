"""Readers beside a living writer, in another process, without a lock."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from tests.ledger.test_kills import WRITER
from weightslab.ledger import Ledger
from weightslab.queries.samples import discarded_ids


def test_a_reader_beside_a_writer_sees_every_acknowledged_row_at_any_moment(tmp_path: Path) -> None:
    """While another process logs, flushes and retires, each look is whole and names no damage."""
    acknowledged = np.memmap(tmp_path / "ack", dtype=np.int64, mode="w+", shape=(1,))
    root = tmp_path / "run"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(tmp_path / "ack")], stderr=subprocess.PIPE
    )
    try:
        while acknowledged[0] < 10:
            time.sleep(0.005)
        looks = 0
        until = time.monotonic() + 5
        while time.monotonic() < until:
            known = int(acknowledged[0])
            reader = Ledger(root, mode="r")

            def look(reader: Ledger = reader) -> tuple[np.ndarray, list[str]]:
                (view,) = reader.views()
                ((_, chunk),) = view.store.history.read("sample", signals=["loss"])
                names = view.store.ids.names(np.unique(chunk.columns["sample"]))
                return np.sort(chunk.columns["step"])[::2], names

            steps, names = reader.look(look)
            assert len(steps) >= known
            assert (steps == np.arange(len(steps))).all()
            assert not any(name.startswith("lost/") for name in names)
            assert reader.notices.messages() == []
            looks += 1
        assert looks > 5
    finally:
        writer.kill()
        writer.communicate()


EDITOR = """
import sys, time, numpy as np
from weightslab.ledger import Ledger, LedgerOptions
root, acknowledged, rank = sys.argv[1:4]
ack = np.memmap(acknowledged, dtype=np.int64, mode="r+")
ledger = Ledger(root, rank=int(rank), options=LedgerOptions(
    flush_interval_s=0.1, sync_interval_s=0.03, log_bytes=1 << 14, base_interval_s=0.1))
place = int(rank)
while True:
    step = int(ack[place])
    rows = ledger.ids.add([f"r{rank}/{step}", "shared"], "train")
    ledger.append_samples({"loss": np.array([step, step], np.float32)}, rows, step=step)
    ledger.edit.discard(rows[:1], True)
    ledger.edit.discard(rows[1:], bool(step % 2))
    ack[place] = step + 1
    time.sleep(0.005)
"""


def steps_by_writer(reader: Ledger) -> dict[str, list[int]]:
    """The step of every value that each writer has saved."""
    return {
        view.writer: [
            step
            for _, chunk in view.store.history.read("sample", signals=["loss"])
            for step in chunk.columns["step"].tolist()
        ]
        for view in reader.views()
    }


class Ranks:
    """Processes that save and edit side by side, one for each rank."""

    def __init__(self, folder: Path, count: int) -> None:
        self.root = folder / "run"
        self._path = folder / "ack"
        self.acknowledged = np.memmap(self._path, dtype=np.int64, mode="w+", shape=(count,))
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, rank: int) -> None:
        begun = int(self.acknowledged[rank])
        self._processes[rank] = subprocess.Popen(
            [sys.executable, "-c", EDITOR, str(self.root), str(self._path), str(rank)],
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 60
        while self.acknowledged[rank] < begun + 5 and time.monotonic() < deadline:
            time.sleep(0.005)

    def kill(self, rank: int) -> None:
        process = self._processes.pop(rank)
        process.kill()
        _, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors.decode()

    def close(self) -> None:
        for rank in list(self._processes):
            self.kill(rank)

    def look(self, killed: int) -> None:
        """Everything that was acknowledged is there once, by every way to read it."""
        known = self.acknowledged.tolist()
        reader = Ledger(self.root, mode="r")
        discarded = set(discarded_ids(reader, None))
        saved = reader.look(lambda: steps_by_writer(reader))
        assert sorted(saved) == [f"{rank}-0" for rank in range(len(known))]
        for rank, count in enumerate(known):
            times = Counter(saved[f"{rank}-0"])
            assert set(times) >= set(range(count))
            # A killed step that was not acknowledged is saved again by whoever takes over.
            again = [step for step, count in times.items() if count != 2]
            assert len(again) <= (killed if rank == 0 else 0)
            assert discarded >= {f"r{rank}/{step}" for step in range(count)}
        assert reader.notices.messages() == []


def test_readers_beside_several_writers_of_which_one_dies_see_everything_once(
    tmp_path: Path,
) -> None:
    """While ranks save, edit, flush, are killed and taken over, each look is whole."""
    ranks = Ranks(tmp_path, 2)
    try:
        for rank in range(2):
            ranks.start(rank)
        for killed in range(3):
            ranks.look(killed)
            ranks.kill(0)
            ranks.look(killed + 1)
            ranks.start(0)
        ranks.look(3)
    finally:
        ranks.close()
    last = Ledger(ranks.root, rank=0)
    assert last.writer == "0-0"
    last.close()
    ranks.look(3)
