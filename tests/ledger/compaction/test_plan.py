"""Which files are merged, and that it is bounded and never starves."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightslab.ledger.compaction.plan import (
    ARCHIVE,
    FAN,
    MOST_INPUTS,
    MOST_ROWS,
    MergeJob,
    archive_jobs,
    between,
    due_jobs,
    due_run,
)


@dataclass(frozen=True)
class File:
    path: Path
    first: int
    last: int
    rows: int
    tier: int


def flushed(number: int, rows: int = 10) -> File:
    return File(Path(f"seg-{number:09d}-{number:09d}.parquet"), number, number, rows, 0)


def merged(run: list[File]) -> File:
    job = MergeJob.of("sample", run)
    rows = sum(file.rows for file in run)
    return File(job.target, run[0].first, run[-1].last, rows, job.tier)


def settle(files: list[File], most_rows: int) -> tuple[list[File], int]:
    """Merge until nothing is due; the files, and how many rows were rewritten."""
    rewritten = 0
    while run := due_run(files, most_rows):
        at = files.index(run[0])
        assert files[at : at + len(run)] == run
        assert len(run) <= FAN
        rewritten += sum(file.rows for file in run)
        files = [*files[:at], merged(run), *files[at + len(run) :]]
    return files, rewritten


@given(st.integers(1, 700))
def test_files_grow_with_the_logarithm_and_a_row_is_rewritten_once_a_tier(flushes: int) -> None:
    """After n flushes there are at most seven files of each tier, and none is missing."""
    files: list[File] = []
    rewritten = 0
    for number in range(1, flushes + 1):
        files, more = settle([*files, flushed(number)], 10**9)
        rewritten += more
    tiers = 1
    while FAN**tiers <= flushes:
        tiers += 1
    assert len(files) <= tiers * (FAN - 1)
    assert rewritten <= 10 * flushes * (tiers - 1)
    assert [f.first for f in files[1:]] == [f.last + 1 for f in files[:-1]]
    assert (files[0].first, files[-1].last) == (1, flushes)
    assert sum(f.rows for f in files) == 10 * flushes


@given(st.lists(st.integers(1, 500), min_size=1, max_size=200))
def test_no_merge_is_larger_than_the_bound(sizes: list[int]) -> None:
    """Whatever the sizes, a job reads at most the bound, and all rows stay."""
    files, _ = settle([flushed(n + 1, rows) for n, rows in enumerate(sizes)], 1000)
    assert all(file.rows <= 1000 for file in files)
    assert sum(file.rows for file in files) == sum(sizes)


def test_archives_are_left_alone() -> None:
    """What was archived is merged no more, however many there are."""
    files = [
        File(Path(f"seg-{n:09d}-{n:09d}.parquet"), n, n, 1, ARCHIVE) for n in range(1, 3 * FAN)
    ]
    assert due_run(files, 10**9) == []


def test_small_jobs_come_first() -> None:
    """Of several partitions the one with the fewest rows to move goes first."""
    large = [flushed(n, 1000) for n in range(1, FAN + 1)]
    small = [flushed(n, 1) for n in range(1, FAN + 1)]
    jobs = due_jobs([("sample", large), ("instance", small)])
    assert [job.kind for job in jobs] == ["instance", "sample"]


def test_a_job_survives_its_way_to_the_child() -> None:
    """A job in words is the same job."""
    job = MergeJob.of("sample", [flushed(1), flushed(2)])
    assert MergeJob.restore(job.words()) == job
    assert job.target.name == "seg-000000001-000000002.parquet"


def archive(kind: str, files: list[File]) -> list[File]:
    """Archive until nothing is to be done."""
    while jobs := archive_jobs(kind, files):
        for job in jobs:
            assert len(job.inputs) <= MOST_INPUTS
            run = [file for file in files if file.path in job.inputs]
            at = files.index(run[0])
            assert files[at : at + len(run)] == run
            rows = sum(file.rows for file in run)
            one = File(job.target, run[0].first, run[-1].last, rows, job.tier)
            files = [*files[:at], one, *files[at + len(run) :]]
    return files


@pytest.mark.parametrize("flushes", [1, 2, 64, 65, 128, 1000, 4161])
def test_an_archive_is_one_file_and_no_job_opens_many(flushes: int) -> None:
    """However many files there are, they become one, by jobs that open a bounded number."""
    files = archive("sample", [flushed(n) for n in range(1, flushes + 1)])
    assert [(f.first, f.last, f.tier) for f in files] == [(1, flushes, ARCHIVE)]
    assert archive_jobs("sample", files) == []


@given(st.lists(st.integers(1, MOST_ROWS["global"] * 2), min_size=1, max_size=200))
def test_curves_are_archived_up_to_what_memory_holds(sizes: list[int]) -> None:
    """A curve beyond the bound becomes several files, each as large as the bound allows."""
    bound = MOST_ROWS["global"]
    files = archive("global", [flushed(n + 1, rows) for n, rows in enumerate(sizes)])
    assert sum(file.rows for file in files) == sum(sizes)
    assert all(file.tier == ARCHIVE or file.rows > bound for file in files)
    assert all(a.rows + b.rows > bound for a, b in itertools.pairwise(files))


def test_what_stays_divides_what_is_merged() -> None:
    """Files that stay as they are are in no run, and no run reaches across them."""
    files = [flushed(n) for n in range(1, 8)]
    runs = between(files, {files[0].path, files[3].path, files[4].path})
    assert [[file.first for file in run] for run in runs] == [[2, 3], [6, 7]]
