"""History as frames: curves, samples and instances of every writer of a run folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import numpy.typing as npt
import polars as pl

from weightslab.ledger import Ledger, View
from weightslab.ledger.history.partitions import PartitionKey, fold_curve
from weightslab.ledger.history.segments import Chunk, concat_chunks
from weightslab.queries.frames import ids_of_sorted
from weightslab.queries.lookup import find_rows
from weightslab.queries.names import signal_name

__all__ = ["HISTORY_COLUMNS", "held_views", "history_frame", "history_pieces"]

HISTORY_COLUMNS: dict[str, dict[str, pl.DataType]] = {
    "global": {
        "signal": pl.String(), "experiment_hash": pl.String(), "launch": pl.Int32(),
        "step": pl.Int64(), "value": pl.Float64(),
        "min": pl.Float64(), "max": pl.Float64(), "count": pl.Int64(),
    },
    "sample": {
        "signal": pl.String(), "sample_id": pl.String(), "experiment_hash": pl.String(),
        "launch": pl.Int32(), "step": pl.Int64(), "value": pl.Float64(),
    },
    "instance": {
        "signal": pl.String(), "sample_id": pl.String(), "annotation_id": pl.Int32(),
        "experiment_hash": pl.String(), "launch": pl.Int32(),
        "step": pl.Int64(), "value": pl.Float64(),
    },
}  # fmt: skip
"""Columns of each layer, in order."""


def history_frame(
    ledger: Ledger,
    kind: str = "sample",
    signals: Sequence[str] | None = None,
    sample_ids: Sequence[str] | None = None,
    annotation_ids: Sequence[int] | None = None,
    hashes: Sequence[str] | None = None,
    launch: int | None = None,
    home: str = "train",
) -> pl.DataFrame:
    """Every value of one layer that fits the filters (None: no filter).

    Rows stand by signal, then by sample (and annotation), then in order of arrival;
    curves by step. Values still in memory are in it. `home` is the split that a bare id
    means.
    """
    wanted = None if signals is None else [signal_name(s) for s in signals]
    if kind == "global":
        return _finish(ledger.look(lambda: _curves(ledger, wanted, hashes)), kind, launch)

    def look() -> list[pl.DataFrame]:
        frames = []
        for view in ledger.views():
            rows = None if sample_ids is None else _rows(view, sample_ids, home)
            if rows is not None and not len(rows):
                continue
            for key, chunk in view.store.history.read(
                kind, signals=wanted, hashes=hashes, rows=rows
            ):
                kept = _of_annotations(chunk, annotation_ids) if kind == "instance" else chunk
                if len(kept):
                    frames.append(_frame(view, key, kept))
        return frames

    return _finish(ledger.look(look), kind, launch)


def history_pieces(
    ledger: Ledger,
    kind: str,
    *,
    signals: Sequence[str] | None = None,
    sample_ids: Sequence[str] | None = None,
    annotation_ids: Sequence[int] | None = None,
    hashes: Sequence[str] | None = None,
    home: str = "train",
) -> Iterator[pl.DataFrame]:
    """What `history_frame` gives, in the same order, in pieces that memory holds.

    Raises:
        FileNotFoundError: another process merged files meanwhile, and there are too many to
            hold them all: begin anew.
    """
    if kind == "global" or sample_ids is not None:
        yield history_frame(
            ledger, kind, signals, sample_ids, annotation_ids, hashes=hashes, home=home
        )
        return
    schema = HISTORY_COLUMNS[kind]
    wanted = None if signals is None else [signal_name(name) for name in signals]
    with held_views(ledger, kind, wanted, hashes) as views:
        known = [name for view in views for name in view.store.history.signal_names(kind)]
        for name in dict.fromkeys(known):
            if wanted is not None and name not in wanted:
                continue
            for view in views:
                for key, chunk in view.store.history.sweep(kind, signals=[name], hashes=hashes):
                    kept = _of_annotations(chunk, annotation_ids) if kind == "instance" else chunk
                    if len(kept):
                        yield _frame(view, key, kept).select(*schema).cast(schema)  # type: ignore[arg-type]


@contextmanager
def held_views(
    ledger: Ledger, kind: str, signals: Sequence[str] | None, hashes: Sequence[str] | None
) -> Iterator[list[View]]:
    """Every writer at one moment; what their files hold of a layer can be read until the end."""

    def hold() -> tuple[list[View], ExitStack]:
        with ExitStack() as stack:
            views = ledger.views()
            for view in views:
                stack.enter_context(view.store.history.held(kind, signals=signals, hashes=hashes))
            return views, stack.pop_all()

    views, stack = ledger.look(hold)
    with stack:
        yield views


def _rows(view: View, sample_ids: Sequence[str], home: str) -> npt.NDArray[np.int64]:
    # Two spellings of one id ("3" and "train/3") are one row.
    found = set(find_rows(view.store.ids, list(sample_ids), home))
    return np.array(sorted(row for row in found if row is not None), np.int64)


def _of_annotations(chunk: Chunk, annotation_ids: Sequence[int] | None) -> Chunk:
    if annotation_ids is None:
        return chunk
    return chunk.take(np.isin(chunk.columns["annotation_id"], np.array(annotation_ids)))


def _frame(view: View, key: PartitionKey, chunk: Chunk) -> pl.DataFrame:
    columns = [ids_of_sorted(view, chunk.columns["sample"])]
    columns += [pl.Series(name, c) for name, c in chunk.columns.items() if name != "sample"]
    return pl.DataFrame(columns).with_columns(
        pl.lit(key.signal).alias("signal"),
        pl.lit(key.experiment_hash, pl.String).alias("experiment_hash"),
    )


def _curves(
    ledger: Ledger, signals: list[str] | None, hashes: Iterable[str] | None
) -> list[pl.DataFrame]:
    chunks: dict[PartitionKey, list[Chunk]] = {}
    for view in ledger.views():
        for key, chunk in view.store.history.read("global", signals=signals, hashes=hashes):
            chunks.setdefault(key, []).append(chunk)
    frames = []
    for key, parts in chunks.items():
        curve = fold_curve(concat_chunks("global", parts))
        count = pl.Series("count", curve.columns["count"])
        frames.append(
            pl.DataFrame(
                [pl.Series(n, c) for n, c in curve.columns.items() if n != "count"]
            ).with_columns(
                count.set(count == 0, None),
                pl.lit(key.signal).alias("signal"),
                pl.lit(key.experiment_hash, pl.String).alias("experiment_hash"),
            )
        )
    return frames


def _finish(frames: list[pl.DataFrame], kind: str, launch: int | None) -> pl.DataFrame:
    schema = HISTORY_COLUMNS[kind]
    if not frames:
        return pl.DataFrame(schema=schema)
    order = {name: at for at, name in enumerate(dict.fromkeys(f["signal"][0] for f in frames))}
    frames.sort(key=lambda f: order[f["signal"][0]])
    frame = pl.concat([f.select(*schema) for f in frames]).cast(schema)  # type: ignore[arg-type]
    return frame if launch is None else frame.filter(pl.col("launch") == launch)
