"""The sample table: what is true of every sample now.

Numpy columns over dense rows, grown by doubling: discarded, tags, categorical
tags and the latest value of each signal. Instances are rows of their own,
keyed by (sample, annotation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.types import Rows

__all__ = ["CategoryColumn", "InstanceTable", "Latest", "SampleTable", "grown", "grown_rows"]

Bools = npt.NDArray[np.bool_]


def grown(column: npt.NDArray[Any], rows: int, fill: Any) -> npt.NDArray[Any]:
    """`column` with room for `rows`, new places filled with `fill`."""
    if rows <= len(column):
        return column
    larger = np.full(max(rows, 2 * len(column), 1024), fill, column.dtype)
    larger[: len(column)] = column
    return larger


def grown_rows(column: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    """`column` [n, ...] with zeros up to `rows`; memory is taken as places are written to."""
    if rows <= len(column):
        return column
    larger = np.zeros((max(rows, 2 * len(column), 1024), *column.shape[1:]), column.dtype)
    larger[: len(column)] = column
    return larger


@dataclass(slots=True)
class Latest:
    """Latest value of one signal by row; `known` tells NaN from never saved."""

    values: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0, np.float64))
    known: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))

    def put(self, rows: Rows, values: npt.NDArray[Any]) -> None:
        """Take `values` [n] for `rows` [n]; of a repeated row the last one stays."""
        need = int(rows.max()) + 1 if len(rows) else 0
        self.values = grown(self.values, need, 0.0)
        self.known = grown(self.known, need, False)
        self.values[rows] = values
        self.known[rows] = True

    def column(self, rows: int) -> tuple[npt.NDArray[np.float64], Bools]:
        """Copies of the first `rows` values and of which are known."""
        values = grown(self.values, rows, 0.0)[:rows].copy()
        known = grown(self.known, rows, False)[:rows].copy()
        return values, known


@dataclass(slots=True)
class CategoryColumn:
    """A categorical tag: a small code by row, -1 for no value."""

    categories: list[str] = field(default_factory=list)
    codes: npt.NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))

    def code(self, value: str) -> int:
        """Code of a category, taken up when it is new."""
        if value not in self.categories:
            self.categories.append(value)
        return self.categories.index(value)

    def column(self, rows: int) -> npt.NDArray[np.int16]:
        """A copy of the first `rows` codes."""
        codes = np.full(rows, -1, np.int16)
        held = min(rows, len(self.codes))
        codes[:held] = self.codes[:held]
        return codes


class SampleTable:
    """Discards, tags and latest values by row. Guarded by the ledger's lock."""

    def __init__(self) -> None:
        self.discarded: Bools = np.zeros(0, np.bool_)
        self.discarded_count = 0
        self.version = 0
        """Grows with every edit of discards."""
        self.tags: dict[str, Bools] = {}
        self.categories: dict[str, CategoryColumn] = {}
        self.latest: dict[str, Latest] = {}
        self.instances = InstanceTable()

    def edited_rows(self) -> int:
        """How many rows the edits speak of."""
        held = [self.discarded, *self.tags.values()]
        held += [category.codes >= 0 for category in self.categories.values()]
        return max(int(column.nonzero()[0].max(initial=-1)) + 1 for column in held)

    # Each edit gives the previous codes of `rows`, so that the journal can undo it.

    def set_discarded(self, rows: Rows, discarded: bool) -> npt.NDArray[np.int32]:
        """Discard or restore rows; gives their previous state, 0 or 1."""
        need = int(rows.max()) + 1 if len(rows) else 0
        self.discarded = grown(self.discarded, need, False)
        previous = self.discarded[rows].astype(np.int32)
        self.discarded[rows] = discarded
        self.discarded_count = int(np.count_nonzero(self.discarded))
        self.version += 1
        return previous

    def any_discarded(self, rows: Sequence[int]) -> bool:
        """Whether one of `rows` is discarded."""
        if not self.discarded_count:
            return False
        column = self.discarded
        numbers = np.array(rows, np.int64)
        return bool(column[numbers[numbers < len(column)]].any())

    def set_tag(self, tag: str, rows: Rows, present: bool) -> npt.NDArray[np.int32]:
        """Put a boolean tag on rows or take it off; gives their previous state, 0 or 1."""
        need = int(rows.max()) + 1 if len(rows) else 0
        column = self.tags[tag] = grown(self.tags.get(tag, np.zeros(0, np.bool_)), need, False)
        previous = column[rows].astype(np.int32)
        column[rows] = present
        return previous

    def set_category(self, tag: str, rows: Rows, value: str | None) -> npt.NDArray[np.int32]:
        """Give rows one value of a categorical tag, or none; gives their previous codes."""
        column = self.categories.setdefault(tag, CategoryColumn())
        need = int(rows.max()) + 1 if len(rows) else 0
        column.codes = grown(column.codes, need, -1)
        previous = column.codes[rows].astype(np.int32)
        column.codes[rows] = -1 if value is None else column.code(value)
        return previous

    def bools(self, column: Bools, rows: int) -> Bools:
        """A copy of the first `rows` of a boolean column."""
        return grown(column, rows, False)[:rows].copy()

    def put(self, signal: str, rows: Rows, values: npt.NDArray[Any]) -> None:
        """Take the latest values of a signal."""
        self.latest.setdefault(signal, Latest()).put(rows, values)


class InstanceTable:
    """Latest value of every (sample, annotation) by signal.

    New values are collected and merged when somebody reads, so that saving
    costs an append.
    """

    _MERGE_AT = 1 << 20

    def __init__(self) -> None:
        self._merged: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]] = {}
        self._fresh: dict[str, list[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]] = {}
        self._waiting = 0

    def put(self, signal: str, rows: Rows, annotations: Rows, values: npt.NDArray[Any]) -> None:
        """Take values [n] of instances (rows [n], annotations [n])."""
        keys = (rows.astype(np.int64) << 32) | annotations.astype(np.int64)
        self._fresh.setdefault(signal, []).append((keys, values))
        self._waiting += len(keys)
        if self._waiting > self._MERGE_AT:
            self.merge()

    def merge(self) -> None:
        """Fold what was collected into the sorted columns; the newest value wins."""
        for signal, fresh in self._fresh.items():
            keys, values = self._merged.get(signal, (np.zeros(0, np.int64), np.zeros(0)))
            own, latest = _newest(fresh)
            at = np.searchsorted(keys, own)
            known = at < len(keys)
            known[known] = keys[at[known]] == own[known]
            # Whoever was given the columns reads on in them: they are never written to.
            values = values.copy()
            values[at[known]] = latest[known]
            if not known.all():
                keys = np.insert(keys, at[~known], own[~known])
                values = np.insert(values, at[~known], latest[~known])
            self._merged[signal] = (keys, values)
        self._fresh.clear()
        self._waiting = 0

    def columns(self) -> dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
        """By signal: sorted keys (row << 32 | annotation) and their latest values."""
        self.merge()
        return dict(self._merged)


def _newest(
    fresh: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Keys, sorted and each once, and the last value of each."""
    keys = np.concatenate([keys for keys, _ in fresh])
    values = np.concatenate([values for _, values in fresh]).astype(np.float64, copy=False)
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    last = np.append(keys[1:] != keys[:-1], True) if len(keys) else np.zeros(0, bool)
    return keys[last], values[last]
