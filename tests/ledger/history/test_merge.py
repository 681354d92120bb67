"""Segments that become one hold the same rows in the same order."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest  # Hypothesis reads the types of arguments
from hypothesis import given, settings
from hypothesis import strategies as st

from weightslab.ledger.history import merge
from weightslab.ledger.history.mapped import SegmentFile
from weightslab.ledger.history.merge import merge_segments, merge_sorted, windows
from weightslab.ledger.history.segments import (
    Chunk,
    concat_chunks,
    read_chunk,
    read_footer,
    sort_chunk,
    write_chunk,
)


def chunk_of(kind: str, samples: list[int], seed: int) -> Chunk:
    """A sorted chunk of these samples with values of all kinds."""
    dice = np.random.default_rng(seed)
    n = len(samples)
    values = dice.choice([0.5, np.nan, np.inf, -1e300, 1e-300, -0.0, 3.0], n)
    columns: dict[str, np.ndarray] = {
        "sample": np.array(samples, np.int32),
        "step": dice.integers(0, 2**40, n),
        "value": values,
        "launch": dice.integers(1, 4, n, dtype=np.int32),
    }
    if kind == "instance":
        columns["annotation_id"] = dice.integers(1, 4, n, dtype=np.int32)
    return sort_chunk(Chunk(kind, columns))


def write(path: Path, chunk: Chunk, lsn: int) -> Path:
    last_row = int(chunk.columns["sample"][-1]) + 1 if chunk.kind != "global" else 0
    footer = {"lsn": lsn, "last": lsn, "samples": last_row, "signal": "loss", "tier": 0}
    with path.open("wb") as stream:
        write_chunk(chunk, footer | {"experiment_hash": None}, stream)
    return path


def assert_same(found: Chunk, expected: Chunk) -> None:
    for name, column in expected.columns.items():
        assert found.columns[name].tobytes() == column.tobytes(), name


lists_of_samples = st.lists(
    st.lists(st.integers(0, 40), min_size=1, max_size=60), min_size=1, max_size=6
)


@given(lists_of_samples, st.sampled_from(["sample", "instance"]))
def test_a_merge_keeps_every_row_and_the_order_of_saving(
    samples: list[list[int]], kind: str
) -> None:
    """Merged, rows stand by sample, and within one as if all had been sorted together."""
    parts = [chunk_of(kind, s, seed) for seed, s in enumerate(samples)]
    assert_same(merge_sorted(kind, parts), sort_chunk(concat_chunks(kind, parts)))


def test_few_rows_of_very_many_samples_take_the_memory_of_rows() -> None:
    """What a merge takes follows its rows, and not how far apart their samples are."""
    dice = np.random.default_rng(0)
    spread = [dice.integers(0, 20_000_000, 5000).tolist() for _ in range(8)]
    parts = [chunk_of("sample", samples, seed) for seed, samples in enumerate(spread)]
    tracemalloc.start()
    merged = merge_sorted("sample", parts)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * merged.size_bytes
    assert_same(merged, sort_chunk(concat_chunks("sample", parts)))


@settings(max_examples=30, deadline=None)
@given(lists_of_samples, st.sampled_from(["sample", "instance"]), st.integers(1, 50))
def test_windows_of_any_size_give_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, samples: list[list[int]], kind: str, size: int
) -> None:
    """However few rows a window holds, the merged file is the same, and so is its footer."""
    folder = tmp_path_factory.mktemp("merge")
    parts = [chunk_of(kind, s, seed) for seed, s in enumerate(samples)]
    paths = [write(folder / f"{n}.parquet", part, n + 1) for n, part in enumerate(parts)]
    former, merge._WINDOW_ROWS = merge._WINDOW_ROWS, size
    try:
        with (folder / "merged.parquet").open("wb") as stream:
            rows = merge_segments(kind, paths, stream, tier=3)
    finally:
        merge._WINDOW_ROWS = former
    whole = sort_chunk(concat_chunks(kind, parts))
    assert rows == len(whole)
    assert_same(read_chunk(folder / "merged.parquet", kind), whole)
    footer = read_footer(folder / "merged.parquet")
    assert footer["lsn"] == len(parts)
    assert footer["samples"] == max(map(max, samples)) + 1
    assert footer["tier"] == 3


@given(lists_of_samples, st.integers(1, 100))
def test_windows_cover_every_sample_once(
    tmp_path_factory: pytest.TempPathFactory, samples: list[list[int]], size: int
) -> None:
    """Windows are ranges side by side, from the lowest sample to behind the highest."""
    folder = tmp_path_factory.mktemp("windows")
    parts = [chunk_of("sample", s, seed) for seed, s in enumerate(samples)]
    paths = [write(folder / f"{n}.parquet", part, n + 1) for n, part in enumerate(parts)]
    found = list(windows([SegmentFile(path, "sample").edges() for path in paths], size))
    assert found[0][0] == min(map(min, samples))
    assert found[-1][1] == max(map(max, samples)) + 1
    assert all(low < high for low, high in found)
    assert [high for _, high in found[:-1]] == [low for low, _ in found[1:]]


@pytest.mark.parametrize("kind", ["sample", "instance"])
def test_one_sample_with_many_rows_is_merged(tmp_path: Path, kind: str) -> None:
    """A window of a single sample keeps the order of saving, within each instance."""
    parts = [chunk_of(kind, [7] * 3000, seed) for seed in range(3)]
    paths = [write(tmp_path / f"{n}.parquet", part, n + 1) for n, part in enumerate(parts)]
    with (tmp_path / "merged.parquet").open("wb") as stream:
        merge_segments(kind, paths, stream, tier=1)
    whole = sort_chunk(concat_chunks(kind, parts))
    assert_same(read_chunk(tmp_path / "merged.parquet", kind), whole)


def test_curves_fold_as_they_do_unmerged(tmp_path: Path) -> None:
    """Of one step on two sides of a flush, means stay weighted and the newest scalar wins."""

    def curve(step: list[int], value: list[float], count: list[int]) -> Chunk:
        values = np.array(value)
        return Chunk(
            "global",
            {
                "step": np.array(step, np.int64),
                "value": values,
                "min": values - 1.0,
                "max": values + 1.0,
                "count": np.array(count, np.int64),
                "launch": np.ones(len(step), np.int32),
            },
        )

    parts = [curve([0, 1], [1.0, 2.0], [10, 0]), curve([0, 1, 2], [4.0, 5.0, 6.0], [20, 0, 1])]
    paths = [write(tmp_path / f"{n}.parquet", part, n + 1) for n, part in enumerate(parts)]
    with (tmp_path / "merged.parquet").open("wb") as stream:
        merge_segments("global", paths, stream, tier=1)
    merged = read_chunk(tmp_path / "merged.parquet", "global").columns
    assert merged["step"].tolist() == [0, 1, 2]
    assert merged["value"].tolist() == [3.0, 5.0, 6.0]
    assert merged["count"].tolist() == [30, 0, 1]
    assert merged["min"].tolist() == [0.0, 5.0, 5.0]
