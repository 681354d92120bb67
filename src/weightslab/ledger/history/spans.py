"""Many pages of a column at once: what a batch of samples is read with.

Each page is a zstd frame of its own. To unpack one costs a decoder of its own, more than the
unpacking; many one behind the other share one.

Shapes: P pages of a chunk, p of them that are read, k spans of rows, n rows in all spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from weightslab.ledger.history.pages import PageList

__all__ = ["Places", "find_spans", "joined", "ranges", "read_spans"]

Places = npt.NDArray[np.int64]


def joined(lists: Sequence[PageList | int | None]) -> PageList | None:
    """The pages of several chunks of a column, one behind the other; None where forms differ."""
    pages = [held for held in lists if isinstance(held, PageList)]
    if len(pages) < len(lists) or len({(held.split, held.packed) for held in pages}) != 1:
        return None
    begins = _sums(np.array([held.starts[-1] for held in pages]))
    starts = [held.starts[:-1] + begin for held, begin in zip(pages, begins, strict=True)]
    end = begins[-1:] + pages[-1].starts[-1]
    headers = np.concatenate([held.headers for held in pages])
    return replace(pages[0], starts=np.concatenate([*starts, end]), headers=headers)


def ranges(lows: Places, highs: Places) -> Places:
    """Every number of each range `lows..highs`, one range behind the other."""
    counts = highs - lows
    return np.repeat(lows - _sums(counts), counts) + np.arange(counts.sum())


def read_spans(pages: PageList, file: memoryview, lows: Places, highs: Places) -> npt.NDArray[Any]:
    """Values [n] of the rows `lows..highs` [k] of a chunk, span after span; none is empty.

    Raises OSError as `PageList.rows` does.
    """
    if not len(lows):
        return np.zeros(0, pages.dtype)
    first = np.searchsorted(pages.starts, lows, side="right") - 1
    last = np.searchsorted(pages.starts, highs, side="left") - 1
    wanted = np.unique(ranges(first, last + 1))
    data = _unpacked(pages, file, wanted)
    sizes = np.diff(pages.starts)
    begins = _sums(sizes[wanted])
    rows = ranges(lows, highs)
    page = np.searchsorted(wanted, np.searchsorted(pages.starts, rows, side="right") - 1)
    inside = rows - pages.starts[wanted[page]]
    if not pages.split:
        values: npt.NDArray[Any] = data.view(pages.dtype)[begins[page] + inside]
        return values
    width = pages.dtype.itemsize
    # A page's streams stand one behind the other: the bytes of a value lie a page's rows apart.
    places = (begins[page] * width + inside)[:, None] + sizes[wanted[page]][:, None] * np.arange(
        width
    )
    split: npt.NDArray[Any] = data[places].view(pages.dtype)[:, 0]
    return split


def find_spans(
    pages: PageList, file: memoryview, first: npt.NDArray[np.int32], keys: npt.NDArray[np.int32]
) -> tuple[Places, Places]:
    """First row of each of `keys` [k] in a sorted chunk, and the one behind its last.

    `first` [P] is the first value of each page: only pages that may hold an edge are read.
    Raises OSError as `PageList.rows` does.
    """
    low_pages = np.maximum(np.searchsorted(first, keys) - 1, 0)
    high_pages = np.maximum(np.searchsorted(first, keys, side="right") - 1, 0)
    wanted = np.unique(np.concatenate([low_pages, high_pages]))
    values = _unpacked(pages, file, wanted).view(pages.dtype)
    begins = _sums(np.diff(pages.starts)[wanted])

    def rows(edges: npt.NDArray[np.intp], at: npt.NDArray[np.intp]) -> Places:
        # Pages between two that are read are left out: an edge counts from its own page.
        found: Places = pages.starts[at] + edges - begins[np.searchsorted(wanted, at)]
        return found

    lows = rows(np.searchsorted(values, keys), low_pages)
    return lows, rows(np.searchsorted(values, keys, side="right"), high_pages)


def _unpacked(pages: PageList, file: memoryview, wanted: Places) -> npt.NDArray[np.uint8]:
    """The bytes of some pages, one behind the other."""
    raw = b"".join([pages.raw(file, page) for page in wanted.tolist()])
    size = int(np.diff(pages.starts)[wanted].sum()) * pages.dtype.itemsize
    if not pages.packed:
        return np.frombuffer(raw, np.uint8, size)
    data = np.empty(size, np.uint8)
    with pa.CompressedInputStream(pa.BufferReader(raw), "zstd") as stream:
        if stream.readinto(data) != size or stream.read(1):
            raise OSError("pages unpack to another size than their place says")
    return data


def _sums(sizes: Places) -> Places:
    """Where each of some stretches begins, one behind the other."""
    return np.cumsum(sizes) - sizes
