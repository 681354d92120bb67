"""Which files are merged, and that it is bounded and never starves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from weightslab.ledger.compaction.plan import ARCHIVE, FAN, MergeJob, due_jobs, due_run


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
