"""Targets and predictions: as arrays, and as one column of a frame (numbers, else JSON)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from weightslab.ledger.arrays.arrays import ArrayColumn
from weightslab.ledger.arrays.large import LargeFile
from weightslab.queries.frames import nullable

__all__ = ["array_column", "as_text", "file_text"]

_encode = json.JSONEncoder(allow_nan=False).encode


def array_column(column: ArrayColumn, files: dict[int, LargeFile], rows: int) -> pl.Series:
    """Numbers where every sample has one; else JSON: the array, or the file that holds it."""
    plain = None if files else column.uniform_scalars(rows)
    if plain is not None and plain[0].dtype.kind in "biuf":
        values, known = plain
        if values.dtype.kind == "f":
            # As text a narrower float is rounded to its own shortest digits: another number.
            values = values.astype(np.float64)
        return nullable("", values, known)
    texts: list[str | None] = [None] * rows
    for row in column.rows_known().tolist():
        if row < rows:
            texts[row] = as_text(column.get(row))
    for key, file in files.items():
        if key & 0xFFFFFFFF == 0 and key >> 32 < rows:
            texts[key >> 32] = file_text(file)
    return pl.Series(texts, dtype=pl.String)


def file_text(file: LargeFile) -> str:
    """Where a large array lies, as JSON."""
    return json.dumps({"file": file.relative, "bytes": file.size_bytes})


def as_text(value: npt.NDArray[Any] | None) -> str | None:
    """One array as JSON; NaN and infinities are null, a complex number is a pair."""
    if value is None:
        return None
    if value.dtype.kind == "S":
        return value.tobytes().decode()
    plain = value.tolist()
    try:
        return _encode(plain)
    except (TypeError, ValueError):
        return _encode(_finite(plain))


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, complex):
        return [_finite(value.real), _finite(value.imag)]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
