"""The part of the sample table that one writer knows: samples, then instances.

The ledger's lock is held for plain copies of the columns that are wanted; what takes
time, such as arrays as JSON, is done after it, while training saves on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from weightslab.ledger import View
from weightslab.ledger.arrays import ArrayColumn
from weightslab.ledger.store import Store
from weightslab.queries.arrays import array_column, as_text, snapshot
from weightslab.queries.frames import ids_of_sorted, nullable
from weightslab.queries.names import SIGNAL_PREFIX

__all__ = ["ARRAY_COLUMNS", "BASE_COLUMNS", "column_names", "seen_rows", "view_frame"]

BASE_COLUMNS = {
    "sample_id": pl.String(),
    "annotation_id": pl.Int32(),
    "origin": pl.String(),
    "discarded": pl.Boolean(),
}
"""Columns of every table."""

ARRAY_COLUMNS = {"targets": "target", "preds": "prediction", "preds_raw": "prediction_raw"}
"""Field of the ledger -> column of the table."""


def seen_rows(view: View) -> npt.NDArray[np.int64]:
    """Rows that somebody has seen; the others stand for ids that were edited before."""
    codes, _ = view.store.ids.origin_codes()
    return np.flatnonzero(codes > 0)


def column_names(view: View) -> list[str]:
    """Every column that `view_frame` can give, in the table's order."""
    store = view.store
    with store.lock:
        table = store.samples
        names = [*BASE_COLUMNS, *(f"tag:{name}" for name in (*table.tags, *table.categories))]
        names += [f"{SIGNAL_PREFIX}{name}" for name in table.latest]
        held = {*store.arrays.samples, *store.arrays.instances}
        signals = [f"{SIGNAL_PREFIX}{name}" for name in table.instances.columns()]
    large = {field for field in ARRAY_COLUMNS if any(a == 0 for _, a in store.large.of(field))}
    names += [column for field, column in ARRAY_COLUMNS.items() if field in held | large]
    return list(dict.fromkeys([*names, *signals]))


@dataclass(frozen=True, slots=True)
class _Copies:
    """What one writer held at one moment; n rows."""

    rows: int
    origins: npt.NDArray[np.int32]
    """[n] places in `origin_sets`; 0 for a row that nobody has seen."""
    origin_sets: list[tuple[str, ...]]
    discarded: npt.NDArray[np.bool_]
    tags: dict[str, npt.NDArray[np.bool_]]
    categories: dict[str, tuple[npt.NDArray[np.int16], list[str]]]
    signals: dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]]
    """[n] latest values, and which of them are known."""
    arrays: dict[str, ArrayColumn]
    instance_signals: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]
    instance_arrays: dict[str, dict[tuple[int, int], npt.NDArray[Any]]]


def _copies(store: Store, wants: Callable[[str], bool]) -> _Copies:
    with store.lock:
        n = len(store.ids)
        codes, sets = store.ids.origin_codes()
        table = store.samples
        return _Copies(
            rows=n,
            origins=codes,
            origin_sets=sets,
            discarded=table.bools(table.discarded, n),
            tags={t: table.bools(c, n) for t, c in table.tags.items() if wants(f"tag:{t}")},
            categories={
                tag: (category.column(n), list(category.categories))
                for tag, category in table.categories.items()
                if wants(f"tag:{tag}")
            },
            signals={
                signal: latest.column(n)
                for signal, latest in table.latest.items()
                if wants(f"{SIGNAL_PREFIX}{signal}")
            },
            arrays={
                field: snapshot(column)
                for field, column in store.arrays.samples.items()
                if wants(ARRAY_COLUMNS[field])
            },
            instance_signals=table.instances.columns(),
            instance_arrays={field: dict(held) for field, held in store.arrays.instances.items()},
        )


def view_frame(view: View, wants: Callable[[str], bool]) -> pl.DataFrame:
    """Samples and instances of one writer: the two key columns, and those that are wanted."""
    copies = _copies(view.store, wants)
    seen = np.flatnonzero(copies.origins > 0)
    columns: list[pl.Series] = [
        ids_of_sorted(view, seen.astype(np.int32)),
        pl.Series("annotation_id", np.zeros(len(seen), np.int32)),
    ]
    if wants("origin"):
        texts = [", ".join(names) or None for names in copies.origin_sets]
        origins = pl.Series("origin", texts, dtype=pl.String)
        columns.append(origins.gather(pl.Series(copies.origins[seen])))
    if wants("discarded"):
        columns.append(pl.Series("discarded", copies.discarded[seen]))
    columns += [pl.Series(f"tag:{name}", flags[seen]) for name, flags in copies.tags.items()]
    for name, (codes, categories) in copies.categories.items():
        lookup = pl.Series(f"tag:{name}", [*categories, None], dtype=pl.String)
        index = np.where(codes[seen] < 0, len(categories), codes[seen]).astype(np.uint32)
        columns.append(lookup.gather(pl.Series(index)))
    for name, (values, known) in copies.signals.items():
        columns.append(nullable(f"{SIGNAL_PREFIX}{name}", values[seen], known[seen]))
    for field, column in ARRAY_COLUMNS.items():
        files = view.store.large.of(field) if wants(column) else {}
        if field in copies.arrays or any(annotation == 0 for _, annotation in files):
            held = array_column(copies.arrays.get(field, ArrayColumn()), files, copies.rows)
            columns.append(held.gather(pl.Series(seen)).alias(column))
    frame = pl.DataFrame(columns)
    rows = _instance_frame(view, frame, copies.instance_signals, copies.instance_arrays, wants)
    return frame if rows is None else pl.concat([frame, rows], how="diagonal_relaxed")


def _instance_frame(
    view: View,
    samples: pl.DataFrame,
    signals: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]],
    arrays: dict[str, dict[tuple[int, int], npt.NDArray[Any]]],
    wants: Callable[[str], bool],
) -> pl.DataFrame | None:
    """Rows of instances; discarded and tags are null there."""
    of_arrays = [np.array([(r << 32) | a for r, a in held], np.int64) for held in arrays.values()]
    held_keys = [keys for keys, _ in signals.values()] + of_arrays
    if not held_keys:
        return None
    keys = np.unique(np.concatenate(held_keys))
    rows = (keys >> 32).astype(np.int32)
    names = ids_of_sorted(view, rows)
    columns = [names, pl.Series("annotation_id", (keys & 0xFFFFFFFF).astype(np.int32))]
    for signal, (own, latest) in signals.items():
        if wants(f"{SIGNAL_PREFIX}{signal}"):
            values = np.zeros(len(keys))
            known = np.zeros(len(keys), bool)
            at = np.searchsorted(keys, own)
            values[at] = latest
            known[at] = True
            columns.append(nullable(f"{SIGNAL_PREFIX}{signal}", values, known))
    for field, held in arrays.items():
        if wants(ARRAY_COLUMNS[field]):
            texts = [as_text(held.get((int(k) >> 32, int(k) & 0xFFFFFFFF))) for k in keys]
            columns.append(pl.Series(ARRAY_COLUMNS[field], texts, dtype=pl.String))
    frame = pl.DataFrame(columns)
    if not wants("origin"):
        return frame
    origins = samples.select("sample_id", "origin").unique(subset="sample_id")
    return frame.join(origins, on="sample_id", how="left", maintain_order="left")
