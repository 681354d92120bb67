"""The sample table as a frame: one row per (sample_id, annotation_id)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from weightslab.errors import UnknownOptionError
from weightslab.ledger import Ledger, View
from weightslab.ledger.arrays import ArrayColumn
from weightslab.ledger.large import LargeFile
from weightslab.queries.edits import MergedEdits, merged_edits
from weightslab.queries.frames import ids_of_sorted, nullable
from weightslab.queries.names import SIGNAL_PREFIX, in_origin, origin_spellings

__all__ = ["discarded_ids", "samples_frame", "tagged_ids"]

_ARRAY_COLUMNS = {"targets": "target", "preds": "prediction", "preds_raw": "prediction_raw"}
_KEYS = ("sample_id", "annotation_id")


def samples_frame(
    ledger: Ledger,
    origin: str | None = None,
    tag: str | None = None,
    columns: Sequence[str] | None = None,
) -> pl.DataFrame:
    """What is true of every sample now, then of every instance.

    Args:
        origin: one split ("train" also finds "train_loader"); None: all.
        tag: only samples that have this tag; of a categorical one, any value.
        columns: these columns besides sample_id and annotation_id; None: all.

    Raises:
        UnknownOptionError: a column that does not exist.
    """
    views = ledger.views()
    frames = [frame for frame in (_view_frame(view) for view in views) if frame.height]
    if not frames:
        frame = _empty()
    elif len(frames) == 1:
        frame = frames[0]
    else:
        frame = _merge(frames, merged_edits(ledger))
    if origin is not None:
        spelled = origin_spellings(origin)
        frame = frame.filter(
            pl.col("origin").str.split(", ").list.eval(pl.element().is_in(list(spelled))).list.any()
        )
    if tag is not None:
        frame = _tagged(frame, tag)
    if columns is not None:
        for name in columns:
            if name not in frame.columns:
                raise UnknownOptionError("column", name, frame.columns)
        frame = frame.select(*_KEYS, *(c for c in columns if c not in _KEYS))
    return frame


def _empty() -> pl.DataFrame:
    return pl.DataFrame(
        schema={
            "sample_id": pl.String,
            "annotation_id": pl.Int32,
            "origin": pl.String,
            "discarded": pl.Boolean,
        }
    )


def _tagged(frame: pl.DataFrame, tag: str) -> pl.DataFrame:
    column = f"tag:{tag.removeprefix('tag:')}"
    if column not in frame.columns:
        return frame.clear()
    if frame.schema[column] == pl.Boolean:
        return frame.filter(pl.col(column).fill_null(value=False))
    return frame.filter(pl.col(column).is_not_null())


def _view_frame(view: View) -> pl.DataFrame:
    """Samples and instances of one writer."""
    store = view.store
    with store.lock:
        n = len(store.ids)
        codes, sets = store.ids.origin_codes()
        table = store.samples
        discarded = table.bools(table.discarded, n)
        tags = {name: table.bools(column, n) for name, column in table.tags.items()}
        categories = {
            name: (column.column(n), list(column.categories))
            for name, column in table.categories.items()
        }
        signals = {name: latest.column(n) for name, latest in table.latest.items()}
        arrays = {
            column: _array_column(store.arrays.samples.get(field), store.large.of(field), n)
            for field, column in _ARRAY_COLUMNS.items()
            if field in store.arrays.samples or any(a == 0 for _, a in store.large.of(field))
        }
        instances = table.instances.columns()
        targets = {
            _ARRAY_COLUMNS[field]: dict(held) for field, held in store.arrays.instances.items()
        }
    # Rows without an origin stand for ids that were edited before anybody saw them.
    seen = np.flatnonzero(codes > 0)
    origins = pl.Series([", ".join(names) if names else None for names in sets], dtype=pl.String)
    columns: list[pl.Series] = [
        ids_of_sorted(view, seen.astype(np.int32)),
        pl.Series("annotation_id", np.zeros(len(seen), np.int32)),
        origins.gather(pl.Series(codes[seen])).alias("origin"),
        pl.Series("discarded", discarded[seen]),
    ]
    for name, flags in tags.items():
        columns.append(pl.Series(f"tag:{name}", flags[seen]))
    for name, (category, texts) in categories.items():
        held = category[seen]
        lookup = pl.Series([*texts, None], dtype=pl.String)
        index = np.where(held < 0, len(texts), held).astype(np.uint32)
        columns.append(lookup.gather(pl.Series(index)).alias(f"tag:{name}"))
    for name, (values, known) in signals.items():
        columns.append(nullable(f"{SIGNAL_PREFIX}{name}", values[seen], known[seen]))
    for name, series in arrays.items():
        columns.append(series.gather(pl.Series(seen)).alias(name))
    frame = pl.DataFrame(columns)
    rows = _instance_frame(view, frame, instances, targets)
    return frame if rows is None else pl.concat([frame, rows], how="diagonal_relaxed")


def _array_column(
    column: ArrayColumn | None, files: dict[tuple[int, int], LargeFile], n: int
) -> pl.Series:
    """Numbers where every sample has one; else JSON: the array, or the file that holds it."""
    column = column or ArrayColumn()
    plain = None if files else column.uniform_scalars(n)
    if plain is not None and plain[0].dtype.kind in "biuf":
        values, known = plain
        if values.dtype.kind == "f":
            # As text a narrower float is rounded to its own shortest digits: another number.
            values = values.astype(np.float64)
        return nullable("", values, known)
    texts: list[str | None] = [None] * n
    for row in column.rows_known():
        texts[row] = _as_text(column.get(row))
    for (row, annotation), file in files.items():
        if annotation == 0:
            texts[row] = json.dumps({"file": file.relative, "bytes": file.size_bytes})
    return pl.Series(texts, dtype=pl.String)


def _as_text(value: npt.NDArray[Any] | None) -> str | None:
    if value is None:
        return None
    if value.dtype.kind == "S":
        return value.tobytes().decode()
    return json.dumps(_finite(value.tolist()))


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, complex):
        return [_finite(value.real), _finite(value.imag)]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _instance_frame(
    view: View,
    samples: pl.DataFrame,
    signals: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]],
    targets: dict[str, dict[tuple[int, int], npt.NDArray[Any]]],
) -> pl.DataFrame | None:
    """Rows of instances; discarded and tags are null there."""
    of_targets = {
        name: np.array(sorted((row << 32) | a for row, a in held), np.int64)
        for name, held in targets.items()
    }
    held_keys = [keys for keys, _ in signals.values()] + list(of_targets.values())
    if not held_keys:
        return None
    keys = np.unique(np.concatenate(held_keys))
    rows = (keys >> 32).astype(np.int32)
    names = ids_of_sorted(view, rows)
    columns = [names, pl.Series("annotation_id", (keys & 0xFFFFFFFF).astype(np.int32))]
    for signal, (own, latest) in signals.items():
        values = np.zeros(len(keys))
        known = np.zeros(len(keys), bool)
        at = np.searchsorted(keys, own)
        values[at] = latest
        known[at] = True
        columns.append(nullable(f"{SIGNAL_PREFIX}{signal}", values, known))
    for name, held in targets.items():
        texts = [_as_text(held.get((int(k) >> 32, int(k) & 0xFFFFFFFF))) for k in keys]
        columns.append(pl.Series(name, texts, dtype=pl.String))
    frame = pl.DataFrame(columns)
    origins = samples.select("sample_id", "origin").unique(subset="sample_id")
    return frame.join(origins, on="sample_id", how="left", maintain_order="left")


def _merge(frames: list[pl.DataFrame], edits: MergedEdits) -> pl.DataFrame:
    """Rows of several writers as one: the first writer that knows a value gives it."""
    stacked = pl.concat(frames, how="diagonal_relaxed")
    rest = [c for c in stacked.columns if c not in _KEYS]
    merged = stacked.group_by(*_KEYS, maintain_order=True).agg(pl.col(rest).drop_nulls().first())
    states: dict[str, tuple[dict[str, Any], pl.DataType]] = {
        "discarded": (edits.discarded, pl.Boolean())
    }
    states |= {f"tag:{name}": (held, pl.Boolean()) for name, held in edits.tags.items()}
    states |= {f"tag:{name}": (held, pl.String()) for name, held in edits.categories.items()}
    whole = pl.col("annotation_id") == 0
    for column, (held, dtype) in states.items():
        ids = pl.Series(list(held), dtype=pl.String)
        values = pl.Series(list(held.values()), dtype=dtype)
        found = pl.col("sample_id").replace_strict(ids, values, default=None, return_dtype=dtype)
        if dtype == pl.Boolean():
            found = found.fill_null(value=False)
        merged = merged.with_columns(pl.when(whole).then(found).otherwise(None).alias(column))
    return merged


def tagged_ids(ledger: Ledger, tag: str, origin: str | None) -> list[str]:
    """Ids of samples with a tag, in order of first appearance."""
    views = ledger.views()
    if len(views) != 1:
        frame = samples_frame(ledger, origin, tag)
        return frame.filter(pl.col("annotation_id") == 0)["sample_id"].to_list()
    store = views[0].store
    with store.lock:
        column = store.samples.tags.get(tag)
        category = store.samples.categories.get(tag)
        if column is not None:
            rows = np.flatnonzero(column)
        elif category is not None:
            rows = np.flatnonzero(category.codes >= 0)
        else:
            return []
        return _ids_in(views[0], rows, origin)


def discarded_ids(ledger: Ledger, origin: str | None) -> list[str]:
    """Ids of discarded samples, in order of first appearance."""
    views = ledger.views()
    if len(views) != 1:
        frame = samples_frame(ledger, origin)
        return frame.filter(pl.col("discarded").fill_null(value=False))["sample_id"].to_list()
    store = views[0].store
    with store.lock:
        return _ids_in(views[0], np.flatnonzero(store.samples.discarded), origin)


def _ids_in(view: View, rows: npt.NDArray[np.int64], origin: str | None) -> list[str]:
    codes, sets = view.store.ids.origin_codes()
    fits = np.array([bool(names) and in_origin(names, origin) for names in sets], bool)
    rows = rows[rows < len(codes)]
    return view.store.ids.names(rows[fits[codes[rows]]].astype(np.int32))
