"""Many spans of rows out of the pages of one column, read together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.history.test_merge import assert_same
from tests.ledger.history.test_page_index import merged
from weightslab.ledger.history.mapped import SegmentFile, take_rows
from weightslab.ledger.history.pages import PageList, list_pages
from weightslab.ledger.history.segments import read_chunk
from weightslab.ledger.history.spans import find_spans, joined, ranges, read_spans

__all__ = ["merged"]

PAGE = 7
GROUP = 25
ROWS = 90

sorted_values = st.lists(st.integers(0, 30), min_size=ROWS, max_size=ROWS).map(sorted)


class Column:
    """A column of a file of small pages and row groups."""

    def __init__(self, path: Path, values: np.ndarray, **options: object) -> None:
        table = pa.table({"x": values}, pa.schema([pa.field("x", values.dtype.name, False)]))
        pq.write_table(
            table,
            path,
            row_group_size=GROUP,
            max_rows_per_page=PAGE,
            write_batch_size=PAGE,
            data_page_size=1 << 20,
            use_dictionary=False,
            write_page_checksum=True,
            **options,
        )
        self.view = memoryview(path.read_bytes())
        metadata = pq.read_metadata(path)
        self.chunks = [
            list_pages(self.view, metadata.row_group(group).column(0), values.dtype)
            for group in range(metadata.num_row_groups)
        ]
        pages = joined(self.chunks)
        assert pages is not None
        self.pages = pages


@pytest.fixture(scope="module", params=["int32", "int64", "float64 split", "float64 bare"])
def column(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Column, np.ndarray]:
    """90 values in 4 row groups of 4 pages and less, in every form that a segment has."""
    dtype, _, form = request.param.partition(" ")
    values = np.random.default_rng(0).integers(0, 1 << 30, ROWS).astype(dtype)
    options = {"compression": "NONE" if form == "bare" else "ZSTD"}
    if form == "split":
        options["column_encoding"] = {"x": "BYTE_STREAM_SPLIT"}
    path = tmp_path_factory.mktemp("column") / "c.parquet"
    return Column(path, values, **options), values


@settings(deadline=None)
@given(
    cuts=st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(1, 40)), min_size=0, max_size=8)
)
def test_spans_give_what_slices_give(
    column: tuple[Column, np.ndarray], cuts: list[tuple[int, int]]
) -> None:
    """Any spans, in any order, over page and row group borders, twice or not at all."""
    held, values = column
    lows = np.array([low for low, _ in cuts], np.int64)
    highs = np.minimum(lows + np.array([size for _, size in cuts], np.int64), ROWS)
    found = read_spans(held.pages, held.view, lows, highs)
    expected = [values[low:high] for low, high in zip(lows, highs, strict=True)]
    assert found.dtype == values.dtype
    assert found.tolist() == np.concatenate([values[:0], *expected]).tolist()
    assert ranges(lows, highs).tolist() == [
        row for low, high in zip(lows, highs, strict=True) for row in range(low, high)
    ]


@settings(deadline=None, max_examples=40)
@given(values=sorted_values, keys=st.sets(st.integers(-1, 31), min_size=1))
def test_edges_are_found_without_the_pages_between(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], keys: set[int]
) -> None:
    """Where each key begins and ends, also over many pages, at borders, and where it is not."""
    array = np.array(values, np.int32)
    held = Column(tmp_path_factory.mktemp("sorted") / "c.parquet", array, compression="ZSTD")
    wanted = np.array(sorted(keys), np.int32)
    first = np.concatenate([array[start : start + GROUP : PAGE] for start in range(0, ROWS, GROUP)])
    lows, highs = find_spans(held.pages, held.view, first, wanted)
    assert lows.tolist() == np.searchsorted(array, wanted).tolist()
    assert highs.tolist() == np.searchsorted(array, wanted, side="right").tolist()


def test_a_damaged_page_is_an_error(column: tuple[Column, np.ndarray]) -> None:
    """No value comes out of a page whose bytes do not agree with its checksum."""
    held, _ = column
    data = bytearray(held.view)
    header = int(held.pages.headers[2])
    end = int(held.pages.headers[3])
    data[(header + end) // 2 + 4] ^= 0xFF
    lows, highs = np.array([0, 15]), np.array([1, 16])
    with pytest.raises(OSError, match="page"):
        read_spans(held.pages, memoryview(data), lows, highs)
    # Pages that are not asked for are not looked at.
    assert len(read_spans(held.pages, memoryview(data), lows[:1], highs[:1])) == 1


def test_chunks_of_different_forms_are_not_joined(tmp_path: Path) -> None:
    """Packed beside bare pages, and what is no list of pages, must be read apart."""
    values = np.arange(ROWS)
    packed = Column(tmp_path / "p.parquet", values, compression="ZSTD").chunks
    bare = Column(tmp_path / "b.parquet", values, compression="NONE").chunks
    assert joined([packed[0], bare[0]]) is None
    assert joined([packed[0], 3]) is None
    assert joined([None, packed[0]]) is None
    assert isinstance(joined(packed), PageList)


@pytest.mark.parametrize("count", [2, 30, 120, 6000])
def test_a_merged_segment_gives_a_batch_what_the_whole_file_gives(merged: Path, count: int) -> None:
    """Samples out of several row groups at once: all their rows, sorted by sample."""
    whole = read_chunk(merged, merged.stem)
    file = SegmentFile(merged, merged.stem)
    draw = np.random.default_rng(count)
    for _ in range(5):
        rows = np.unique(np.append(draw.integers(0, 3001, count), [40, 5000, 9999]))
        assert_same(file.of(rows), take_rows(whole, rows))
