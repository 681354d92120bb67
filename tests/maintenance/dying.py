"""A file layer that kills its process just before the n-th change of a folder."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from weightslab.ledger.files import Files


class DyingFiles(Files):
    """Counts renames, links, removals and new folders."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left = at

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self._count()
        super().link(source, target)

    def remove(self, path: Path) -> None:
        self._count()
        super().remove(path)

    def make_one_folder(self, path: Path) -> None:
        self._count()
        super().make_one_folder(path)
