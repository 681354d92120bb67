"""Arrays of every writer by (sample_id, annotation_id): of several the newest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from weightslab.ledger import Ledger, View
from weightslab.ledger.arrays.reader import held_keys, read_arrays
from weightslab.queries.frames import ids_of_sorted
from weightslab.queries.lookup import find_rows
from weightslab.queries.merge import WRITER, newest_rows

__all__ = ["latest_arrays"]

_KEYS = ("sample_id", "annotation_id")
_PLACE = "weightslab key"


def latest_arrays(
    ledger: Ledger,
    field: str,
    sample_ids: Sequence[str] | None,
    annotation_ids: Sequence[int] | None,
    home: str,
) -> dict[tuple[str, int], npt.NDArray[Any]]:
    """Arrays of a field, by writer, then in order of first appearance.

    Args:
        home: the split that a bare id means.
    """

    def look() -> dict[tuple[str, int], npt.NDArray[Any]]:
        views = ledger.views()
        wanted = [_held(view, field, sample_ids, annotation_ids, home) for view in views]
        parts = [
            part.with_columns(pl.lit(number, pl.UInt32).alias(WRITER))
            for number, part in enumerate(wanted)
        ]
        if not parts:
            return {}
        found: dict[tuple[str, int], npt.NDArray[Any]] = {}
        for (number,), part in _uncontested(views, pl.concat(parts)).group_by(
            WRITER, maintain_order=True
        ):
            keys = part[_PLACE].to_numpy()
            arrays = read_arrays(views[int(str(number))].store, field, keys)
            for name, annotation, key in part.select(*_KEYS, _PLACE).iter_rows():
                if key in arrays:
                    found[name, annotation] = arrays[key]
        return found

    return ledger.look(look)


def _held(
    view: View,
    field: str,
    sample_ids: Sequence[str] | None,
    annotation_ids: Sequence[int] | None,
    home: str,
) -> pl.DataFrame:
    """What one writer has: its keys, sorted, and their ids."""
    rows = None
    if sample_ids is not None:
        found = set(find_rows(view.store.ids, list(sample_ids), home))
        rows = np.array(sorted(row for row in found if row is not None), np.int64)
    keys = held_keys(view.store, field, rows)
    if annotation_ids is not None:
        keys = keys[np.isin(keys & 0xFFFFFFFF, annotation_ids)]
    return pl.DataFrame(
        [
            ids_of_sorted(view, (keys >> 32).astype(np.int32)),
            pl.Series("annotation_id", (keys & 0xFFFFFFFF).astype(np.int32)),
            pl.Series(_PLACE, keys),
        ]
    )


def _uncontested(views: Sequence[View], held: pl.DataFrame) -> pl.DataFrame:
    """One row a key: where several writers have one, that of the newest."""
    twice = pl.struct(_KEYS).is_duplicated()
    contested = held.filter(twice)
    if contested.is_empty():
        return held
    newest = newest_rows(views, contested).select(held.columns)
    # By writer again, and each writer's keys in order, as they are read.
    return pl.concat([held.filter(~twice), newest]).sort(WRITER, _PLACE)
