"""History files beyond the words of the seed: hostile values, filters, formats."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest

from weightslab.errors import InputError, UnknownOptionError
from weightslab.export.history import write_history_frames

NAME = 'a,"b"\n/é😀'


class Source:
    """Three layers in memory, filtered as the queries room filters them."""

    def __init__(self, sample: pl.DataFrame) -> None:
        self.frames = {
            "global": sample.drop("sample_id").head(1),
            "sample": sample,
            "instance": sample.with_columns(annotation_id=pl.lit(1, dtype=pl.Int32)).head(1),
        }
        self.asked: list[str] = []

    def __call__(
        self,
        kind: str,
        *,
        signals: list[str] | None,
        sample_ids: list[str] | None,
        annotation_ids: list[int] | None,
        hashes: list[str] | None,
    ) -> Iterator[pl.DataFrame]:
        self.asked.append(kind)
        frame = self.frames[kind]
        for column, wanted in {
            "signal": signals,
            "sample_id": sample_ids,
            "annotation_id": annotation_ids,
            "experiment_hash": hashes,
        }.items():
            if wanted is not None:
                frame = frame.filter(pl.col(column).is_in(wanted))
        # In pieces, as a large history comes.
        return iter([frame.head(2), frame.slice(2)])


@pytest.fixture
def source() -> Source:
    values = [0.42, math.nan, math.inf, -math.inf, 1e300]
    return Source(
        pl.DataFrame(
            {
                "signal": [NAME] * 5,
                "experiment_hash": [None, "h1", "h1", "h1", "h1_1"],
                "launch": pl.Series([1] * 5, dtype=pl.Int32),
                "sample_id": [f"{NAME}{n}" for n in range(5)],
                "step": [0, 1, 2, 2**31, 2**62],
                "value": values,
            },
            schema_overrides={"experiment_hash": pl.String},
        )
    )


def _write(source: Source, folder: Path, **arguments: object) -> Path:
    said: list[str] = []
    source.said = said  # type: ignore[attr-defined]
    return write_history_frames(
        source,
        **{"default_dir": folder, "current_hash": "h1", "warn": said.append, **arguments},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_other_tools_read_the_same_rows(source: Source, tmp_path: Path, format: str) -> None:
    """DuckDB and pandas read hostile names, NaN, infinities and large steps as they were."""
    path = _write(source, tmp_path, format=format, type_of_history="sample", experiment_hash="all")
    expected = source.frames["sample"]
    by_pandas = (pd.read_csv if format == "csv" else pd.read_parquet)(path)
    by_duckdb = duckdb.sql(f"select * from '{path}'").pl()
    assert by_duckdb.columns == list(by_pandas.columns)
    for steps, ids, names in (
        (list(by_pandas["step"]), list(by_pandas["sample_id"]), set(by_pandas["graph_name"])),
        (
            by_duckdb["step"].to_list(),
            by_duckdb["sample_id"].to_list(),
            set(by_duckdb["graph_name"]),
        ),
    ):
        assert steps == expected["step"].to_list()
        assert ids == expected["sample_id"].to_list()
        assert names == {NAME}
    read = [float(value) for value in by_duckdb["metric_value"]]
    assert list(map(repr, read)) == list(map(repr, expected["value"]))


def test_arrow_and_parquet_hold_the_columns_of_csv(source: Source, tmp_path: Path) -> None:
    """One table in every format."""
    csv = _write(source, tmp_path, format="csv", experiment_hash="all")
    parquet = _write(source, tmp_path, format="parquet", experiment_hash="all")
    arrow = _write(source, tmp_path, format="arrow", experiment_hash="all")
    assert csv.stem == parquet.stem == arrow.stem
    frame = pl.read_parquet(parquet)
    assert frame.equals(pl.read_ipc(arrow), null_equal=True)
    assert frame.columns == pl.read_csv(csv).columns
    assert frame.height == 7


def test_json_is_strict_for_values_that_are_no_numbers(source: Source, tmp_path: Path) -> None:
    """NaN and infinities are null, and no hash is null."""
    path = _write(source, tmp_path, type_of_history="sample", experiment_hash="all")

    def refuse(constant: str) -> object:
        raise AssertionError(constant)

    rows = json.loads(path.read_text("utf-8"), parse_constant=refuse)["sample"]
    assert [row["metric_value"] for row in rows] == [0.42, None, None, None, 1e300]
    assert rows[0]["experiment_hash"] is None


def test_the_current_hash_has_no_markers(source: Source, tmp_path: Path) -> None:
    """Without a hash, the rows of `h1` are written and those of the evaluation `h1_1` are not."""
    rows = json.loads(_write(source, tmp_path, type_of_history="sample").read_text())["sample"]
    assert {row["experiment_hash"] for row in rows} == {"h1"}
    assert source.said == []  # type: ignore[attr-defined]


def test_without_an_experiment_every_row_is_written(source: Source, tmp_path: Path) -> None:
    """With no current hash there is nothing to narrow down to."""
    path = _write(source, tmp_path, type_of_history="sample", current_hash=None)
    assert len(json.loads(path.read_text())["sample"]) == 5


def test_only_the_chosen_layer_is_read(source: Source, tmp_path: Path) -> None:
    """A layer that is not selected costs nothing."""
    _write(source, tmp_path, type_of_history="instances")
    assert source.asked == ["instance"]


def test_what_nobody_knows_is_said(source: Source, tmp_path: Path) -> None:
    """The file is written, empty, and each filter without rows is named."""
    path = _write(
        source,
        tmp_path,
        graph_name="los",
        sample_id=["x", 5],
        instance_id=9,
        experiment_hash="h9",
    )
    assert json.loads(path.read_text()) == {"global": [], "sample": [], "instance": []}
    assert source.said == [  # type: ignore[attr-defined]
        f"no rows for graph_name 'los' in {path}",
        f"no rows for experiment_hash 'h9' in {path}",
        f"no rows for sample_id '5', 'x' in {path}",
        f"no rows for instance_id 9 in {path}",
    ]


def test_an_empty_csv_has_its_header(source: Source, tmp_path: Path) -> None:
    """A file without rows still says what its columns are."""
    path = _write(source, tmp_path, format="csv", sample_id=[], type_of_history="sample")
    header = "type,graph_name,experiment_hash,step,metric_value,sample_id,annotation_id\n"
    assert path.read_text() == header


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"format": "jsn"}, "did you mean 'json'"),
        ({"type_of_history": "samples"}, "did you mean 'sample'"),
    ],
)
def test_unknown_choices_write_nothing(
    source: Source, tmp_path: Path, arguments: dict[str, object], error: str
) -> None:
    """The error names the nearest choice, and no file appears."""
    with pytest.raises(UnknownOptionError, match=error):
        _write(source, tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_filter_writes_nothing(source: Source, tmp_path: Path) -> None:
    """A filter that cannot be meant is refused before anything is read."""
    with pytest.raises(InputError, match="instance_id"):
        _write(source, tmp_path, instance_id=-1)
    assert source.asked == []
    assert list(tmp_path.iterdir()) == []
