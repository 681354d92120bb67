"""Sample table files beyond the words of the seed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from weightslab.errors import UnknownOptionError
from weightslab.export.dataframe import chosen_columns, layers_of, write_dataframe_frame

COLUMNS = [
    "sample_id",
    "annotation_id",
    "origin",
    "discarded",
    "tag:weather",
    "signals//loss",
    "signals//signals_x",
    "target",
]


def _write(frame: pl.DataFrame, folder: Path, **arguments: object) -> Path:
    layers = {"sample": {"signals//loss"}, "instance": {"signals//iou"}}
    said: list[str] = []
    defaults = {"default_dir": folder, "layers": layers, "warn": said.append}
    return write_dataframe_frame(frame, **{**defaults, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, COLUMNS[2:]),
        (["all"], COLUMNS[2:]),
        (["tags"], ["tag:weather"]),
        (["signals"], ["signals//loss", "signals//signals_x"]),
        (["discarded"], ["discarded"]),
        (["signals_loss"], ["signals//loss"]),
        (["signals//loss"], ["signals//loss"]),
        (["loss"], ["signals//loss"]),
        (["signals_x"], ["signals//signals_x"]),
        (["target", "discarded", "tags"], ["discarded", "tag:weather", "target"]),
        (["sample_id"], []),
        ([], []),
    ],
)
def test_columns(chosen: list[str] | None, expected: list[str]) -> None:
    """Groups, exact names and every spelling of a signal, in the table's order."""
    assert chosen_columns(COLUMNS, chosen) == ["sample_id", "annotation_id", *expected]


def test_an_unknown_column_names_the_nearest(tmp_path: Path) -> None:
    """The error says what was probably meant; nothing is written."""
    frame = pl.DataFrame({"sample_id": ["a"], "annotation_id": [0], "tag:weather": ["sun"]})
    with pytest.raises(UnknownOptionError, match="did you mean 'tag:weather'"):
        _write(frame, tmp_path, columns="weather")
    assert list(tmp_path.iterdir()) == []


def test_rows_keep_their_order_and_their_layer(tmp_path: Path) -> None:
    """Rows of both layers stand in the table's order, each with the signals of its own."""
    number = 40_000
    frame = pl.DataFrame(
        {
            "sample_id": [str(n // 3) for n in range(number)],
            "annotation_id": pl.Series([n % 3 for n in range(number)], dtype=pl.Int32),
            "signals//loss": [float(n) if n % 3 == 0 else None for n in range(number)],
            "signals//iou": [float(n) if n % 3 else None for n in range(number)],
        }
    )
    rows = json.loads(_write(frame, tmp_path).read_text())
    assert len(rows) == number
    for n, row in enumerate(rows):
        signal = "signals//iou" if n % 3 else "signals//loss"
        assert row == {"sample_id": str(n // 3), "annotation_id": n % 3, signal: float(n)}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-0.5e3", -500.0),
        ("[1, 2]", [1, 2]),
        ("[]", []),
        ("[[1.5, NaN], [-Infinity, null]]", [[1.5, None], [None, None]]),
        ("[true,false]", [True, False]),
        (None, None),
        ("cat", "cat"),
        ("007", "007"),
        ("[1 2]", "[1 2]"),
        ("[1,]", "[1,]"),
        ("[,1]", "[,1]"),
        ("[1][2]", "[1][2]"),
        ("[1 [2]]", "[1 [2]]"),
        ('a "b"\n[', 'a "b"\n['),
    ],
)
def test_arrays_stand_in_json_as_arrays(tmp_path: Path, text: str, value: object) -> None:
    """A target kept as JSON text is an array in JSON; other text stays text."""
    frame = pl.DataFrame(
        {"sample_id": ["a", "b"], "annotation_id": [0, 0], "target": [text, "1"]},
        schema_overrides={"target": pl.String},
    )
    rows = json.loads(_write(frame, tmp_path).read_text())
    assert rows[0] == {"sample_id": "a", "annotation_id": 0, "target": value}
    assert rows[1]["target"] == 1


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    """Null in JSON; nan, inf and empty in CSV."""
    frame = pl.DataFrame(
        {
            "sample_id": ["a", "b", "c"],
            "annotation_id": [0, 0, 0],
            "signals//loss": [math.nan, -math.inf, None],
        }
    )
    rows = json.loads(_write(frame, tmp_path).read_text())
    assert [row["signals//loss"] for row in rows] == [None, None, None]
    lines = _write(frame, tmp_path, format="csv").read_text().splitlines()
    assert lines[1:] == ["a,0,nan", "b,0,-inf", "c,0,"]


def test_unknown_ids_are_said(tmp_path: Path) -> None:
    """The empty file is written, and what was not found is named."""
    frame = pl.DataFrame({"sample_id": ["a"], "annotation_id": [0]})
    said: list[str] = []
    path = _write(frame, tmp_path, sample_id="z", instance_id=2, warn=said.append)
    assert json.loads(path.read_text()) == []
    assert [message.partition(" in ")[0] for message in said] == [
        "no rows for sample_id 'z'",
        "no rows for instance_id 2",
    ]


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_columnar_formats_hold_the_frame(tmp_path: Path, format: str) -> None:
    """What is written is read back as it was."""
    frame = pl.DataFrame({"sample_id": ["a"], "annotation_id": [0], "discarded": [None]})
    path = _write(frame, tmp_path, format=format)
    read = pl.read_parquet(path) if format == "parquet" else pl.read_ipc(path)
    assert read.equals(frame)


def test_arrow_is_read_by_pyarrow_and_pandas(tmp_path: Path) -> None:
    """An Arrow file is a plain one: large strings and no views."""
    frame = pl.DataFrame({"sample_id": ["a"], "annotation_id": [0]})
    path = _write(frame, tmp_path, format="arrow")
    with pa.OSFile(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
    assert table.schema.field("sample_id").type == pa.large_string()
    assert pd.read_feather(path)["sample_id"].tolist() == ["a"]


def test_layers_are_seen_in_the_values() -> None:
    """A signal belongs to the layers whose rows have a value of it, NaN included."""
    frame = pl.DataFrame(
        {
            "sample_id": ["a", "a"],
            "annotation_id": [0, 1],
            "signals//loss": [math.nan, None],
            "signals//iou": [None, 0.5],
            "signals//both": [1.0, 2.0],
        }
    )
    assert layers_of(frame) == {
        "sample": {"signals//loss", "signals//both"},
        "instance": {"signals//iou", "signals//both"},
    }


@pytest.mark.parametrize("format", ["json", "csv"])
def test_instances_follow_their_sample(tmp_path: Path, format: str) -> None:
    """Samples keep the table's order, and each is followed by its instances."""
    frame = pl.DataFrame(
        {"sample_id": ["b", "a", "c", "a", "b", "b"], "annotation_id": [0, 0, 0, 1, 2, 1]}
    )
    path = _write(frame, tmp_path, format=format)
    rows = pl.read_json(path) if format == "json" else pl.read_csv(path)
    expected = [("b", 0), ("b", 1), ("b", 2), ("a", 0), ("a", 1), ("c", 0)]
    assert rows.rows() == expected
