"""What the log holds: values, scalars, arrays and changes, as bytes.

Shapes: n rows in a record, k signals saved together for the same rows.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from weightslab.types import Rows

__all__ = [
    "ARRAYS",
    "CHANGE",
    "VALUES",
    "Floats",
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
_HEAD_OF_ONE = struct.Struct("<qiiIi")
_WIDE = 1
_ON_CURVE = 2
_INSTANCE = 4
_SCALAR = 8

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]


class Values(NamedTuple):
    """One record of values: k signals for the same n rows at one step.

    Scalars have no rows: each of the k columns holds one value.
    """

    step: int
    codes: tuple[int, ...]
    """Codes of the k signals, as the log's context names them."""
    block: Floats
    """Values of each signal, [k, n], float32 or float64."""
    rows: Rows | None = None
    """int32 [n]; None for scalars."""
    annotations: Rows | None = None
    """1-based instance numbers, int32 [n]; None for values of whole samples."""
    on_curve: bool = True
    """Whether the mean of each column also belongs to the global curve."""


def encode_values(
    step: int,
    codes: Sequence[int],
    columns: Sequence[Floats],
    rows: Rows | None,
    annotations: Rows | None,
    *,
    on_curve: bool,
) -> bytes:
    """Payload of a record: `columns` are k arrays [n]; see `Values` for the rest.

    float64 when one of the columns is. Few operations: every training step waits for it.
    """
    flags = _ON_CURVE if on_curve else 0
    k = len(columns)
    for column in columns:
        if column.itemsize == 8:
            flags |= _WIDE
    if rows is None:
        head = _HEAD.pack(step, 1, k, flags | _SCALAR) + struct.pack(f"<{k}i", *codes)
        return b"".join((head, *_column_bytes(columns, flags)))
    ids = [rows.tobytes()]
    if annotations is not None:
        flags |= _INSTANCE
        ids.append(annotations.tobytes())
    if k == 1:
        head = _HEAD_OF_ONE.pack(step, len(rows), 1, flags, codes[0])
        return b"".join((head, *ids, columns[0].tobytes()))
    head = _HEAD.pack(step, len(rows), k, flags) + struct.pack(f"<{k}i", *codes)
    return b"".join((head, *ids, *_column_bytes(columns, flags)))


def _column_bytes(columns: Sequence[Floats], flags: int) -> tuple[bytes, ...]:
    dtype = np.float64 if flags & _WIDE else np.float32
    return tuple(column.astype(dtype, copy=False).tobytes() for column in columns)


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
    block = np.frombuffer(payload, dtype, n * k, at).reshape(k, n)
    return Values(step, codes, block, rows, annotations, bool(flags & _ON_CURVE))


def encode_change(op: dict[str, Any], blob: bytes = b"") -> bytes:
    """Payload of a change: JSON, then raw bytes (row numbers, mostly)."""
    text = json.dumps(op, separators=(",", ":"), ensure_ascii=True).encode()
    return struct.pack("<I", len(text)) + text + blob


def decode_change(payload: bytes) -> tuple[dict[str, Any], bytes]:
    """The change behind a payload made by `encode_change`."""
    (size,) = struct.unpack_from("<I", payload)
    op: dict[str, Any] = json.loads(payload[4 : 4 + size])
    return op, payload[4 + size :]
