"""The tree is plain hive Parquet: tools that are not ours read it."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

from weightslab.ledger import Ledger

VALUES = [0.1, 1e300, float("nan"), float("inf"), 3.0]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A run with two signals, two hashes (one is none), 32- and 64-bit values, two segments."""
    ledger = Ledger(tmp_path / "run")
    rows = ledger.ids.block("train", range(5))
    ledger.append_samples({"loss": np.array(VALUES)}, rows, step=0)
    ledger.append_samples({"a/b, c=ü": np.arange(5, dtype=np.float32)}, rows, step=2**33)
    ledger.flush()
    ledger.edit.set_experiment("1234567890" * 2 + "1234")
    ledger.append_samples({"loss": np.arange(5, dtype=np.float32)}, rows, step=1)
    ledger.edit.tag(rows[:1], "hard", True)
    ledger.edit.categorize(rows[1:2], "weather", "rainy")
    ledger.close()
    return tmp_path / "run"


def summary(
    rows: list[tuple[str, str | None, int, float]],
) -> list[tuple[str, str | None, int, str]]:
    return sorted(
        ((s, h, step, repr(float(v))) for s, h, step, v in rows),
        key=lambda r: (r[0], r[1] or "", *r[2:]),
    )


@pytest.fixture
def expected() -> list[tuple[str, str | None, int, str]]:
    return summary(
        [("loss", None, 0, v) for v in VALUES]
        + [("a/b, c=ü", None, 2**33, float(v)) for v in range(5)]
        + [("loss", "123456789012345678901234", 1, float(v)) for v in range(5)]
    )


def test_duckdb_reads_the_history(tree: Path, expected: list[object]) -> None:
    """DuckDB reads the samples' history with signal and hash from the folders."""
    rows = duckdb.sql(
        "select signal, experiment_hash, step, value from read_parquet("
        f"'{tree}/history/kind=sample/**/*.parquet', hive_partitioning=true, "
        "hive_types={'experiment_hash': varchar})"
    ).fetchall()
    assert summary(rows) == expected


def test_polars_reads_the_history(tree: Path, expected: list[object]) -> None:
    """Polars scans the history by itself."""
    frame = pl.scan_parquet(
        f"{tree}/history/kind=sample/**/*.parquet",
        hive_partitioning=True,
        hive_schema={
            "kind": pl.String,
            "experiment_hash": pl.String,
            "signal": pl.String,
            "writer": pl.String,
        },
    ).collect()
    assert summary(frame.select("signal", "experiment_hash", "step", "value").rows()) == expected


def test_pyarrow_reads_the_history(tree: Path, expected: list[object]) -> None:
    """Pyarrow reads the history as a hive dataset."""
    import pyarrow as pa

    schema = pa.schema([(n, pa.string()) for n in ("experiment_hash", "signal", "writer")])
    data = ds.dataset(
        tree / "history/kind=sample",
        format="parquet",
        partitioning=ds.partitioning(schema, flavor="hive"),
    ).to_table()
    rows = [(r["signal"], r["experiment_hash"], r["step"], r["value"]) for r in data.to_pylist()]
    assert summary(rows) == expected


def test_pandas_reads_the_history(tree: Path) -> None:
    """Pandas reads a partition, and NaN, infinity and 1e300 stay what they are."""
    folder = next((tree / "history/kind=sample").glob("experiment_hash=__*/signal=loss"))
    frame = pd.read_parquet(next(folder.rglob("*.parquet")))
    assert frame["value"].tolist()[:2] == [0.1, 1e300]
    assert np.isnan(frame["value"][2])
    assert np.isinf(frame["value"][3])


def test_the_sample_table_joins_by_id_without_our_code(tree: Path) -> None:
    """DuckDB joins history, ids and tags into an answer of its own."""
    rows = duckdb.sql(
        f"""
        select i.sample_id, t."tag:hard", t."tag:weather", h.value
        from read_parquet('{tree}/history/kind=sample/*/signal=loss/**/*.parquet',
                          hive_partitioning=true, hive_types={{'experiment_hash': varchar}}) h
        join read_parquet('{tree}/ids/**/*.parquet', hive_partitioning=true) i
          on i.row = h.sample and i.writer = h.writer
        join read_parquet('{tree}/samples/family=tags/**/*.parquet') t
          on t.sample_id = i.sample_id
        where h.step = 1 order by h.value limit 2
        """
    ).fetchall()
    assert rows == [("train/0", True, None, 0.0), ("train/1", False, "rainy", 1.0)]


def test_latest_values_are_a_plain_table(tree: Path) -> None:
    """The latest value of every signal stands in one Parquet table of a closed folder."""
    frame = pl.read_parquet(f"{tree}/samples/family=signals/**/*.parquet", hive_partitioning=False)
    assert frame.filter(pl.col("sample_id") == "train/3")["signals//loss"].to_list() == [3.0]


def test_every_column_has_one_type_in_the_whole_tree(tree: Path) -> None:
    """A column has one type in all files of a layer, whatever was saved."""
    for kind in ("sample", "global"):
        schemas = {
            str(pl.read_parquet_schema(p))
            for p in (tree / f"history/kind={kind}").rglob("*.parquet")
        }
        assert len(schemas) == 1
