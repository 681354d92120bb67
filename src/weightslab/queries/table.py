"""The part of the sample table that one writer knows: samples, then instances.

The ledger's lock is held for plain copies of the columns that are wanted; what takes
time, such as arrays as JSON, is done after it, while training saves on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from weightslab.ledger import View
from weightslab.ledger.arrays.large import LargeFile
from weightslab.ledger.arrays.reader import held_keys, small_arrays
from weightslab.ledger.arrays.table import Instances
from weightslab.ledger.store import Store
from weightslab.queries.arrays import array_column, as_text, file_text
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
        signals = [f"{SIGNAL_PREFIX}{name}" for name in table.instances.columns()]
    names += [column for field, column in ARRAY_COLUMNS.items() if len(held_keys(store, field))]
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
    instance_signals: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]


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
            instance_signals=table.instances.columns(),
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
    arrays: dict[str, _InstanceArrays] = {}
    for field, column in ARRAY_COLUMNS.items():
        held = held_keys(view.store, field)
        if not len(held):
            continue
        arrays[field] = of_instances = _InstanceArrays(held[held & 0xFFFFFFFF > 0], {}, {})
        if wants(column):
            small, of_instances.small = small_arrays(view.store, field)
            of_instances.large = view.store.large.of(field)
            of_samples = array_column(small, of_instances.large, copies.rows)
            columns.append(of_samples.gather(pl.Series(seen)).alias(column))
    frame = pl.DataFrame(columns)
    rows = _instance_frame(view, frame, copies.instance_signals, arrays, wants)
    return frame if rows is None else pl.concat([frame, rows], how="diagonal_relaxed")


@dataclass(slots=True)
class _InstanceArrays:
    """Arrays of instances of one field; those that nobody wants are known by key alone."""

    keys: npt.NDArray[np.int64]
    small: Instances
    large: dict[int, LargeFile]

    def text(self, key: int) -> str | None:
        """The array of one instance as JSON, or where it lies."""
        file = self.large.get(key)
        return as_text(self.small.get(key)) if file is None else file_text(file)


def _instance_frame(
    view: View,
    samples: pl.DataFrame,
    signals: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]],
    arrays: dict[str, _InstanceArrays],
    wants: Callable[[str], bool],
) -> pl.DataFrame | None:
    """Rows of instances; discarded and tags are null there."""
    of_signals = [keys for keys, _ in signals.values()]
    of_arrays = [held.keys for held in arrays.values() if len(held.keys)]
    if not of_signals and not of_arrays:
        return None
    keys = np.unique(np.concatenate([*of_signals, *of_arrays]))
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
        if wants(ARRAY_COLUMNS[field]) and len(held.keys):
            texts = [held.text(key) for key in keys.tolist()]
            columns.append(pl.Series(ARRAY_COLUMNS[field], texts, dtype=pl.String))
    frame = pl.DataFrame(columns)
    if not wants("origin"):
        return frame
    origins = samples.select("sample_id", "origin").unique(subset="sample_id")
    return frame.join(origins, on="sample_id", how="left", maintain_order="left")
