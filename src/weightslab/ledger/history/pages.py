"""Pages of a Parquet column, read one by one.

A Parquet reader decodes whole column chunks; one sample's history is a page of each. The
pages of a chunk stand one after the other, each behind a small Thrift header that says its
size, encoding and checksum. What is found here is plain Parquet: a chunk of another form
gives None, and the caller takes the ordinary way.

Shapes: P pages of a chunk, n rows.
Source: the Parquet format's `parquet.thrift` (PageHeader, DataPageHeader) and Thrift's
compact protocol.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["PageList", "list_pages"]

_PLAIN, _BYTE_STREAM_SPLIT = 0, 9
_DATA_PAGE = 0
_CRC, _DATA_HEADER = 4, 5
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12


class _Thrift:
    """Reads Thrift's compact protocol: varints, and structs as dicts of field id -> value."""

    def __init__(self, data: memoryview, at: int) -> None:
        self._data = data
        self.at = at

    def varint(self) -> int:
        result = shift = 0
        while True:
            byte = self._data[self.at]
            self.at += 1
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result
            shift += 7

    def number(self) -> int:
        raw = self.varint()
        return (raw >> 1) ^ -(raw & 1)

    def struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        field = 0
        while True:
            head = self._data[self.at]
            self.at += 1
            kind = head & 0x0F
            if kind == _STOP:
                return fields
            field = field + (head >> 4) if head >> 4 else self.number()
            fields[field] = self._value(kind)

    def _value(self, kind: int) -> Any:
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind == _STRUCT:
            return self.struct()
        if kind == _BINARY:
            size = self.varint()
            self.at += size
        elif kind == _DOUBLE:
            self.at += 8
        elif kind == _BYTE:
            self.at += 1
        elif kind in (_LIST, _SET):
            raise ValueError("a list has no place in a page header")
        else:
            return self.number()
        return None


@dataclass(frozen=True, slots=True)
class PageList:
    """Where the pages of one column chunk lie, and how to read rows out of them."""

    dtype: np.dtype[Any]
    starts: npt.NDArray[np.int64]
    """First row of each page and, last, the number of rows; int64 [P + 1]."""
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    """Bytes of each page as it lies in the file."""
    checksums: tuple[int | None, ...]
    split: bool
    """Whether the bytes of the values stand in streams (BYTE_STREAM_SPLIT)."""
    packed: bool
    """Whether pages are compressed (zstd)."""

    def rows(self, file: memoryview, low: int, high: int) -> npt.NDArray[Any]:
        """Values of the rows `low..high` of the chunk.

        Raises:
            OSError: a page whose checksum does not agree.
        """
        first = int(np.searchsorted(self.starts, low, side="right")) - 1
        last = int(np.searchsorted(self.starts, high, side="left")) - 1
        parts = [self._page(file, page, low, high) for page in range(first, last + 1)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _page(self, file: memoryview, page: int, low: int, high: int) -> npt.NDArray[Any]:
        start, stop = int(self.starts[page]), int(self.starts[page + 1])
        raw = file[self.offsets[page] : self.offsets[page] + self.sizes[page]]
        checksum = self.checksums[page]
        if checksum is not None and zlib.crc32(raw) != checksum & 0xFFFFFFFF:
            raise OSError("a page's checksum does not agree with its bytes")
        n, width = stop - start, self.dtype.itemsize
        data: Any = raw
        if self.packed:
            data = _zstd().decompress(pa.py_buffer(raw), decompressed_size=n * width)
        if self.split:
            streams = np.frombuffer(data, np.uint8, n * width).reshape(width, n)
            wanted = streams[:, max(low - start, 0) : high - start]
            return np.ascontiguousarray(wanted.T).view(self.dtype)[:, 0]
        return np.frombuffer(data, self.dtype, n)[max(low - start, 0) : high - start]


@cache
def _zstd() -> Any:
    return pa.Codec("zstd")


def list_pages(file: memoryview, column: Any, dtype: np.dtype[Any]) -> PageList | None:
    """Pages of a column chunk without nulls; None when it is not of a form that is read here.

    Args:
        file: the whole file, mapped.
        column: pyarrow's metadata of the column chunk.
        dtype: the column's type.
    """
    if column.compression not in ("ZSTD", "UNCOMPRESSED") or column.has_dictionary_page:
        return None
    packed = column.compression == "ZSTD"
    starts, offsets, sizes, checksums = [0], [], [], []
    encodings = set()
    at = column.data_page_offset
    end = at + column.total_compressed_size
    try:
        while at < end:
            reader = _Thrift(file, at)
            header = reader.struct()
            data = header[_DATA_HEADER]
            rows, encoding = data[1], data[2]
            if header[1] != _DATA_PAGE or header[2] != rows * dtype.itemsize:
                return None
            encodings.add(encoding)
            offsets.append(reader.at)
            sizes.append(header[3])
            checksums.append(header.get(_CRC))
            starts.append(starts[-1] + rows)
            at = reader.at + header[3]
    except (KeyError, IndexError, ValueError, TypeError):
        return None
    if at != end or starts[-1] != column.num_values or len(encodings) != 1:
        return None
    encoding = encodings.pop()
    if encoding not in (_PLAIN, _BYTE_STREAM_SPLIT):
        return None
    return PageList(
        dtype,
        np.array(starts, np.int64),
        tuple(offsets),
        tuple(sizes),
        tuple(checksums),
        encoding == _BYTE_STREAM_SPLIT,
        packed,
    )
