"""Targets, predictions and raw predictions: the latest of each sample, of any shape.

Up to `SMALL_BYTES` a sample they travel with the row, through the log; larger
ones go to `arrays/` within a rate and a size budget.

Shapes: n rows of a record, `item` the shape of one sample's array.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.ledger.samples import grown
from weightslab.types import Rows

__all__ = ["FIELDS", "SMALL_BYTES", "ArrayColumn", "ArrayRecord", "ArrayTable"]

FIELDS = ("targets", "preds", "preds_raw")
SMALL_BYTES = 4096
"""Most bytes of one sample's array that go with the row."""

_NUMERIC = "biufc"


@dataclass(frozen=True, slots=True)
class ArrayRecord:
    """One field of n rows, all of one dtype and item shape."""

    field: str
    rows: Rows
    annotations: Rows | None
    values: npt.NDArray[Any]
    """[n, *item]"""

    def head(self) -> dict[str, Any]:
        """What is needed to read the blob back."""
        return {
            "op": "arrays",
            "field": self.field,
            "n": len(self.rows),
            "dtype": self.values.dtype.str,
            "item": list(self.values.shape[1:]),
            "instances": self.annotations is not None,
        }

    def blob(self) -> bytes:
        """Rows, annotations and values, one after the other."""
        parts = [self.rows.tobytes()]
        if self.annotations is not None:
            parts.append(self.annotations.tobytes())
        parts.append(self.values.tobytes())
        return b"".join(parts)

    @classmethod
    def restore(cls, head: dict[str, Any], blob: bytes) -> ArrayRecord:
        """The record behind `head` and `blob`."""
        n = head["n"]
        rows = np.frombuffer(blob, np.int32, n)
        at = 4 * n
        annotations = None
        if head["instances"]:
            annotations = np.frombuffer(blob, np.int32, n, at)
            at += 4 * n
        values = np.frombuffer(blob, np.dtype(head["dtype"]), offset=at)
        return cls(head["field"], rows, annotations, values.reshape((n, *head["item"])))


def records_of(
    name: str, rows: Rows, values: npt.NDArray[Any] | Sequence[Any], annotations: Rows | None
) -> list[ArrayRecord]:
    """Values of a batch, split where shape or dtype differ between samples."""
    if isinstance(values, np.ndarray) and values.dtype.kind in _NUMERIC:
        return [ArrayRecord(name, rows, annotations, np.ascontiguousarray(values))]
    groups: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    items = [np.asarray(value) for value in values]
    for at, item in enumerate(items):
        if item.dtype.kind not in _NUMERIC:
            text = np.frombuffer(json.dumps(item.tolist(), default=str).encode(), np.uint8)
            items[at] = text.view("S1")
        groups.setdefault((items[at].dtype.str, items[at].shape), []).append(at)
    return [
        ArrayRecord(
            name,
            rows[index],
            None if annotations is None else annotations[index],
            np.stack([items[at] for at in index]),
        )
        for index in groups.values()
    ]


class ArrayColumn:
    """Latest array of each row of one field.

    Rows of one dtype and shape share a block; the first to differ go one by one.
    """

    def __init__(self) -> None:
        self._block: npt.NDArray[Any] | None = None
        self._known = np.zeros(0, np.bool_)
        self._odd: dict[int, npt.NDArray[Any]] = {}

    def put(self, rows: Rows, values: npt.NDArray[Any]) -> None:
        """Take values [n, *item]."""
        if self._block is None:
            self._block = np.zeros((0, *values.shape[1:]), values.dtype)
        fits = self._block.dtype == values.dtype and self._block.shape[1:] == values.shape[1:]
        if not fits:
            self._put_odd(rows, values)
            return
        need = int(rows.max()) + 1 if len(rows) else 0
        if need > len(self._block):
            larger = np.zeros(
                (max(need, 2 * len(self._block), 256), *self._block.shape[1:]), self._block.dtype
            )
            larger[: len(self._block)] = self._block
            self._block = larger
            self._known = grown(self._known, len(larger), False)
        self._block[rows] = values
        self._known[rows] = True
        if self._odd:
            for row in rows.tolist():
                self._odd.pop(row, None)

    def _put_odd(self, rows: Rows, values: npt.NDArray[Any]) -> None:
        for at, row in enumerate(rows.tolist()):
            self._odd[row] = values[at].copy()
            if row < len(self._known):
                self._known[row] = False

    def get(self, row: int) -> npt.NDArray[Any] | None:
        """The array of a row, or None."""
        odd = self._odd.get(row)
        if odd is not None:
            return odd
        if self._block is not None and row < len(self._known) and self._known[row]:
            found: npt.NDArray[Any] = self._block[row]
            return found
        return None

    def uniform_scalars(self, rows: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]] | None:
        """The field as one plain column when every sample has a single number."""
        if self._odd or self._block is None or self._block.ndim != 1:
            return None
        known = grown(self._known, rows, False)[:rows].copy()
        return grown(self._block, rows, 0)[:rows].copy(), known

    def rows_known(self) -> list[int]:
        """Every row that has an array."""
        return sorted([*np.flatnonzero(self._known).tolist(), *self._odd])


class ArrayTable:
    """Small arrays of samples and of instances, by field."""

    def __init__(self) -> None:
        self.samples: dict[str, ArrayColumn] = {}
        self.instances: dict[str, dict[tuple[int, int], npt.NDArray[Any]]] = {}

    def put(self, record: ArrayRecord) -> None:
        """Take a record."""
        if record.annotations is None:
            self.samples.setdefault(record.field, ArrayColumn()).put(record.rows, record.values)
            return
        column = self.instances.setdefault(record.field, {})
        keys = zip(record.rows.tolist(), record.annotations.tolist(), strict=True)
        for at, key in enumerate(keys):
            column[key] = record.values[at].copy()
