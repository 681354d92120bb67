"""History as Parquet: one type per column in the whole tree, sorted by sample.

`value` is Float64 everywhere, byte-stream-split and zstd: a widened 32-bit
float costs no more than a plain one (4.9 against 4.9 bytes a row, measured),
1e300 stays 1e300 in every reader, and nobody has to coalesce two columns.
Within a sample, rows keep the order in which they were saved.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from weightslab.ledger.layout import Kind

__all__ = [
    "Chunk",
    "concat_chunks",
    "read_chunk",
    "read_footer",
    "sort_chunk",
    "write_chunk",
    "write_parquet",
]

_ROW_GROUP = 1 << 18
_FOOTER = b"weightslab"

Column = npt.NDArray[Any]

_COLUMNS: dict[Kind, tuple[tuple[str, Any, str], ...]] = {
    "sample": (
        ("sample", np.int32, "DELTA_BINARY_PACKED"),
        ("step", np.int64, "DELTA_BINARY_PACKED"),
        ("value", np.float64, "BYTE_STREAM_SPLIT"),
        ("launch", np.int32, "DELTA_BINARY_PACKED"),
    ),
    "instance": (
        ("sample", np.int32, "DELTA_BINARY_PACKED"),
        ("annotation_id", np.int32, "DELTA_BINARY_PACKED"),
        ("step", np.int64, "DELTA_BINARY_PACKED"),
        ("value", np.float64, "BYTE_STREAM_SPLIT"),
        ("launch", np.int32, "DELTA_BINARY_PACKED"),
    ),
    "global": (
        ("step", np.int64, "DELTA_BINARY_PACKED"),
        ("value", np.float64, "BYTE_STREAM_SPLIT"),
        ("min", np.float64, "BYTE_STREAM_SPLIT"),
        ("max", np.float64, "BYTE_STREAM_SPLIT"),
        ("count", np.int64, "DELTA_BINARY_PACKED"),
        ("launch", np.int32, "DELTA_BINARY_PACKED"),
    ),
}
_ARROW = {
    np.dtype(np.int32): pa.int32(),
    np.dtype(np.int64): pa.int64(),
    np.dtype(np.float64): pa.float64(),
}


@dataclass(frozen=True, slots=True)
class Chunk:
    """Columns of one partition, all of the same length.

    `count` of a global row is the number of values behind its mean, and 0 for
    a scalar that somebody logged as such.
    """

    kind: Kind
    columns: dict[str, Column]

    def __len__(self) -> int:
        return len(self.columns["step"])

    @property
    def size_bytes(self) -> int:
        """Memory of the columns."""
        return sum(column.nbytes for column in self.columns.values())

    def take(self, index: slice | Column) -> Chunk:
        """The rows at `index`."""
        return Chunk(self.kind, {name: column[index] for name, column in self.columns.items()})

    @classmethod
    def empty(cls, kind: Kind) -> Chunk:
        """A chunk without rows."""
        return cls(kind, {name: np.zeros(0, dtype) for name, dtype, _ in _COLUMNS[kind]})


def concat_chunks(kind: Kind, chunks: list[Chunk]) -> Chunk:
    """Chunks one after the other."""
    if len(chunks) == 1:
        return chunks[0]
    if not chunks:
        return Chunk.empty(kind)
    return Chunk(
        kind,
        {name: np.concatenate([c.columns[name] for c in chunks]) for name, _, _ in _COLUMNS[kind]},
    )


def sort_chunk(chunk: Chunk) -> Chunk:
    """Sort by sample (and annotation), keeping the order of arrival within each."""
    if chunk.kind == "global" or len(chunk) < 2:
        return chunk
    sample = chunk.columns["sample"]
    if chunk.kind == "instance":
        return chunk.take(np.lexsort((chunk.columns["annotation_id"], sample)))
    # Sample and position in one 64-bit key: a plain sort that is stable, several
    # times faster than a stable argsort.
    key = sample.astype(np.uint64) << np.uint64(32)
    key |= np.arange(len(sample), dtype=np.uint64)
    key.sort()
    return chunk.take((key & np.uint64(0xFFFFFFFF)).astype(np.int64))


def write_chunk(chunk: Chunk, footer: dict[str, Any], stream: BinaryIO) -> None:
    """Write a sorted chunk as Parquet with `footer` in its metadata."""
    layout = _COLUMNS[chunk.kind]
    arrays = []
    fields = []
    for name, dtype, _ in layout:
        column = np.ascontiguousarray(chunk.columns[name], dtype=dtype)
        arrow = _ARROW[column.dtype]
        arrays.append(pa.Array.from_buffers(arrow, len(column), [None, pa.py_buffer(column)]))
        fields.append(pa.field(name, arrow, nullable=False))
    write_parquet(
        pa.Table.from_arrays(arrays, schema=pa.schema(fields)),
        footer,
        stream,
        row_group_size=_ROW_GROUP,
        use_dictionary=False,
        column_encoding={name: encoding for name, _, encoding in layout},
    )


def write_parquet(
    table: pa.Table,
    footer: dict[str, Any],
    stream: BinaryIO,
    *,
    row_group_size: int | None = None,
    **options: Any,
) -> None:
    """Write a table with zstd and page checksums, and `footer` in the file's metadata."""
    with pq.ParquetWriter(
        stream,
        table.schema,
        compression="ZSTD",
        compression_level=1,
        store_schema=False,
        write_page_checksum=True,
        **options,
    ) as writer:
        writer.write_table(table, row_group_size=row_group_size)
        writer.add_key_value_metadata({_FOOTER: json.dumps(footer)})


def read_footer(path: Path) -> dict[str, Any]:
    """Our own metadata of a Parquet file; empty when it has none."""
    metadata = pq.read_metadata(path).metadata or {}
    footer: dict[str, Any] = json.loads(metadata.get(_FOOTER, b"{}"))
    return footer


def read_chunk(path: Path, kind: Kind) -> Chunk:
    """Read a segment into memory."""
    with pq.ParquetFile(path) as file:
        table = file.read(columns=[name for name, _, _ in _COLUMNS[kind]], use_threads=False)
    columns: dict[str, Column] = {}
    for name, dtype, _ in _COLUMNS[kind]:
        chunks = table.column(name).chunks
        parts = [
            np.frombuffer(a.buffers()[1], dtype, len(a), a.offset * np.dtype(dtype).itemsize)
            for a in chunks
            if len(a)
        ]
        columns[name] = np.concatenate(parts) if parts else np.zeros(0, dtype)
    return Chunk(kind, columns)
