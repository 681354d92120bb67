"""Targets, predictions and raw predictions: the latest of each sample, of any shape.

Up to `SMALL_BYTES` a sample they travel with the row, through the log; larger
ones go to `arrays/` within a rate and a size budget.

Shapes: n rows of a record, `item` the shape of one sample's array.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.ledger.table.samples import grown, grown_rows
from weightslab.types import Rows

__all__ = [
    "FIELDS",
    "SMALL_BYTES",
    "ArrayColumn",
    "ArrayRecord",
    "Keys",
    "plain",
    "records_of",
    "union",
]

FIELDS = ("targets", "preds", "preds_raw")
SMALL_BYTES = 4096
"""Most bytes of one sample's array that go with the row."""

Keys = npt.NDArray[np.int64]
"""What arrays belong to: row << 32 | annotation; annotation 0 for the sample itself."""

_NUMERIC = "biufc"
_OBJECT_BYTES = 200
"""About what an array and its place in a dict take beside its bytes."""


@dataclass(frozen=True, slots=True)
class ArrayRecord:
    """One field of n rows, all of one dtype and item shape."""

    field: str
    rows: Rows
    annotations: Rows | None
    values: npt.NDArray[Any]
    """[n, *item]"""

    @property
    def keys(self) -> Keys:
        """int64 [n]."""
        keys = self.rows.astype(np.int64) << 32
        return keys if self.annotations is None else keys | self.annotations

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
        shape = (n, *head["item"])
        values = np.ndarray(shape, np.dtype(head["dtype"]), blob, at)
        return cls(head["field"], rows, annotations, values)


def records_of(
    name: str, rows: Rows, values: npt.NDArray[Any] | Sequence[Any], annotations: Rows | None
) -> list[ArrayRecord]:
    """Values of a batch, split where shape or dtype differ between samples.

    What is no number (text, structures, dates) is kept as JSON, as an array of "S1".
    """
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
            _stacked([items[at] for at in index]),
        )
        for index in groups.values()
    ]


def union(parts: Sequence[Keys]) -> Keys:
    """What stands in any of the sorted parts, sorted, each once (`np.unique` hashes: slow)."""
    filled = [part for part in parts if len(part)] or [parts[0]]
    if len(filled) == 1:
        return filled[0]
    whole = np.concatenate(filled)
    whole.sort(kind="stable")
    last: npt.NDArray[np.bool_] = np.append(whole[1:] != whole[:-1], True)
    return whole[last]


def _stacked(items: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Arrays of one dtype and shape as one; `np.stack` would change the order of bytes."""
    whole = np.empty((len(items), *items[0].shape), items[0].dtype)
    for at, item in enumerate(items):
        whole[at] = item
    return whole


def plain(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array of its own as a user reads it: JSON becomes what it stands for."""
    if value.dtype.kind == "S":
        return np.array(json.loads(value.tobytes()))
    return np.array(value)


class ArrayColumn:
    """Latest array of each row of one field, in memory in proportion to the arrays.

    Rows of the first dtype and shape share a block; others go one by one.
    """

    def __init__(self) -> None:
        self._block: npt.NDArray[Any] | None = None
        self._used = 0
        self._slots = np.zeros(0, np.int32)
        """Place of each row in the block; -1 for none."""
        self._odd: dict[int, npt.NDArray[Any]] = {}
        self._odd_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Memory of the column."""
        # Places that nothing was written to take no memory.
        block = 0 if self._block is None else self._block[: self._used].nbytes
        return block + self._slots.nbytes + self._odd_bytes

    def put(self, rows: Rows, values: npt.NDArray[Any]) -> None:
        """Take values [n, *item]."""
        if not len(rows):
            return
        if self._block is None:
            self._block = np.zeros((0, *values.shape[1:]), values.dtype)
        if self._block.dtype != values.dtype or self._block.shape[1:] != values.shape[1:]:
            self._put_odd(rows, values)
            return
        self._slots = grown(self._slots, int(rows.max()) + 1, -1)
        slots = self._slots[rows]
        if slots.min() < 0:
            new = np.unique(rows[slots < 0])
            self._block = grown_rows(self._block, self._used + len(new))
            self._slots[new] = np.arange(self._used, self._used + len(new), dtype=np.int32)
            self._used += len(new)
            slots = self._slots[rows]
        self._block[slots] = values
        if self._odd:
            for row in rows.tolist():
                self._drop_odd(row)

    def _put_odd(self, rows: Rows, values: npt.NDArray[Any]) -> None:
        for at, row in enumerate(rows.tolist()):
            self._drop_odd(row)
            self._odd[row] = np.array(values[at])
            self._odd_bytes += self._odd[row].nbytes + _OBJECT_BYTES

    def _drop_odd(self, row: int) -> None:
        former = self._odd.pop(row, None)
        if former is not None:
            self._odd_bytes -= former.nbytes + _OBJECT_BYTES

    def get(self, row: int) -> npt.NDArray[Any] | None:
        """The array of a row, or None. Later saves write into it: copy what is kept."""
        odd = self._odd.get(row)
        if odd is not None:
            return odd
        if self._block is not None and row < len(self._slots) and self._slots[row] >= 0:
            return np.asarray(self._block[self._slots[row]])
        return None

    def uniform_scalars(self, rows: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]] | None:
        """The field as one plain column when every sample has a single number."""
        if self._odd or self._block is None or self._block.ndim != 1:
            return None
        slots = grown(self._slots, rows, -1)[:rows]
        known = slots >= 0
        values = np.zeros(rows, self._block.dtype)
        values[known] = self._block[slots[known]]
        return values, known

    def rows_known(self, among: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
        """Every row that has an array, sorted; or those of the sorted rows `among`."""
        odd = np.sort(np.fromiter(self._odd, np.int64, len(self._odd)))
        if among is None:
            return union([np.flatnonzero(self._slots >= 0), odd])
        inside = among[among < len(self._slots)]
        return union([inside[self._slots[inside] >= 0], odd[np.isin(odd, among)]])

    def parts(self) -> Iterator[tuple[Rows, npt.NDArray[Any]]]:
        """Rows and values [n, *item], every row once."""
        rows = np.flatnonzero(self._slots >= 0).astype(np.int32)
        if self._odd:
            rows = rows[~np.isin(rows, np.fromiter(self._odd, np.int32))]
        if self._block is not None and len(rows):
            yield rows, self._block[self._slots[rows]]
        for row, value in self._odd.items():
            yield np.array([row], np.int32), value[None]

    def copy(self) -> ArrayColumn:
        """A copy that later saves leave alone."""
        held = ArrayColumn()
        # Single arrays are replaced and never written into, so the dict's copy is enough.
        held._block = None if self._block is None else self._block[: self._used].copy()
        held._used = self._used
        held._slots = self._slots.copy()
        held._odd = self._odd.copy()
        held._odd_bytes = self._odd_bytes
        return held
