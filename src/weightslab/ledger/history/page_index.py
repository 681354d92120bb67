"""Where the pages of a segment stand, kept in our own part of its metadata.

Going from header to header takes milliseconds a row group; this takes none. 128 pages of a
row group and its columns take about a kilobyte.

Shapes: G row groups, C columns, P pages of a row group (a page more begins every `PAGE` rows).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["PAGE", "IndexWriter", "PageIndex"]

PAGE = 2048
"""Rows of a page."""

_Ints = npt.NDArray[np.int32]


class IndexWriter:
    """Collects the places of pages while a segment is written."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._rows: list[int] = []
        self._parts: list[_Ints] = []

    def add(self, start: int, rows: int, first: _Ints, places: Sequence[Sequence[int]]) -> None:
        """Note a row group.

        Args:
            start: where it begins in the file.
            rows: number of its rows.
            first: first sample of each page, [P].
            places: by column, where the header of each page stands behind `start`, [C, P].
        """
        self._starts.append(start)
        self._rows.append(rows)
        table = np.concatenate([first[None], np.array(places, np.int32)])
        # Differences of neighbours are small, and compress well.
        self._parts.append(np.diff(table, axis=1, prepend=np.int32(0)).astype(np.int32).ravel())

    def words(self) -> dict[str, Any]:
        """The index as JSON can carry it."""
        raw = np.concatenate(self._parts).tobytes() if self._parts else b""
        return {
            "page": PAGE,
            "starts": self._starts,
            "rows": self._rows,
            "places": base64.b85encode(pa.compress(raw, "zstd", asbytes=True)).decode(),
        }


@dataclass(frozen=True, slots=True)
class PageIndex:
    """Where the pages of a segment stand."""

    page: int
    """Rows of a page."""
    first: list[_Ints]
    """By row group: first sample of each page, [P]."""
    places: list[npt.NDArray[np.int64]]
    """By row group: where the header of each page of each column stands, [C, P]."""

    @classmethod
    def of(cls, words: dict[str, Any], columns: int) -> Self:
        """The index behind `words`. Raises ValueError, KeyError or TypeError when it is none."""
        page = int(words["page"])
        pages = [-(-int(rows) // page) for rows in words["rows"]]
        size = 4 * (columns + 1) * sum(pages)
        raw = pa.decompress(base64.b85decode(words["places"]), size, "zstd", asbytes=True)
        flat = np.frombuffer(raw, np.int32)
        first, places, at = [], [], 0
        for count, start in zip(pages, words["starts"], strict=True):
            table = flat[at : at + count * (columns + 1)].reshape(columns + 1, count)
            table = np.cumsum(table, axis=1, dtype=np.int64)
            first.append(table[0].astype(np.int32))
            places.append(table[1:] + start)
            at += count * (columns + 1)
        return cls(page, first, places)
