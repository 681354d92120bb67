"""From the ledger's numpy columns to Polars, without copying more than is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from weightslab.ledger import View
from weightslab.ledger.ids.file import id_strings

__all__ = ["ids_of_sorted", "nullable"]


def ids_of_sorted(view: View, rows: npt.NDArray[np.int32]) -> pl.Series:
    """Sample id of each of `rows`, which are sorted; each id is made once. String [n]."""
    if not len(rows):
        return pl.Series("sample_id", [], pl.String)
    first = np.concatenate(([True], rows[1:] != rows[:-1]))
    unique = rows[first].astype(np.int64)
    names = pl.Series("sample_id", id_strings(view.store.ids, unique))
    if len(unique) == len(rows):
        return names
    return names.gather(pl.Series(np.cumsum(first, dtype=np.uint32) - np.uint32(1)))


def nullable(name: str, values: npt.NDArray[Any], known: npt.NDArray[np.bool_]) -> pl.Series:
    """A column that is null where a value is not known."""
    column = pl.Series(name, values)
    if known.all():
        return column
    return column.set(pl.Series(~known), None)
