"""The journal's file: entries as they went in, and no object for each of their samples."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np

from weightslab.ledger.edits.journal import (
    JournalEntry,
    merge_journals,
    read_journal,
    write_journal,
)


def entry(lsn: int, rows: list[int] | np.ndarray, name: str | None = "t") -> JournalEntry:
    own = np.asarray(rows, np.int32)
    return JournalEntry(lsn, 10**15 + lsn, 3, 1, "user", "tag", name, "true", own, own + 1)


def test_entries_of_every_length_come_back(tmp_path: Path) -> None:
    """Of one file and of a merged one: none, one or several samples, first, last and between."""
    paths = []
    for number, lists in enumerate(([[], [1, 2], []], [[3]], [[], []], [[4, 5, 6], [7]])):
        path = tmp_path / f"{number}.parquet"
        entries = [entry(10 * number + at, rows) for at, rows in enumerate(lists)]
        with path.open("wb") as stream:
            write_journal(entries, stream)
        paths.append(path)
    merged = tmp_path / "merged.parquet"
    with merged.open("wb") as stream:
        assert merge_journals(paths, stream, tier=1) == 8
    for found in (
        [e for path in paths for e in read_journal(path)],
        list(read_journal(merged)),
    ):
        assert [e.lsn for e in found] == [0, 1, 2, 10, 20, 21, 30, 31]
        lists = [[], [1, 2], [], [3], [], [], [4, 5, 6], [7]]
        assert [e.rows.tolist() for e in found] == lists
        assert [e.previous.tolist() for e in found] == [[r + 1 for r in rows] for rows in lists]
        assert found[1].head() == entry(1, [1, 2]).head()


def test_reading_a_large_edit_takes_the_memory_of_its_numbers(tmp_path: Path) -> None:
    """An edit of many samples is read without a Python object for each of them."""
    path = tmp_path / "large.parquet"
    with path.open("wb") as stream:
        write_journal([entry(1, np.arange(300_000))], stream)
    tracemalloc.start()
    (found,) = read_journal(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(found.rows, np.arange(300_000))
    assert peak < 300_000 * 8
