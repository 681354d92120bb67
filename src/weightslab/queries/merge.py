"""The tables of several writers as one: of two values the newest, by launch, then step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl

from weightslab.ledger import View
from weightslab.ledger.history.partitions import PartitionKey
from weightslab.ledger.history.segments import Chunk
from weightslab.ledger.layout import Kind
from weightslab.queries.edits import MergedEdits
from weightslab.queries.frames import ids_of_sorted
from weightslab.queries.names import SIGNAL_PREFIX
from weightslab.queries.table import ARRAY_COLUMNS

__all__ = ["WRITER", "edited_columns", "merge_frames", "newest_rows"]

_KEYS = ("sample_id", "annotation_id")
WRITER = "weightslab writer"
_FEW = 256
"""Samples that are looked up one by one; of more the whole signal is read, piece by piece."""
_PIECES = 16
"""Pieces of which the newest rows are kept apart, before they are folded."""


def edited_columns(edits: MergedEdits) -> list[str]:
    """Columns of tags and categories that any writer has."""
    return [f"tag:{name}" for name in (*edits.tags, *edits.categories)]


def merge_frames(
    views: Sequence[View],
    frames: Sequence[pl.DataFrame],
    edits: MergedEdits,
    wants: Callable[[str], bool],
) -> pl.DataFrame:
    """Rows of several writers as one; `frames` are those of `views`, one each.

    `edits` are those of every writer, also of one that has seen no sample.
    """
    if len(frames) == 1:
        return _with_edits(frames[0], edits, wants)
    marked = [
        frame.with_columns(pl.lit(number, pl.UInt32).alias(WRITER))
        for number, frame in enumerate(frames)
    ]
    stacked = pl.concat(marked, how="diagonal_relaxed")
    rest = [c for c in stacked.columns if c not in (*_KEYS, WRITER)]
    merged = stacked.group_by(*_KEYS, maintain_order=True).agg(pl.col(rest).drop_nulls().first())
    for column in rest:
        if column.startswith(SIGNAL_PREFIX) or column in ARRAY_COLUMNS.values():
            newest = _newest(views, stacked, column)
            if newest is not None:
                merged = (
                    merged.join(newest, on=_KEYS, how="left", maintain_order="left")
                    .with_columns(pl.coalesce("newest", column).alias(column))
                    .drop("newest")
                )
    return _with_edits(merged, edits, wants)


def _newest(views: Sequence[View], stacked: pl.DataFrame, column: str) -> pl.DataFrame | None:
    """Keys and newest value of `column` where several writers have one; None: nowhere."""
    held = stacked.select(*_KEYS, WRITER, column).drop_nulls(column)
    if held[WRITER].n_unique() < 2:
        return None
    contested = held.filter(pl.struct(_KEYS).is_duplicated())
    if contested.is_empty():
        return None
    is_signal = column.startswith(SIGNAL_PREFIX)
    signals = [column.removeprefix(SIGNAL_PREFIX)] if is_signal else None
    newest = newest_rows(views, contested, signals)
    return newest.select(*_KEYS, pl.col(column).alias("newest"))


def newest_rows(
    views: Sequence[View], contested: pl.DataFrame, signals: list[str] | None = None
) -> pl.DataFrame:
    """Of the rows of several writers (column `WRITER`) for one key that of the newest.

    An array does not say when it was saved: its sample's newest value, of any signal, says it.
    """
    ages = [
        _ages(view, contested.filter(pl.col(WRITER) == number), signals).with_columns(
            pl.lit(number, pl.UInt32).alias(WRITER)
        )
        for number, view in enumerate(views)
    ]
    return (
        contested.join(pl.concat(ages), on=[*_KEYS, WRITER], how="left", maintain_order="left")
        .sort(WRITER, descending=True)  # of two equally old the first writer's
        .sort("launch", "step", nulls_last=False, maintain_order=True)
        .unique(_KEYS, keep="last", maintain_order=True)
    )


def _ages(view: View, contested: pl.DataFrame, signals: list[str] | None) -> pl.DataFrame:
    """Launch and step of the last value that a writer has for each of its contested rows."""
    empty = {"row": pl.Int32, "annotation_id": pl.Int32, "launch": pl.Int32, "step": pl.Int64}
    parts = [pl.DataFrame(schema=empty)]
    whole = pl.col("annotation_id") == 0
    kinds: tuple[tuple[Kind, pl.Expr], ...] = (("sample", whole), ("instance", ~whole))
    for kind, of_kind in kinds:
        names = contested.filter(of_kind)["sample_id"].unique()
        if names.is_empty():
            continue
        found = [view.store.ids.find(name) for name in names] if len(names) <= _FEW else None
        history = view.store.history
        if found is None:
            pieces: Iterable[tuple[PartitionKey, Chunk]] = history.scan(kind, signals=signals)
        else:
            rows = np.array(sorted(r for r in found if r is not None))
            pieces = history.read(kind, signals=signals, rows=rows)
        for _, chunk in pieces:
            columns: dict[str, Any] = chunk.columns
            part = pl.DataFrame(
                {
                    "row": columns["sample"],
                    "annotation_id": columns.get("annotation_id", 0),
                    "launch": columns["launch"],
                    "step": columns["step"],
                },
                schema=empty,
            )
            parts.append(part.unique(["row", "annotation_id"], keep="last", maintain_order=True))
            if len(parts) > _PIECES:
                parts = [_latest(parts)]
    latest = _latest(parts).sort("row")
    return latest.with_columns(ids_of_sorted(view, latest["row"].to_numpy())).drop("row")


def _latest(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The newest of each row."""
    return (
        pl.concat(parts)
        .sort("launch", "step", maintain_order=True)
        .unique(["row", "annotation_id"], keep="last", maintain_order=True)
    )


def _with_edits(
    merged: pl.DataFrame, edits: MergedEdits, wants: Callable[[str], bool]
) -> pl.DataFrame:
    states: dict[str, tuple[dict[str, Any], pl.DataType]] = {
        "discarded": (edits.discarded, pl.Boolean())
    }
    states |= {f"tag:{name}": (held, pl.Boolean()) for name, held in edits.tags.items()}
    states |= {f"tag:{name}": (held, pl.String()) for name, held in edits.categories.items()}
    whole = pl.col("annotation_id") == 0
    for column, (held, dtype) in states.items():
        if not wants(column):
            continue
        ids = pl.Series(list(held), dtype=pl.String)
        values = pl.Series(list(held.values()), dtype=dtype)
        found = pl.col("sample_id").replace_strict(ids, values, default=None, return_dtype=dtype)
        if dtype == pl.Boolean():
            found = found.fill_null(value=False)
        merged = merged.with_columns(pl.when(whole).then(found).otherwise(None).alias(column))
    return merged
