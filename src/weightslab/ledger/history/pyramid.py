"""A curve in blocks of 256 points, so that ten million of them are drawn from forty thousand.

A merged segment of a curve carries its blocks in its own metadata: they come and go with it.

Shapes: P points, K blocks.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from weightslab.ledger.history.segments import Chunk

__all__ = ["BLOCK", "Blocks", "blocks_of", "packed", "unpacked"]

BLOCK = 256
"""Points of a block."""

_DTYPES = (
    ("launch", np.int32),
    ("first", np.int64),
    ("last", np.int64),
    ("points", np.int64),
    ("value", np.float64),
    ("low", np.float64),
    ("high", np.float64),
)


@dataclass(frozen=True, slots=True)
class Blocks:
    """K blocks of a curve, by launch, then step; a block never spans two launches."""

    launch: npt.NDArray[np.int32]
    first: npt.NDArray[np.int64]
    """First step of each block; `last` its last."""
    last: npt.NDArray[np.int64]
    points: npt.NDArray[np.int64]
    """How many points with a number; what is NaN stands in no block."""
    value: npt.NDArray[np.float64]
    """Mean of the points."""
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.launch)

    @classmethod
    def of(cls, columns: Iterable[npt.NDArray[Any]]) -> Blocks:
        """Blocks of their columns, in the fixed order."""
        launch, first, last, points, value, low, high = columns
        return cls(launch, first, last, points, value, low, high)

    @classmethod
    def none(cls) -> Blocks:
        """No block."""
        return cls.of(np.zeros(0, dtype) for _, dtype in _DTYPES)

    def columns(self) -> tuple[npt.NDArray[Any], ...]:
        """Every column, in a fixed order."""
        return tuple(getattr(self, name) for name, _ in _DTYPES)


def blocks_of(
    chunk: Chunk, size: int = BLOCK, groups: npt.NDArray[np.int64] | None = None
) -> Blocks:
    """Blocks of a curve that is sorted by launch and step; `size` 1 keeps every point.

    `groups`: a number for each row; no block spans two of them.
    """
    c = chunk.columns
    launch, step = c["launch"], c["step"]
    if not len(launch):
        return Blocks.none()
    differ = launch[1:] != launch[:-1]
    if groups is not None:
        differ |= groups[1:] != groups[:-1]
    changes = np.flatnonzero(np.concatenate(([True], differ)))
    spans = zip(changes.tolist(), [*changes[1:].tolist(), len(launch)], strict=True)
    starts = np.concatenate([np.arange(low, high, size) for low, high in spans])
    ends = np.append(starts[1:], len(launch)) - 1
    value = c["value"]
    known = ~np.isnan(value)
    points = np.add.reduceat(known.astype(np.int64), starts)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = np.add.reduceat(np.where(known, value, 0.0), starts) / points
    return Blocks(
        launch[starts],
        step[starts],
        step[ends],
        points,
        mean,
        np.fmin.reduceat(c["min"], starts),
        np.fmax.reduceat(c["max"], starts),
    )


def packed(blocks: Blocks) -> str:
    """Blocks as text for a file's metadata."""
    raw = b"".join(
        np.ascontiguousarray(column, dtype).tobytes()
        for column, (_, dtype) in zip(blocks.columns(), _DTYPES, strict=True)
    )
    return f"{len(blocks)}:" + base64.b85encode(pa.compress(raw, "zstd", asbytes=True)).decode()


def unpacked(text: str) -> Blocks:
    """The blocks behind a text made by `packed`. Raises ValueError when it is none."""
    count, _, data = text.partition(":")
    n = int(count)
    size = n * sum(np.dtype(dtype).itemsize for _, dtype in _DTYPES)
    raw = pa.decompress(base64.b85decode(data), size, "zstd", asbytes=True)
    columns: list[npt.NDArray[Any]] = []
    at = 0
    for _, dtype in _DTYPES:
        columns.append(np.frombuffer(raw, dtype, n, at))
        at += columns[-1].nbytes
    return Blocks.of(columns)
