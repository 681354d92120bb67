"""Where the pages of a segment stand, as its metadata tells it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.ledger.history.test_merge import assert_same, chunk_of, write
from weightslab.ledger.history.mapped import SegmentFile, take_rows
from weightslab.ledger.history.merge import merge_segments
from weightslab.ledger.history.page_index import PAGE, PageIndex
from weightslab.ledger.history.pages import list_pages
from weightslab.ledger.history.segments import COLUMNS, ROW_GROUP, Chunk, read_chunk, read_footer


@pytest.fixture(scope="module", params=["sample", "instance"])
def merged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two row groups of a merged segment; sample 40 has many pages, others begin inside one."""
    dice = np.random.default_rng(5)
    samples = dice.integers(0, 3000, ROW_GROUP - 5_000).tolist() + [40] * 20_000 + [5000] * 3
    folder = tmp_path_factory.mktemp("merged")
    source = write(folder / "source.parquet", chunk_of(request.param, samples, 6), 1)
    path = folder / f"{request.param}.parquet"
    with path.open("wb") as stream:
        merge_segments(request.param, [source], stream, tier=1)
    return path


def test_the_index_says_where_the_headers_are(merged: Path) -> None:
    """Every place in the index is that of a page header, in order, as going through finds them."""
    kind = merged.stem
    metadata = pq.read_metadata(merged)
    index = PageIndex.of(read_footer(merged)["pages"], len(COLUMNS[kind]))
    view = memoryview(merged.read_bytes())
    assert metadata.num_row_groups == len(index.places) == 2
    for group in range(2):
        for number, (_, dtype, _) in enumerate(COLUMNS[kind]):
            found = list_pages(view, metadata.row_group(group).column(number), np.dtype(dtype))
            assert found is not None
            assert found.headers.tolist() == index.places[group][number].tolist()
            assert np.diff(found.starts)[:-1].tolist() == [PAGE] * (len(found.headers) - 1)


def test_samples_are_found_by_their_pages(merged: Path) -> None:
    """Each sample alone, at page borders, over many pages, missing or last: all its rows."""
    whole = read_chunk(merged, merged.stem)
    file = SegmentFile(merged, merged.stem)
    sample = whole.columns["sample"]
    borders = np.unique(sample[::PAGE])
    for row in [0, 39, 40, 41, 2999, 3000, 4999, 5000, 9999, *borders.tolist()]:
        rows = np.array([row])
        assert_same(file.of(rows), take_rows(whole, rows))
    rows = np.unique(np.random.default_rng(0).integers(0, 5001, 60))
    assert_same(file.of(rows), take_rows(whole, rows))


def test_a_merged_segment_decodes_no_column_for_one_sample(merged: Path) -> None:
    """What one sample needs is a few pages: the ordinary reader is not asked."""
    file = SegmentFile(merged, merged.stem)

    class Refusing:
        metadata = file._metadata

        def read_row_group(self, *_: object, **__: object) -> None:
            raise AssertionError("a row group was decoded")

    file._parquet = Refusing()
    assert len(file.of(np.array([40]))) > 20_000


def test_a_file_without_an_index_is_read_all_the_same(merged: Path, tmp_path: Path) -> None:
    """Files of somebody else, written anew by another tool, give the same rows."""
    other = tmp_path / "other.parquet"
    pq.write_table(pq.read_table(merged).replace_schema_metadata({}), other)
    rows = np.array([40, 1234, 5000])
    whole = read_chunk(merged, merged.stem)
    found: Chunk = SegmentFile(other, merged.stem).of(rows)
    assert_same(found, take_rows(whole, rows))


def test_a_place_that_lies_is_an_error_and_never_a_value(merged: Path) -> None:
    """An index that points anywhere else gives an error, whatever stands there."""
    file = SegmentFile(merged, merged.stem)
    assert file._index is not None
    for shift in (1, -1, 7, 100, 5000):
        broken = SegmentFile(merged, merged.stem)
        assert broken._index is not None
        for places in broken._index.places:
            np.add(places, shift, out=places)
        try:
            found = broken.of(np.array([1234]))
        except (OSError, ValueError):
            continue
        assert_same(found, file.of(np.array([1234])))
