"""The logs of one writer: which records wait in them, and what is damaged."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weightslab.ledger.log.chain import read_logs
from weightslab.ledger.log.frames import Frame, log_files, read_log
from weightslab.ledger.log.records import ARRAYS, CHANGE, VALUES, decode_change, decode_values

__all__ = ["LogState", "Logs"]

_DAMAGE = (ValueError, KeyError, IndexError, TypeError, RecursionError, struct.error)
"""What a record of other bytes than ours raises."""


OnDamage = Callable[[str, Path, str], None]
"""Told the kind, the file and what is wrong: "log" of a file whose whole records can be
used, "log-file" of one that cannot be read at all."""


@dataclass(slots=True)
class LogState:
    """What the logs of a writer hold."""

    waiting: int = 0
    """Records, without those that only say where a file begins."""
    known: int = 0
    """Rows that they name."""
    most: int = 0
    """One more than the highest sample row that they speak of."""


class Logs:
    """The logs in one folder: read at once, judged when it is known what files hold."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told: list[tuple[Path, str]] = []
        self._chain = read_logs(folder, self._tell)

    def _tell(self, path: str, error: OSError) -> None:
        self._told.append((Path(path), str(error)))

    def judge(self, published_lsn: int, on_damage: OnDamage) -> LogState:
        """What the ledger takes from them, beside files that hold up to `published_lsn`."""
        state = LogState()
        frames = self._chain.frames(published_lsn, self._tell)
        for path, text in self._told:
            on_damage("log-file" if path in self._chain.unreadable else "log", path, text)
        for frame in frames:
            try:
                _take(frame, state)
            except _DAMAGE as error:
                text = f"record {frame.lsn} cannot be understood ({error})"
                on_damage("log-file", _holder(self._folder, frame), text)
        return state


def _holder(folder: Path, frame: Frame) -> Path:
    """The file that a record stands in; the folder when it went meanwhile."""
    for path in log_files(folder):
        with contextlib.suppress(OSError, ValueError):
            if frame in read_log(path).frames:
                return path
    return folder


def _take(frame: Frame, state: LogState) -> None:
    if frame.kind == VALUES:
        rows = decode_values(frame.payload).rows
        if rows is not None and len(rows):
            state.most = max(state.most, int(rows.max()) + 1)
    elif frame.kind in (CHANGE, ARRAYS):
        op, blob = decode_change(frame.payload)
        if op["op"] == "context":
            return
        _take_change(op, blob, state)
    else:
        raise ValueError(f"its kind is {frame.kind}")
    state.waiting += 1


def _take_change(op: dict[str, Any], blob: bytes, state: LogState) -> None:
    if op["op"] == "names":
        state.known = max(state.known, op["start"] + len(op["names"]))
    elif op["op"] == "block":
        state.known = max(state.known, op["start"] + op["count"])
    elif op["op"] in ("edit", "arrays") and op["n"]:
        rows = np.frombuffer(blob, np.int32, op["n"])
        state.most = max(state.most, int(rows.max()) + 1)
