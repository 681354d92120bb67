"""Numpy columns as Arrow and back, without pandas.

`pa.array` and `.to_numpy()` import pandas where it is installed, which costs up to two
seconds: columns are built from buffers and read through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = [
    "arrow",
    "arrow_bools",
    "arrow_lists",
    "arrow_strings",
    "column",
    "flags",
    "read_table",
]


def arrow(
    values: npt.NDArray[Any], kind: pa.DataType, known: npt.NDArray[np.bool_] | None = None
) -> pa.Array:
    """A numpy column as Arrow, null where not `known`."""
    data = np.ascontiguousarray(values)
    mask = None if known is None else pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.Array.from_buffers(kind, len(data), [mask, pa.py_buffer(data)])


def arrow_bools(values: npt.NDArray[np.bool_]) -> pa.Array:
    """A boolean column as Arrow."""
    bits = pa.py_buffer(np.packbits(values, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, bits])


def arrow_strings(values: Sequence[str | None]) -> pa.Array:
    """Strings as Arrow, null where None."""
    encoded = [None if value is None else value.encode() for value in values]
    known = np.array([value is not None for value in encoded], np.bool_)
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([0 if value is None else len(value) for value in encoded], out=offsets[1:])
    mask = None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
    data = pa.py_buffer(b"".join(value for value in encoded if value is not None))
    return pa.Array.from_buffers(pa.string(), len(values), [mask, pa.py_buffer(offsets), data])


def arrow_lists(values: Sequence[npt.NDArray[np.int32]]) -> pa.Array:
    """Lists of int32 as Arrow."""
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    flat = np.concatenate(values) if values else np.zeros(0, np.int32)
    return pa.ListArray.from_arrays(
        arrow(offsets, pa.int32()), arrow(flat.astype(np.int32), pa.int32())
    )


def _whole(table: pa.Table, name: str) -> pa.Array:
    chunked = table.column(name)
    if chunked.num_chunks == 1:
        return chunked.chunk(0)
    return pa.concat_arrays(chunked.chunks) if chunked.num_chunks else pa.nulls(0, chunked.type)


def column(table: pa.Table, name: str, dtype: Any) -> npt.NDArray[Any]:
    """A numeric column of a table; what stands at nulls has no meaning."""
    whole = _whole(table, name)
    if not len(whole):
        return np.zeros(0, dtype)
    at = whole.offset * np.dtype(dtype).itemsize
    return np.frombuffer(whole.buffers()[1], dtype, len(whole), at)


def flags(table: pa.Table, name: str, *, valid: bool = False) -> npt.NDArray[np.bool_]:
    """A boolean column of a table; with `valid`, whether a column of any type is not null."""
    whole = _whole(table, name)
    if valid:
        whole = whole.is_valid()
    if not len(whole):
        return np.zeros(0, np.bool_)
    bits = np.frombuffer(whole.buffers()[1], np.uint8)
    unpacked = np.unpackbits(bits, bitorder="little", count=whole.offset + len(whole))
    return unpacked[whole.offset :].astype(np.bool_)


def read_table(path: Path) -> pa.Table:
    """Read a Parquet file on this thread; every page is checked against its checksum."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read(use_threads=False)
