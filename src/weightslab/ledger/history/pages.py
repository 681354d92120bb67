"""Pages of a Parquet column, read one by one.

A Parquet reader decodes whole column chunks; one sample's history is a page of each. The
pages of a chunk stand one after the other, each behind a small Thrift header that says its
size, encoding and checksum. Where the headers stand is told by our own part of the file's
metadata (`page_index`), or found by going from one to the next. What is found here is plain
Parquet: a chunk of another form gives None, and the caller takes the ordinary way.

Shapes: P pages of a chunk, n rows.
Source: the Parquet format's `parquet.thrift` (PageHeader, DataPageHeader) and Thrift's
compact protocol.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["PageList", "header_places", "list_pages", "pages_at"]

_PLAIN, _BYTE_STREAM_SPLIT = 0, 9
_DATA_PAGE = 0
_CRC, _DATA_HEADER = 4, 5
_NUMBERS = frozenset((4, 5, 6))
"""Kinds of whole numbers: of 16, 32 and 64 bits."""
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
        # Whole numbers are read in line: a page's header is little else, and read often.
        data, at = self._data, self.at
        fields: dict[int, Any] = {}
        field = 0
        while True:
            head = data[at]
            at += 1
            kind = head & 0x0F
            if kind == _STOP:
                self.at = at
                return fields
            if head >> 4:
                field += head >> 4
            else:
                self.at = at
                field = self.number()
                at = self.at
            if kind not in _NUMBERS:
                self.at = at
                fields[field] = self._value(kind)
                at = self.at
                continue
            byte = data[at]
            at += 1
            raw, shift = byte & 0x7F, 7
            while byte >= 0x80:
                byte = data[at]
                at += 1
                raw |= (byte & 0x7F) << shift
                shift += 7
            fields[field] = (raw >> 1) ^ -(raw & 1)

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
            raise ValueError(f"there is no field of kind {kind}")
        return None


class _Header(NamedTuple):
    """What a page's header says."""

    start: int
    """Where its bytes begin."""
    size: int
    """How many they are, as they lie in the file."""
    rows: int
    encoding: int
    checksum: int | None


def _header(file: memoryview, at: int, width: int | None) -> _Header:
    """The header at a place; `width` is the size of a value, where it is known.

    Raises ValueError for a page of another kind than is read here.
    """
    reader = _Thrift(file, at)
    try:
        fields = reader.struct()
        data = fields[_DATA_HEADER]
        rows, size = data[1], fields[3]
        if fields[1] != _DATA_PAGE or (width is not None and fields[2] != rows * width):
            raise ValueError("the page is of another form")
        return _Header(reader.at, size, rows, data[2], fields.get(_CRC))
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError("there is no page header") from error


def header_places(data: memoryview, columns: int, rows: int) -> list[list[int]]:
    """Where the page headers of a row group stand in its bytes, column by column.

    Raises ValueError when `data` is no row group of `columns` columns without nulls.
    """
    found: list[list[int]] = []
    at = 0
    for _ in range(columns):
        places, read = [], 0
        while read < rows:
            header = _header(data, at, None)
            places.append(at)
            read += header.rows
            at = header.start + header.size
        found.append(places)
    if at != len(data):
        raise ValueError("more than its pages stands in a row group")
    return found


@dataclass(frozen=True, slots=True)
class PageList:
    """Where the pages of one column chunk lie, and how to read rows out of them."""

    dtype: np.dtype[Any]
    starts: npt.NDArray[np.int64]
    """First row of each page and, last, the number of rows; int64 [P + 1]."""
    headers: npt.NDArray[np.int64]
    """Where the header of each page stands; int64 [P]."""
    split: bool
    """Whether the bytes of the values stand in streams (BYTE_STREAM_SPLIT)."""
    packed: bool
    """Whether pages are compressed (zstd)."""

    def rows(self, file: memoryview, low: int, high: int) -> npt.NDArray[Any]:
        """Values of the rows `low..high` of the chunk.

        Raises:
            OSError: a page that is not what it should be, or whose checksum does not agree.
        """
        first = int(np.searchsorted(self.starts, low, side="right")) - 1
        last = int(np.searchsorted(self.starts, high, side="left")) - 1
        parts = [self._page(file, page, low, high) for page in range(first, last + 1)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def raw(self, file: memoryview, page: int) -> memoryview:
        """The bytes of a page as they lie in the file, checked.

        Raises OSError as `rows` does.
        """
        try:
            header = _header(file, int(self.headers[page]), self.dtype.itemsize)
        except ValueError as error:
            raise OSError(f"a page cannot be read: {error}") from error
        expected = _BYTE_STREAM_SPLIT if self.split else _PLAIN
        if (
            header.rows != int(self.starts[page + 1]) - int(self.starts[page])
            or header.encoding != expected
        ):
            raise OSError("a page has other rows than its place says")
        raw = file[header.start : header.start + header.size]
        if header.checksum is not None and zlib.crc32(raw) != header.checksum & 0xFFFFFFFF:
            raise OSError("a page's checksum does not agree with its bytes")
        return raw

    def _page(self, file: memoryview, page: int, low: int, high: int) -> npt.NDArray[Any]:
        start, stop = int(self.starts[page]), int(self.starts[page + 1])
        n, width = stop - start, self.dtype.itemsize
        raw = self.raw(file, page)
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


def pages_at(
    file: memoryview, column: Any, dtype: np.dtype[Any], headers: npt.NDArray[np.int64], size: int
) -> PageList | None:
    """Pages of a column chunk whose headers stand at `headers`, `size` rows in each but the last.

    Args:
        file: the whole file, mapped.
        column: pyarrow's metadata of the column chunk.
    """
    rows = column.num_values
    starts = np.minimum(np.arange(len(headers) + 1, dtype=np.int64) * size, rows)
    return _page_list(file, column, dtype, starts, headers)


def list_pages(file: memoryview, column: Any, dtype: np.dtype[Any]) -> PageList | None:
    """Pages of a column chunk without nulls; None when it is not of a form that is read here."""
    starts, headers = [0], []
    at = column.data_page_offset
    end = at + column.total_compressed_size
    try:
        while at < end:
            header = _header(file, at, dtype.itemsize)
            headers.append(at)
            starts.append(starts[-1] + header.rows)
            at = header.start + header.size
    except ValueError:
        return None
    if at != end or starts[-1] != column.num_values:
        return None
    return _page_list(file, column, dtype, np.array(starts, np.int64), np.array(headers, np.int64))


def _page_list(
    file: memoryview,
    column: Any,
    dtype: np.dtype[Any],
    starts: npt.NDArray[np.int64],
    headers: npt.NDArray[np.int64],
) -> PageList | None:
    if column.compression not in ("ZSTD", "UNCOMPRESSED") or column.has_dictionary_page:
        return None
    try:
        encoding = _header(file, int(headers[0]), dtype.itemsize).encoding
    except (ValueError, IndexError):
        return None
    if encoding not in (_PLAIN, _BYTE_STREAM_SPLIT):
        return None
    split = encoding == _BYTE_STREAM_SPLIT
    return PageList(dtype, starts, headers, split, column.compression == "ZSTD")
