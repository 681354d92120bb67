"""A few samples' values, read out of a segment's pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.history.test_merge import assert_same, chunk_of, write
from weightslab.ledger.history.mapped import SegmentFile, take_rows
from weightslab.ledger.history.segments import ROW_GROUP, Chunk

ROWS = ROW_GROUP + 70_000


@pytest.fixture(scope="module", params=["sample", "instance"])
def big(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segment of two row groups; sample 900 straddles them, some samples have no rows."""
    dice = np.random.default_rng(1)
    samples = dice.integers(0, 800, ROWS - 60_000).tolist() + [900] * 50_000 + [2000] * 10_000
    path = tmp_path_factory.mktemp("big") / f"{request.param}.parquet"
    return write(path, chunk_of(request.param, samples, 2), 1)


def wanted_rows(path: Path, wanted: list[int]) -> tuple[Chunk, Chunk]:
    """What the pages give, and what decoding the whole file gives."""
    file = SegmentFile(path, path.stem)
    rows = np.array(sorted(set(wanted)), np.int64)
    whole = pq.read_table(path).to_pandas()
    kept = whole[whole["sample"].isin(rows)]
    return file.of(rows), Chunk(path.stem, {n: kept[n].to_numpy() for n in whole.columns})


@settings(max_examples=25, deadline=None)
@given(wanted=st.lists(st.integers(0, 2100), min_size=1, max_size=5))
def test_pages_give_what_the_whole_file_gives(big: Path, wanted: list[int]) -> None:
    """Any samples: those with rows, those without, and those across row groups."""
    assert_same(*wanted_rows(big, [*wanted]))


@pytest.mark.parametrize("wanted", [[900], [2000], [5, 900, 2000], list(range(0, 800, 3))])
def test_large_and_many_samples_are_whole(big: Path, wanted: list[int]) -> None:
    """A sample of 50,000 rows over two row groups, and hundreds of samples at once."""
    found, expected = wanted_rows(big, wanted)
    assert len(found)
    assert_same(found, expected)


def test_a_flipped_byte_in_a_page_is_an_error_and_never_a_value(tmp_path: Path) -> None:
    """Every page is checked against its checksum before a value is taken out of it."""
    path = write(tmp_path / "s.parquet", chunk_of("sample", list(range(500)) * 10, 3), 1)
    column = pq.read_metadata(path).row_group(0).column(2)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(data)
    file = SegmentFile(path, "sample")
    with pytest.raises(OSError, match="checksum"):
        [file.of(np.array([row])) for row in range(500)]


def test_a_file_of_another_form_is_read_all_the_same(tmp_path: Path) -> None:
    """Dictionary pages, other codecs, one large page: the ordinary way gives the same rows."""
    chunk = chunk_of("sample", list(range(300)) * 7, 4)
    path = write(tmp_path / "s.parquet", chunk, 1)
    table = pq.read_table(path)
    for number, options in enumerate(
        [{"compression": "snappy"}, {"use_dictionary": True}, {"data_page_version": "2.0"}]
    ):
        other = tmp_path / f"{number}.parquet"
        pq.write_table(table, other, **options)
        rows = np.array([3, 17, 299])
        assert_same(SegmentFile(other, "sample").of(rows), take_rows(chunk, rows))
