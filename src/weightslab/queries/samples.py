"""The sample table as a frame: one row per (sample_id, annotation_id)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from weightslab.ledger import Ledger, View
from weightslab.queries.edits import merged_edits
from weightslab.queries.merge import edited_columns, merge_frames
from weightslab.queries.names import in_origin, origin_spellings, tag_name
from weightslab.queries.table import BASE_COLUMNS, column_names, seen_rows, view_frame

__all__ = ["Choice", "discarded_ids", "samples_frame", "tagged_ids"]

_KEYS = ("sample_id", "annotation_id")

Choice = Callable[[Sequence[str]], Iterable[str]]
"""Of the columns that there are, those to build."""


def samples_frame(
    ledger: Ledger,
    origin: str | None = None,
    tag: str | None = None,
    columns: Choice | None = None,
) -> pl.DataFrame:
    """What is true of every sample now, then of every instance.

    Args:
        origin: one split ("train" also finds "train_loader"); None: all.
        tag: only samples that have this tag; of a categorical one, any value.
        columns: chooses columns besides sample_id and annotation_id, the only ones that
            are built; None: all.
    """
    return ledger.look(lambda: _samples_frame(ledger, origin, tag, columns))


def _samples_frame(
    ledger: Ledger, origin: str | None, tag: str | None, columns: Choice | None
) -> pl.DataFrame:
    writers = ledger.views()
    # Who edited before it saw a sample has a say too.
    edits = merged_edits(ledger, writers) if len(writers) > 1 else None
    views = [view for view in writers if len(seen_rows(view))]
    there = [*BASE_COLUMNS, *(name for view in views for name in column_names(view))]
    if edits is not None:
        there += edited_columns(edits)
    there = list(dict.fromkeys(there))
    chosen = list(there if columns is None else columns(there))
    by_tag = None if tag is None else f"tag:{tag_name(tag, _tags_in(there))}"
    built = {*chosen, *((by_tag,) if by_tag else ()), *(("origin",) if origin is not None else ())}
    if not views:
        return pl.DataFrame(schema=BASE_COLUMNS).select(*_KEYS, *_others(chosen))
    wants = built.__contains__
    frames = [view_frame(view, wants) for view in views]
    frame = frames[0] if edits is None else merge_frames(views, frames, edits, wants)
    if origin is not None:
        spelled = origin_spellings(origin)
        frame = frame.filter(
            pl.col("origin").str.split(", ").list.eval(pl.element().is_in(list(spelled))).list.any()
        )
    if by_tag is not None:
        frame = _tagged(frame, by_tag)
    return frame.select(*_KEYS, *_others(chosen))


def _others(chosen: list[str]) -> list[str]:
    return [column for column in chosen if column not in _KEYS]


def _tags_in(columns: list[str]) -> list[str]:
    return [name.removeprefix("tag:") for name in columns if name.startswith("tag:")]


def _tagged(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    if column not in frame.columns:
        return frame.clear()
    if frame.schema[column] == pl.Boolean:
        return frame.filter(pl.col(column).fill_null(value=False))
    return frame.filter(pl.col(column).is_not_null())


def tagged_ids(ledger: Ledger, tag: str, origin: str | None) -> list[str]:
    """Ids of samples with a tag, in order of first appearance."""
    views = ledger.views()
    if len(views) != 1:
        frame = samples_frame(ledger, origin, tag, columns=lambda _: ())
        return frame.filter(pl.col("annotation_id") == 0)["sample_id"].to_list()
    store = views[0].store
    with store.lock:
        tag = tag_name(tag, (*store.samples.tags, *store.samples.categories))
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
        frame = samples_frame(ledger, origin, columns=lambda _: ("discarded",))
        return frame.filter(pl.col("discarded").fill_null(value=False))["sample_id"].to_list()
    store = views[0].store
    with store.lock:
        return _ids_in(views[0], np.flatnonzero(store.samples.discarded), origin)


def _ids_in(view: View, rows: npt.NDArray[np.int64], origin: str | None) -> list[str]:
    codes, sets = view.store.ids.origin_codes()
    fits = np.array([bool(names) and in_origin(names, origin) for names in sets], bool)
    rows = rows[rows < len(codes)]
    return view.store.ids.names(rows[fits[codes[rows]]].astype(np.int32))
