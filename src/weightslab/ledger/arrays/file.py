"""Arrays of samples as Parquet: raw bytes with dtype and shape, sorted by field and key.

A row group holds one field and a few MiB at most, so that one array is read without the
file; the index of a file is its keys. Small and large arrays lie in files of this form.

Shapes: n entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from weightslab.ledger.arrays.arrays import ArrayRecord, Keys
from weightslab.ledger.arrays.block import Block
from weightslab.ledger.columns import arrow, arrow_strings, column
from weightslab.ledger.history.segments import file_options, footer_of, footer_text

__all__ = [
    "ArrayFile",
    "ArraysWriter",
    "Cursor",
    "FieldIndex",
    "newest",
    "runs",
    "write_arrays",
]

GROUP_BYTES = 4 << 20
GROUP_ROWS = 1 << 16
_DATA = ["dtype", "shape", "data"]

_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int32(), nullable=False),
        pa.field("annotation_id", pa.int32(), nullable=False),
        pa.field("field", pa.string(), nullable=False),
        pa.field("dtype", pa.string(), nullable=False),
        pa.field("shape", pa.list_(pa.field("element", pa.int32(), nullable=False))),
        pa.field("size_bytes", pa.int32(), nullable=False),
        pa.field("lsn", pa.int64(), nullable=False),
        pa.field("data", pa.binary(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class FieldIndex:
    """The entries of one field in a file."""

    start: int
    """Place of the first in the file."""
    keys: Keys
    """Sorted, each once."""
    lsns: npt.NDArray[np.int64]
    """When each was saved: its number in the order of the writer's log."""
    sizes: npt.NDArray[np.int32]
    """Bytes of each array."""

    def find(self, keys: Keys) -> npt.NDArray[np.int64]:
        """Where each key stands among `self.keys`; -1 where it does not."""
        at = np.searchsorted(self.keys, keys)
        at[at == len(self.keys)] = 0
        found = self.keys[at] == keys if len(self.keys) else np.zeros(len(keys), np.bool_)
        return np.where(found, at, -1)


class ArrayFile:
    """The index of a file of arrays. Raises OSError when the file is gone or damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = path.stat().st_size
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            self.metadata = file.metadata
            footer = footer_of(file.metadata)
            table = file.read(
                columns=["row", "annotation_id", "size_bytes", "lsn"], use_threads=False
            )
        self.lsn: int = footer["lsn"]
        """Every record up to this number is in this file or an earlier one."""
        groups = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
        self.starts = np.concatenate([[0], np.cumsum(groups)]).astype(np.int64)
        """First entry of each row group and, last, their number."""
        keys = column(table, "row", np.int32).astype(np.int64) << 32
        keys |= column(table, "annotation_id", np.int32)
        lsns = column(table, "lsn", np.int64)
        sizes = column(table, "size_bytes", np.int32)
        self.fields: dict[str, FieldIndex] = {}
        for field, (start, stop) in footer["fields"].items():
            part = slice(start, stop)
            self.fields[field] = FieldIndex(start, keys[part], lsns[part], sizes[part])

    @property
    def data_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(int(index.sizes.sum(dtype=np.int64)) for index in self.fields.values())

    def records(self, name: str | None = None) -> Iterator[ArrayRecord]:
        """All arrays (of one field), those of one dtype and shape of a row group together."""
        with Cursor(self) as cursor:
            for field, index in self.fields.items():
                if name not in (None, field):
                    continue
                for block, _ in cursor.blocks(index.start + np.arange(len(index.keys))):
                    first = cursor.first - index.start
                    for at, values in block.by_kind():
                        keys = index.keys[first + at]
                        yield from _records(field, keys, values)


def _records(field: str, keys: Keys, values: npt.NDArray[Any]) -> Iterator[ArrayRecord]:
    """Records of the samples and of the instances among `keys`."""
    rows = (keys >> 32).astype(np.int32)
    annotations = (keys & 0xFFFFFFFF).astype(np.int32)
    own = annotations == 0
    if own.any():
        yield ArrayRecord(field, rows[own], None, values if own.all() else values[own])
    if not own.all():
        yield ArrayRecord(field, rows[~own], annotations[~own], values[~own])


class Cursor:
    """Reads entries of a file; keeps the last row group, so that going forward reads each once."""

    def __init__(self, file: ArrayFile) -> None:
        self._file = file
        self._parquet = pq.ParquetFile(
            file.path, metadata=file.metadata, page_checksum_verification=True
        )
        self._group = -1
        self._block: Block | None = None
        self.first = 0
        """Place of the first entry of the row group that was given last."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._parquet.close()

    def blocks(
        self, places: npt.NDArray[np.int64]
    ) -> Iterator[tuple[Block, npt.NDArray[np.int64]]]:
        """Row groups that hold the sorted entries `places`, and where in the group those stand."""
        cuts = np.unique(np.searchsorted(places, self._file.starts))
        for low, high in pairwise(cuts.tolist()):
            group = int(np.searchsorted(self._file.starts, places[low], side="right")) - 1
            if group != self._group:
                self._block = None  # the one before goes first
                table = self._parquet.read_row_group(group, columns=_DATA, use_threads=False)
                self._block, self._group = Block.of_table(table), group
            self.first = int(self._file.starts[group])
            if self._block is not None:
                yield self._block, places[low:high] - self.first


class ArraysWriter:
    """Writes a file of arrays, sorted by field and key, in row groups of a few MiB."""

    def __init__(self, stream: BinaryIO) -> None:
        self._parquet = pq.ParquetWriter(stream, _SCHEMA, **file_options(1))
        self._fields: dict[str, tuple[int, int]] = {}
        self.written = 0
        """How many arrays were written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._parquet.close()

    def write(self, field: str, keys: Keys, lsns: npt.NDArray[np.int64], block: Block) -> None:
        """Write one row group of one field; keys follow those before."""
        dtypes, shapes, sizes, data = block.columns()
        columns = [
            arrow((keys >> 32).astype(np.int32), pa.int32()),
            arrow((keys & 0xFFFFFFFF).astype(np.int32), pa.int32()),
            arrow_strings([field]).take(arrow(np.zeros(len(keys), np.int32), pa.int32())),
            dtypes,
            shapes,
            sizes,
            arrow(lsns.astype(np.int64), pa.int64()),
            data,
        ]
        self._parquet.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA))
        start, _ = self._fields.get(field, (self.written, 0))
        self.written += len(keys)
        self._fields[field] = (start, self.written)

    def finish(self, lsn: int, *, tier: int = 0) -> None:
        """Write the index of the fields; `lsn` is the log number that the file stands for."""
        footer = {"lsn": lsn, "tier": tier, "fields": self._fields}
        self._parquet.add_key_value_metadata(footer_text(footer))


def write_arrays(records: Sequence[tuple[int, ArrayRecord]], lsn: int, stream: BinaryIO) -> None:
    """Write the newest array of every (field, row, annotation) among `records`, with their lsn."""
    by_field: dict[str, list[tuple[int, ArrayRecord]]] = {}
    for number, record in records:
        by_field.setdefault(record.field, []).append((number, record))
    with ArraysWriter(stream) as writer:
        for field, own in sorted(by_field.items()):
            counts = [len(record.rows) for _, record in own]
            keys = np.concatenate([record.keys for _, record in own])
            lsns = np.repeat(np.array([number for number, _ in own], np.int64), counts)
            source = np.repeat(np.arange(len(own)), counts)
            at = np.concatenate([np.arange(count) for count in counts])
            items = np.array([r.values.nbytes // max(1, len(r.rows)) for _, r in own], np.int64)
            chosen = newest(keys, lsns)
            values = [record.values for _, record in own]
            for run in runs(items[source[chosen]]):
                some = chosen[run]
                block = _gathered(values, source[some], at[some])
                writer.write(field, keys[some], lsns[some], block)
        writer.finish(lsn)


def _gathered(
    values: Sequence[npt.NDArray[Any]],
    source: npt.NDArray[np.int64],
    at: npt.NDArray[np.int64],
) -> Block:
    """The arrays `at` of the records `source`, whose values are `values`; both [n]."""
    if len({(one.dtype.str, one.shape[1:]) for one in values}) > 1:
        places = zip(source.tolist(), at.tolist(), strict=True)
        return Block.of_arrays([values[number][place, ...] for number, place in places])
    whole = np.empty((len(source), *values[0].shape[1:]), values[0].dtype)
    order = np.argsort(source, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(source[order])) + 1):
        whole[part] = values[source[part[0]]][at[part]]
    return Block.of_values(whole)


def newest(keys: Keys, lsns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Places of the newest entry of every key, in order of key; of equally old the last one."""
    order = np.lexsort((lsns, keys))
    ordered = keys[order]
    last = np.ones(len(order), np.bool_)
    last[:-1] = ordered[1:] != ordered[:-1]
    return order[last]


def runs(sizes: npt.NDArray[Any]) -> Iterator[slice]:
    """Cuts entries of these byte sizes into row groups."""
    start = 0
    while start < len(sizes):
        total = np.cumsum(sizes[start : start + GROUP_ROWS], dtype=np.int64)
        n = max(1, int(np.searchsorted(total, GROUP_BYTES, side="right")))
        yield slice(start, start + n)
        start += n
