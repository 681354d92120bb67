"""A writer's beacon: eight bytes that change with every edit, so that others need not look.

It holds the log number of the writer's last edit. It is written after the edit is logged
and read before the log is, so that no edit is missed; a wrong one costs a look.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from weightslab.ledger.files import Files
from weightslab.ledger.layout import Layout

__all__ = ["Beacon", "read_beacons"]

_NAME = "edits"
_NUMBER = struct.Struct("<q")


class Beacon:
    """The beacon of this process's writer. Raises OSError when the disk does."""

    def __init__(self, files: Files, folder: Path) -> None:
        self._files = files
        self._path = folder / _NAME
        self._descriptor = -1

    def show(self, lsn: int) -> None:
        """Let others know that there is an edit of this number."""
        if self._descriptor < 0:
            self._descriptor = self._files.open_in_place(self._path)
        self._files.write_in_place(self._descriptor, _NUMBER.pack(lsn))

    def close(self) -> None:
        """Let the file go; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def read_beacons(layout: Layout) -> dict[str, bytes]:
    """What each writer's beacon shows; empty for one that never edited, or cannot be read."""
    found: dict[str, bytes] = {}
    try:
        entries = os.scandir(layout.logs)
    except (FileNotFoundError, NotADirectoryError):
        return found
    with entries:
        for entry in entries:
            if entry.is_dir():
                try:
                    found[entry.name] = (Path(entry.path) / _NAME).read_bytes()
                except OSError:
                    found[entry.name] = b""
    return found
