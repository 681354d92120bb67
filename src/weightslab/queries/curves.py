"""A curve thinned to what a screen can show: deterministic, with its extremes and its ends.

Shapes: N points or blocks of the curve, B buckets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack

import numpy as np
import polars as pl

from weightslab.errors import InputError
from weightslab.ledger import Ledger
from weightslab.ledger.history.curve import CurvePiece, folded_blocks, folded_points
from weightslab.ledger.history.pyramid import BLOCK, Blocks
from weightslab.queries.names import signal_name

__all__ = ["curve_buckets"]

_BLOCKS_A_BUCKET = 2
"""Blocks are taken instead of points where a bucket gets at least so many."""


def curve_buckets(
    ledger: Ledger,
    signal: str,
    *,
    start: int | None = None,
    stop: int | None = None,
    buckets: int = 2000,
    hashes: Sequence[str] | None = None,
    launch: int | None = None,
) -> pl.DataFrame:
    """The curve of a signal between two steps in at most `buckets` rows.

    A bucket is an equal share of the steps `start..stop`. With few points each is a row of its
    own; with very many, a bucket's border is as coarse as half a bucket.

    Args:
        start: first step; None: the curve's first.
        stop: last step, included; None: the curve's last, whose point is always in.
        hashes: experiment hashes; None: all.
        launch: one launch; None: all.

    Returns:
        A step is one point for each hash and launch, as in `history_frame`.
        Columns step and last_step (first and last of the bucket's points), value (their
        mean), min, max, points; by step. Empty buckets have no row, and NaN no point.

    Raises:
        InputError: no bucket at all.
    """
    if buckets < 1:
        raise InputError(f"buckets must be at least 1; got {buckets}")
    wanted = signal_name(signal)
    return ledger.look(lambda: _buckets(ledger, wanted, (start, stop), buckets, hashes, launch))


def _buckets(
    ledger: Ledger,
    signal: str,
    span: tuple[int | None, int | None],
    buckets: int,
    hashes: Iterable[str] | None,
    launch: int | None,
) -> pl.DataFrame:
    hashes = None if hashes is None else list(hashes)
    with ExitStack() as stack:
        curves: dict[str | None, list[CurvePiece]] = {}
        for view in ledger.views():
            for key, pieces in stack.enter_context(view.store.history.curve(signal, hashes)):
                curves.setdefault(key.experiment_hash, []).extend(pieces)
        held = _chosen([folded_blocks(c, span) for c in curves.values()], launch, span)
        if int(held.points.sum()) < buckets * BLOCK * _BLOCKS_A_BUCKET:
            held = _chosen([folded_points(c, span) for c in curves.values()], launch, span)
    return _binned(held, span, buckets)


def _chosen(found: list[Blocks], launch: int | None, span: tuple[int | None, int | None]) -> Blocks:
    """Blocks with a point of the launch between the steps, by step."""
    if not found:
        return Blocks.none()
    columns = [np.concatenate(parts) for parts in zip(*(b.columns() for b in found), strict=True)]
    whole = Blocks.of(columns)
    kept = whole.points > 0
    if launch is not None:
        kept &= whole.launch == launch
    start, stop = span
    if start is not None:
        kept &= whole.last >= start
    if stop is not None:
        kept &= whole.first <= stop
    order = np.flatnonzero(kept)
    order = order[np.argsort(whole.first[order], kind="stable")]
    return Blocks.of(column[order] for column in columns)


def _binned(held: Blocks, span: tuple[int | None, int | None], buckets: int) -> pl.DataFrame:
    if not len(held):
        starts = np.zeros(0, np.int64)
    elif len(held) <= buckets:
        starts = np.arange(len(held))
    else:
        low = int(held.first[0]) if span[0] is None else span[0]
        high = int(held.last.max()) if span[1] is None else span[1]
        place = np.clip(held.first - low, 0, None).astype(np.float64) * buckets
        place = np.minimum(place // (high - low + 1), buckets - 1)
        starts = np.flatnonzero(np.concatenate(([True], place[1:] != place[:-1])))
    if not len(starts):
        return pl.DataFrame(schema=_SCHEMA)
    points = np.add.reduceat(held.points, starts)
    with np.errstate(invalid="ignore", over="ignore"):
        value = np.add.reduceat(held.value * held.points, starts) / points
    alone = np.diff(np.append(starts, len(held))) == 1
    return pl.DataFrame(
        {
            "step": held.first[starts],
            "last_step": np.maximum.reduceat(held.last, starts),
            # A mean of one is that one, to the last bit.
            "value": np.where(alone, held.value[starts], value),
            "min": np.fmin.reduceat(held.low, starts),
            "max": np.fmax.reduceat(held.high, starts),
            "points": points,
        }
    )


_SCHEMA = {
    "step": pl.Int64,
    "last_step": pl.Int64,
    "value": pl.Float64,
    "min": pl.Float64,
    "max": pl.Float64,
    "points": pl.Int64,
}
