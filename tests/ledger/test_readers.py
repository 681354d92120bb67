"""Readers beside a living writer, in another process, without a lock."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tests.ledger.test_kills import WRITER
from weightslab.ledger import Ledger


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
                ((_, chunk),) = view.store.read("sample", signals=["loss"])
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
