"""What the ledger's tests share: reading a folder back, files that fail or kill on purpose."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import weightslab as wl
from weightslab.ledger import Ledger
from weightslab.ledger.files import Files

Row = tuple[str, int, float]


def sample_rows(root: Path, signal_name: str = "loss") -> list[Row]:
    """(sample_id, step, value) of a folder, read by a session of its own."""
    with wl.Session(root, mode="r"):
        frame = wl.history(signal_name)
        return frame.select("sample_id", "step", "value").rows()


def samples(root: Path) -> list[dict[str, Any]]:
    """Rows of a folder's sample table."""
    with wl.Session(root, mode="r"):
        return wl.samples().to_dicts()


def run_script(
    script: str, *arguments: object, check: bool = False, path: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own; with `path`, it finds what this one imports."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)} if path else None
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=check,
        timeout=120,
        env=environment,
    )


class FailingFiles(Files):
    """A disk that refuses everything while `broken` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False
        self.unsynced = False
        """Whether folders cannot be synced."""

    def sync_folder(self, path: Path) -> None:
        if self.unsynced:
            raise OSError(errno.EIO, "Input/output error")
        super().sync_folder(path)

    def _refuse(self) -> None:
        if self.broken:
            raise OSError(errno.ENOSPC, "No space left on device")

    def make_folder(self, path: Path) -> None:
        self._refuse()
        super().make_folder(path)

    def map_log(self, path: Path, size_bytes: int) -> Any:
        self._refuse()
        return super().map_log(path, size_bytes)

    def write(self, descriptor: int, data: bytes) -> int:
        self._refuse()
        return super().write(descriptor, data)

    def publish(self, temporary: Path, target: Path, write: Callable[[BinaryIO], object]) -> None:
        self._refuse()
        super().publish(temporary, target, write)


class UnmappedFailingFiles(FailingFiles):
    """The same on a file system that cannot preallocate."""

    def map_log(self, path: Path, size_bytes: int) -> None:
        self._refuse()


class UnmappedFiles(Files):
    """A file system that cannot preallocate."""

    def map_log(self, path: Path, size_bytes: int) -> None:
        return None


def read_ledger(root: Path) -> dict[tuple[str, int], list[tuple[int, float]]]:
    """Trajectories of every (signal, row) of the first writer, without the API."""
    ledger = Ledger(root, mode="r")
    found: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for view in ledger.views():
        for key, chunk in view.store.history.read("sample"):
            for row, step, value in zip(
                chunk.columns["sample"].tolist(),
                chunk.columns["step"].tolist(),
                chunk.columns["value"].tolist(),
                strict=True,
            ):
                found.setdefault((key.signal, row), []).append((step, value))
    return found
