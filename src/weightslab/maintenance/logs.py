"""The logs of one writer: which records wait in them, and what is damaged."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weightslab.ledger.frames import Frame, log_files, read_log
from weightslab.ledger.log_chain import read_logs
from weightslab.ledger.records import ARRAYS, CHANGE, VALUES, decode_change, decode_values

__all__ = ["LogState", "read_state"]

_DAMAGE = (ValueError, KeyError, IndexError, TypeError, RecursionError, struct.error)
"""What a record of other bytes than ours raises."""


@dataclass(slots=True)
class LogState:
    """What the logs of a writer hold."""

    waiting: int = 0
    """Records, without those that only say where a file begins."""
    known: int = 0
    """Rows that they name."""
    most: int = 0
    """One more than the highest sample row that they speak of."""


def read_state(folder: Path, on_damage: Callable[[str, Path, str], None]) -> LogState:
    """Read every log file in `folder` as the ledger would.

    `on_damage` is told the kind, the file and what is wrong: "log" of a file whose whole
    records can be used, "log-file" of one that cannot be read at all.
    """
    state = LogState()
    told: list[tuple[Path, str]] = []
    logged = read_logs(folder, lambda path, error: told.append((Path(path), str(error))))
    for path, text in told:
        on_damage("log-file" if path in logged.unreadable else "log", path, text)
    for frame in logged.frames:
        try:
            _take(frame, state)
        except _DAMAGE as error:
            text = f"record {frame.lsn} cannot be understood ({error})"
            on_damage("log-file", _holder(folder, frame), text)
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
