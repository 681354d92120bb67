"""Segments read one way or another give the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ledger.history.test_merge import assert_same, chunk_of, write
from weightslab.ledger.history.mapped import take_rows
from weightslab.ledger.history.partitions import Segment, fold_curve
from weightslab.ledger.history.reader import SegmentReader
from weightslab.ledger.history.segments import Chunk

BUDGET = 64 << 20


@pytest.fixture
def segment(tmp_path: Path) -> tuple[Segment, Chunk]:
    """20,000 rows of 500 samples."""
    chunk = chunk_of("sample", list(range(500)) * 40, 1)
    path = write(tmp_path / "s.parquet", chunk, 1)
    return Segment(path, 1, 1, 1, len(chunk), 500), chunk


def test_the_first_and_the_hundredth_question_get_the_same_answer(
    segment: tuple[Segment, Chunk],
) -> None:
    """Page by page at first, from memory when it is asked often: the same rows."""
    found, chunk = segment
    reader = SegmentReader(BUDGET)
    for at in range(30):
        rows = np.array([at, at + 100])
        assert_same(reader.of_rows(found, "sample", rows), take_rows(chunk, rows))
    assert list(reader._decoded) == [found.path]


def test_memory_for_decoded_segments_is_bounded(tmp_path: Path) -> None:
    """Of several segments those that were used last are kept, within the budget."""
    reader = SegmentReader(1 << 20)
    for number in range(8):
        chunk = chunk_of("sample", list(range(500)) * 20, number)
        path = write(tmp_path / f"{number}.parquet", chunk, 1)
        reader.whole(Segment(path, 1, 1, 1, len(chunk), 500), "sample")
        assert reader._bytes == sum(d.size_bytes for d in reader._decoded.values()) <= 1 << 20
    assert [p.stem for p in reader._decoded] == ["4", "5", "6", "7"]


def test_segments_that_memory_cannot_hold_together_are_not_decoded_in_turn(tmp_path: Path) -> None:
    """Asked often one after the other, some are kept and the rest read by pages, until asked alone.

    480 kB decoded each; the budget holds three of six.
    """
    reader = SegmentReader(2 << 20)
    segments, chunks = [], []
    for number in range(6):
        chunks.append(chunk_of("sample", list(range(500)) * 40, number))
        path = write(tmp_path / f"{number}.parquet", chunks[-1], 1)
        segments.append(Segment(path, 1, 1, 1, len(chunks[-1]), 500))

    def ask(numbers: range, times: int) -> None:
        for time in range(times):
            for number in numbers:
                rows = np.array([time])
                found = reader.of_rows(segments[number], "sample", rows)
                assert_same(found, take_rows(chunks[number], rows))

    ask(range(6), 12)
    kept = {path.stem: id(decoded.chunk) for path, decoded in reader._decoded.items()}
    assert sorted(kept) == ["0", "1", "2"]
    ask(range(6), 30)
    assert {path.stem: id(held.chunk) for path, held in reader._decoded.items()} == kept
    ask(range(4, 6), 30)
    assert {"4", "5"} < {path.stem for path in reader._decoded}


def test_memory_for_what_is_known_of_pages_is_bounded(tmp_path: Path) -> None:
    """Of many segments read by pages the indexes used last are kept, and answers stay right."""
    reader = SegmentReader(600_000)
    segments, chunks = [], []
    for number in range(5):
        chunks.append(chunk_of("sample", list(range(9000)) * 2, number))
        path = write(tmp_path / f"{number}.parquet", chunks[-1], 1)
        segments.append(Segment(path, 1, 1, 1, len(chunks[-1]), 9000))
    for time in range(12):
        for segment, chunk in zip(segments, chunks, strict=True):
            rows = np.array([time, 8000 + time])
            assert_same(reader.of_rows(segment, "sample", rows), take_rows(chunk, rows))
            assert 0 < reader._indexes.size_bytes <= 150_000
    for segment in segments:
        reader.forget(segment.path)
    assert reader._indexes.size_bytes == 0


def test_a_file_that_was_replaced_is_read_anew(segment: tuple[Segment, Chunk]) -> None:
    """What is forgotten is read from the disk at the next question."""
    found, _ = segment
    reader = SegmentReader(BUDGET)
    rows = np.array([3])
    before = reader.of_rows(found, "sample", rows)
    other = chunk_of("sample", list(range(500)) * 40, 2)
    write(found.path.with_name("new"), other, 1).rename(found.path)
    reader.forget(found.path)
    after = reader.of_rows(found, "sample", rows)
    assert before.columns["value"].tobytes() != after.columns["value"].tobytes()
    assert_same(after, take_rows(other, rows))


def test_groups_are_the_segment(segment: tuple[Segment, Chunk]) -> None:
    """In pieces or whole, decoded before or not, all rows come."""
    found, chunk = segment
    reader = SegmentReader(BUDGET)
    for _ in range(2):
        pieces = list(reader.groups(found, "sample"))
        assert sum(map(len, pieces)) == len(chunk)
        reader.whole(found, "sample")


def test_what_is_known_of_segments_that_are_gone_is_bounded(
    segment: tuple[Segment, Chunk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader beside a writer that merges for days remembers the segments of the last looks."""
    monkeypatch.setattr("weightslab.ledger.history.reader._MOST_KNOWN", 4)
    found, _ = segment
    curve = write(tmp_path / "curve.parquet", fold_curve(Chunk.empty("global")), 1)
    reader = SegmentReader(BUDGET)
    for number in range(8):
        for former, size in ((found.path, 20_000), (curve, 0)):
            path = tmp_path / f"{former.stem}{number}.parquet"
            path.hardlink_to(former)
            again = Segment(path, 1, 1, 1, size, 500)
            if former == curve:
                reader.blocks(again)
            else:
                reader.of_rows(again, "sample", np.array([3]))
    assert [path.stem for path in reader._blocks] == [f"curve{n}" for n in range(4, 8)]
    assert [path.stem for path in reader._asked] == [f"s{n}" for n in range(4, 8)]
