"""What the log holds: values, scalars, arrays and changes, as bytes.

Shapes: n rows in a record, k signals saved together for the same rows.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.types import Rows

__all__ = [
    "ARRAYS",
    "CHANGE",
    "VALUES",
    "Values",
    "decode_change",
    "decode_values",
    "encode_change",
    "encode_values",
]

VALUES = 1
CHANGE = 2
ARRAYS = 3

_HEAD = struct.Struct("<qiiI")
_WIDE = 1
_ON_CURVE = 2
_INSTANCE = 4
_SCALAR = 8

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Values:
    """One record of values: k signals for the same n rows at one step.

    Scalars have no rows: each of the k columns holds one value.
    """

    step: int
    codes: tuple[int, ...]
    """Codes of the k signals, as the log's context names them."""
    columns: tuple[Floats, ...]
    """Values of each signal, k arrays [n]."""
    rows: Rows | None = None
    """int32 [n]; None for scalars."""
    annotations: Rows | None = None
    """1-based instance numbers, int32 [n]; None for values of whole samples."""
    on_curve: bool = True
    """Whether the mean of each column also belongs to the global curve."""


def encode_values(record: Values) -> list[bytes]:
    """Payload of a record of values, as parts to be written one after the other."""
    wide = any(column.dtype == np.float64 for column in record.columns)
    flags = _WIDE * wide | _ON_CURVE * record.on_curve
    n = 1
    if record.rows is None:
        flags |= _SCALAR
    else:
        n = len(record.rows)
        if record.annotations is not None:
            flags |= _INSTANCE
    parts = [_HEAD.pack(record.step, n, len(record.codes), flags)]
    parts.append(struct.pack(f"<{len(record.codes)}i", *record.codes))
    if record.rows is not None:
        parts.append(record.rows.tobytes())
        if record.annotations is not None:
            parts.append(record.annotations.tobytes())
    dtype = np.float64 if wide else np.float32
    parts.extend(column.astype(dtype, copy=False).tobytes() for column in record.columns)
    return parts


def decode_values(payload: bytes) -> Values:
    """The record behind a payload made by `encode_values`."""
    step, n, k, flags = _HEAD.unpack_from(payload)
    at = _HEAD.size
    codes = struct.unpack_from(f"<{k}i", payload, at)
    at += 4 * k
    rows = annotations = None
    if not flags & _SCALAR:
        rows = np.frombuffer(payload, np.int32, n, at)
        at += 4 * n
        if flags & _INSTANCE:
            annotations = np.frombuffer(payload, np.int32, n, at)
            at += 4 * n
    dtype = np.dtype(np.float64 if flags & _WIDE else np.float32)
    columns = []
    for _ in range(k):
        columns.append(np.frombuffer(payload, dtype, n, at))
        at += dtype.itemsize * n
    return Values(step, codes, tuple(columns), rows, annotations, bool(flags & _ON_CURVE))


def encode_change(op: dict[str, Any], blob: bytes = b"") -> list[bytes]:
    """Payload of a change: JSON, then raw bytes (row numbers, mostly)."""
    text = json.dumps(op, separators=(",", ":"), ensure_ascii=True).encode()
    return [struct.pack("<I", len(text)), text, blob]


def decode_change(payload: bytes) -> tuple[dict[str, Any], bytes]:
    """The change behind a payload made by `encode_change`."""
    (size,) = struct.unpack_from("<I", payload)
    op: dict[str, Any] = json.loads(payload[4 : 4 + size])
    return op, payload[4 + size :]


def rows_blob(*arrays: Sequence[int] | npt.NDArray[Any]) -> bytes:
    """Several int32 arrays of equal length, one after the other."""
    return b"".join(np.ascontiguousarray(a, dtype=np.int32).tobytes() for a in arrays)
