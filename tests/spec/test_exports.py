"""What api.md says of "Exports", through the verbs and a folder that a run has filled."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import weightslab as wl
from tests.spec.support import python, table
from weightslab.errors import UnknownOptionError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two samples, two instances, a tag, a category and a discard."""
    wl.Session(tmp_path / "run").__enter__()
    wl.save_signals({"loss": [0.5, 0.25], "acc": [1.0, 0.0]}, ["img0", "img1"], step=1)
    wl.save_instance_signals({"iou": [0.75, 0.5]}, ["img0"], [0, 0], step=1)
    wl.tag_samples(["img1"], "hard")
    wl.set_categorical_tag(["img0"], "loss_shape", "monotonic")
    wl.discard_samples(["img1"])
    return tmp_path / "run"


@pytest.mark.usefixtures("run")
def test_json_as_rows() -> None:
    """Quoted: "The default format is JSON, as rows"."""
    found = json.loads(wl.write_history().read_text())
    now = wl.query_signal_history("loss")[0][3]
    assert set(found) == {"global", "sample", "instance"}
    assert {
        "graph_name": "loss",
        "experiment_hash": now,
        "sample_id": "img0",
        "step": 1,
        "metric_value": 0.5,
    } in found["sample"]
    assert [row["annotation_id"] for row in found["instance"]] == [1, 2]
    assert isinstance(json.loads(wl.write_dataframe().read_text()), list)


NAMES = """
import sys
import weightslab as wl
with wl.Session(sys.argv[1]):
    wl.save_signals({"loss": [1.0]}, ["b"])
    print(wl.write_history(graph_name=["loss"], sample_id=["b", "a"]).name)
    print(wl.write_dataframe(columns="signals", sample_id=["b", "a"]).name)
"""


@pytest.mark.filterwarnings("ignore::weightslab.errors.WeightsLabWarning")
@pytest.mark.usefixtures("run")
def test_automatic_names() -> None:
    """Quoted: "(a scalar is a one-item list, order of a list does not matter …)", everywhere."""
    history = wl.write_history(graph_name="loss", sample_id=["a", "b"]).name
    frame = wl.write_dataframe(columns=["signals"], sample_id=["a", "b"]).name
    ended = python(NAMES, "another")
    assert ended.stdout.split() == [history, frame], ended.stderr
    for name, ending in ((history, "_history.json"), (frame, "_dataframe.json")):
        assert name.endswith(ending)
        assert len(name) == 8 + len(ending)
        int(name[:8], 16)


@pytest.mark.usefixtures("run")
def test_the_format_is_no_part_of_the_name() -> None:
    """Quoted: "the format is no part"; None is "all", "instances" is "instance"."""
    assert wl.write_history().stem == wl.write_history(format="csv").stem
    assert wl.write_history() == wl.write_history(type_of_history="all")
    assert wl.write_history(type_of_history="instance") == wl.write_history(
        type_of_history="instances"
    )
    assert wl.write_dataframe() == wl.write_dataframe(columns="all")


@pytest.mark.parametrize("format", ["parquet", "arrow"])
@pytest.mark.usefixtures("run")
def test_formats_beside_the_seed(format: str) -> None:
    """Quoted: "`format="parquet"` and `"arrow"` are welcome beside the seed's two"."""
    read = {"parquet": pl.read_parquet, "arrow": pl.read_ipc}[format]
    history = read(wl.write_history(format=format, type_of_history="sample"))
    assert sorted(history["graph_name"].unique()) == ["acc", "loss"]
    frame = read(wl.write_dataframe(format=format))
    assert frame.height == 4


@pytest.mark.parametrize(
    ("call", "known"),
    [
        (lambda: wl.write_history(format="jsonl"), "json"),
        (lambda: wl.write_history(type_of_history="samples"), "sample"),
        (lambda: wl.write_dataframe(format="cvs"), "csv"),
        (lambda: wl.write_dataframe(columns="signal"), "signals"),
    ],
)
@pytest.mark.usefixtures("run")
def test_unknown_choices(call: Any, known: str) -> None:
    """Quoted: "Unknown choices raise and name the allowed ones"."""
    with pytest.raises(UnknownOptionError, match=f"did you mean '{known}'"):
        call()


@pytest.mark.usefixtures("run")
def test_rows_of_instances() -> None:
    """Quoted: "Instance rows carry `discarded` and tags as null"."""
    row = table()["img0", 1]
    assert row["discarded"] is None
    assert row["tag:hard"] is None
    assert row["tag:loss_shape"] is None
    assert row["signals//iou"] == 0.75


@pytest.mark.parametrize("name", ["signals_loss", "signals//loss", "loss"])
@pytest.mark.usefixtures("run")
def test_spellings_of_a_column(name: str) -> None:
    """Quoted: "`columns=["signals_loss"]` finds the column too"."""
    row = table(columns=[name])["img0", 0]
    assert row == {"sample_id": "img0", "annotation_id": 0, "signals//loss": 0.5}


@pytest.mark.usefixtures("run")
def test_the_seeds_examples() -> None:
    """The examples of `write_dataframe`, on a run that has something to show."""
    wl.write_dataframe("tags.csv", format="csv", columns="tags")
    with Path("tags.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["sample_id", "annotation_id", "tag:hard", "tag:loss_shape"]
    found = json.loads(
        wl.write_dataframe(
            "subset.json", columns=["signals", "discarded"], sample_id=["img0", "img1"]
        ).read_text()
    )
    assert [row["discarded"] for row in found if row["annotation_id"] == 0] == [False, True]
    found = json.loads(
        wl.write_dataframe(columns=["signals", "tag:loss_shape"], instance_id=0).read_text()
    )
    assert [row["tag:loss_shape"] for row in found] == ["monotonic", None]


def test_csv_quotes_what_needs_quoting(tmp_path: Path) -> None:
    """Quoted: "CSV quotes what needs quoting"."""
    with wl.Session(tmp_path / "run"):
        odd = 'a,b "c"\nd'
        wl.save_signals({odd: [1.0]}, [odd], step=0)
        wl.set_categorical_tag([odd], odd, odd)
        with wl.write_dataframe(format="csv").open(newline="", encoding="utf-8") as file:
            [row] = list(csv.DictReader(file))
        assert row["sample_id"] == row[f"tag:{odd}"] == odd
        assert float(row[f"signals//{odd}"]) == 1.0


def test_plain_current_hash_is_the_default() -> None:
    """The seed: "None (default) uses the current experiment hash"; "all" includes every hash."""
    wl.watch_or_edit({"lr": 1}, flag="hp")
    wl.save_signals({"loss": [0.5]}, ["a"], step=0)
    first = wl.get_current_experiment_hash()
    wl.watch_or_edit({"lr": 2}, flag="hp")
    wl.save_signals({"loss": [0.25]}, ["a"], step=1)

    def values(**which: Any) -> list[float]:
        rows = json.loads(wl.write_history(type_of_history="sample", **which).read_text())
        return [row["metric_value"] for row in rows["sample"]]

    assert values() == [0.25]
    assert values(experiment_hash=first) == [0.5]
    assert values(experiment_hash="all") == [0.5, 0.25]


def test_a_closed_folder_is_exported() -> None:
    """A folder that was opened for reading exports the hash that it ended with."""
    with wl.Session("run"):
        wl.save_signals({"loss": [0.5]}, ["a"], step=0)
    with wl.Session("run", mode="r"):
        rows = json.loads(wl.write_history("h.json").read_text())
        assert [row["metric_value"] for row in rows["sample"]] == [0.5]
        assert len(json.loads(wl.write_dataframe("d.json").read_text())) == 1
