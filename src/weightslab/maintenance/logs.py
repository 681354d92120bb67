"""The logs of one writer: which records wait in them, and what is damaged."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weightslab.ledger.frames import Frame
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


def read_state(folder: Path, on_damage: Callable[[Path, str], None]) -> LogState:
    """Read every log file in `folder` as the ledger would. What is damaged is told."""
    state = LogState()
    logged = read_logs(folder, lambda path, error: on_damage(Path(path), str(error)))
    for frame in logged.frames:
        try:
            _take(frame, state)
        except _DAMAGE as error:
            on_damage(folder, f"record {frame.lsn} cannot be understood ({error})")
    return state


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
