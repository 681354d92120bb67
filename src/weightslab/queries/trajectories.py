"""Histories of single samples, straight from the columns: no frame is built, no Polars loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from weightslab.ledger import Ledger
from weightslab.queries.lookup import find_rows
from weightslab.types import Rows

__all__ = ["Trajectory", "trajectories"]


class Trajectory(NamedTuple):
    """Values of one sample in one signal and experiment, as one writer saved them, n values."""

    signal: str
    steps: npt.NDArray[np.int64]
    """Steps [n], in order of arrival."""
    values: npt.NDArray[np.float64]
    experiment_hash: str | None


def trajectories(
    ledger: Ledger,
    sample_ids: Sequence[str],
    signal: str | None = None,
    home: str = "train",
    *,
    rows: Rows | None = None,
) -> list[list[Trajectory]]:
    """What each of `sample_ids` [B] has in one signal (None: in all), every writer's.

    One clustered read for all of them. The order is that of writers, then of partitions.
    `home` is the split that a bare id means, `rows` [B] what the ids are to this process
    where that is known.
    """
    return ledger.look(lambda: _trajectories(ledger, list(sample_ids), signal, home, rows))


def _trajectories(
    ledger: Ledger, sample_ids: list[str], signal: str | None, home: str, own: Rows | None
) -> list[list[Trajectory]]:
    wanted = None if signal is None else [signal]
    found: list[list[Trajectory]] = [[] for _ in sample_ids]
    for view in ledger.views():
        places: dict[int, list[int]] = {}
        ids = view.store.ids
        here: list[int | None] = (
            find_rows(ids, sample_ids, home)
            if own is None or ids is not ledger.ids
            else own.tolist()
        )
        for place, row in enumerate(here):
            if row is not None:
                places.setdefault(row, []).append(place)
        if not places:
            continue
        rows = np.array(sorted(places), np.int64)
        for key, chunk in view.store.history.read("sample", signals=wanted, rows=rows):
            if not len(chunk):
                continue
            sample, steps, values = (chunk.columns[name] for name in ("sample", "step", "value"))
            starts = np.searchsorted(sample, rows).tolist()
            ends = np.searchsorted(sample, rows, "right").tolist()
            for row, start, end in zip(rows.tolist(), starts, ends, strict=True):
                if start < end:
                    piece = Trajectory(
                        key.signal, steps[start:end], values[start:end], key.experiment_hash
                    )
                    for place in places[row]:
                        found[place].append(piece)
    return found
