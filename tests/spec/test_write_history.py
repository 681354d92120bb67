"""The seed's section `write_history`, sentence by sentence.

The frames are those of the seed's own example of the output.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from weightslab.export.history import write_history_frames

FRAMES = {
    "global": pl.DataFrame(
        {
            "signal": ["loss"],
            "experiment_hash": ["h1"],
            "launch": [1],
            "step": [1],
            "value": [0.42],
            "min": [0.38],
            "max": [0.46],
            "count": [2],
        }
    ),
    "sample": pl.DataFrame(
        {
            "signal": ["loss", "loss", "loss", "acc"],
            "experiment_hash": ["h1", "h1", "h2", "h1"],
            "launch": [1, 1, 1, 1],
            "sample_id": ["img0", "img1", "img0", "img0"],
            "step": [1, 1, 2, 1],
            "value": [0.38, 0.46, 0.3, 1.0],
        }
    ),
    "instance": pl.DataFrame(
        {
            "signal": ["iou", "iou"],
            "experiment_hash": ["h1", "h1"],
            "launch": [1, 1],
            "sample_id": ["img0", "img0"],
            "annotation_id": [1, 2],
            "step": [1, 1],
            "value": [0.81, 0.7],
        }
    ),
}

Write = Callable[..., Path]


def _source(kind: str, **wanted: list[str] | list[int] | None) -> list[pl.DataFrame]:
    frame = FRAMES[kind]
    for argument, column in {
        "signals": "signal",
        "sample_ids": "sample_id",
        "annotation_ids": "annotation_id",
        "hashes": "experiment_hash",
    }.items():
        chosen = wanted[argument]
        if chosen is not None:
            frame = frame.filter(pl.col(column).is_in(chosen))
    return [frame]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`wl.write_history` on the frames above, with `h1` current and `root` as root_log_dir."""

    def call(path: str | Path | None = None, **arguments: object) -> Path:
        return write_history_frames(
            _source,
            path=path,
            default_dir=tmp_path / "root",
            current_hash="h1",
            warn=pytest.fail,
            **arguments,  # type: ignore[arg-type]
        )

    return call


def _rows(path: Path, kind: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(path.read_text("utf-8"))[kind]
    return rows


def test_no_path(write: Write, tmp_path: Path) -> None:
    """No path, as the seed has it.

    "uses root_log_dir [...] and auto-generates a filename inside it"
    """
    path = write()
    assert path.parent == tmp_path / "root"
    assert re.fullmatch(r"[0-9a-f]{8}_history\.json", path.name)


def test_path_with_extension(write: Write, tmp_path: Path) -> None:
    """Path with extension, as the seed has it.

    "If path points to a file (has an extension), the file is written directly."
    """
    assert write(tmp_path / "run1_samples.csv", format="csv") == tmp_path / "run1_samples.csv"
    assert (tmp_path / "run1_samples.csv").is_file()


def test_path_without_extension(write: Write, tmp_path: Path) -> None:
    """Path without extension, as the seed has it.

    "If path has no extension or is an existing directory, the filename is auto-generated
    as <hash>_history.<format> inside that directory." "The directory is created automatically
    if it does not exist."
    """
    (tmp_path / "run.1").mkdir()
    for folder in (tmp_path / "a" / "myrun", tmp_path / "run.1"):
        path = write(str(folder), format="csv")
        assert path.parent == folder
        assert re.fullmatch(r"[0-9a-f]{8}_history\.csv", path.name)
        assert path.is_file()


def test_hash_is_md5_of_the_normalized_parameters(write: Write) -> None:
    """Hash is MD5 of the normalized parameters, as the seed has it.

    "<hash> is an 8-character hex prefix of the MD5 of the normalized call parameters
    (type_of_history, graph_name, experiment_hash, sample_id, instance_id)."
    """
    words = {
        "experiment_hash": None,
        "graph_name": "all",
        "instance_id": "all",
        "sample_id": "all",
        "type_of_history": "all",
    }
    text = json.dumps(words, separators=(",", ":"))
    assert write().name[:8] == hashlib.md5(text.encode()).hexdigest()[:8]


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ({}, {"type_of_history": "all"}),
        ({"type_of_history": "instance"}, {"type_of_history": "instances"}),
        ({"graph_name": "loss"}, {"graph_name": ["loss"]}),
        ({"graph_name": "loss"}, {"graph_name": "signals//loss"}),
        ({"sample_id": ["img0", "img1"]}, {"sample_id": ["img1", "img0", "img1"]}),
        ({"instance_id": 1}, {"instance_id": [1]}),
    ],
)
def test_same_filters_same_filename(
    write: Write, one: dict[str, object], same: dict[str, object]
) -> None:
    """Same filters same filename, as the seed has it.

    "Calling the function again with the same filters produces the same filename
    (idempotent overwrite)"
    """
    first = write(**one)
    content = first.read_bytes()
    assert write(**same) == first
    assert first.read_bytes() == content
    assert list(first.parent.iterdir()) == [first]


def test_different_filters_different_files(write: Write) -> None:
    """Different filters different files, as the seed has it.

    "different filters produce different files in the same directory"
    """
    calls: list[dict[str, object]] = [
        {},
        {"experiment_hash": "all"},
        {"experiment_hash": "h1"},
        {"type_of_history": "global"},
        {"type_of_history": "sample"},
        {"type_of_history": "instance"},
        {"graph_name": "loss"},
        {"graph_name": ["loss", "acc"]},
        {"sample_id": "img0"},
        {"instance_id": 1},
    ]
    paths = [write(**call) for call in calls]
    assert len({path.name for path in paths}) == len(calls)
    assert {path.parent for path in paths} == {paths[0].parent}


def test_format_is_json(write: Write, tmp_path: Path) -> None:
    """Format is JSON, as the seed has it.

    "format ({"json", "csv"}) — output format. Default: "json"."
    """
    assert set(json.loads(write().read_text())) == {"global", "sample", "instance"}
    # The format decides what is in a file, the path only where it is.
    assert json.loads(write(tmp_path / "history.csv").read_text())["global"]


@pytest.mark.parametrize(
    ("type_of_history", "sections"),
    [
        (None, ["global", "sample", "instance"]),
        ("all", ["global", "sample", "instance"]),
        ("global", ["global"]),
        ("sample", ["sample"]),
        ("instance", ["instance"]),
        ("instances", ["instance"]),
    ],
)
def test_type_of_history(write: Write, type_of_history: str | None, sections: list[str]) -> None:
    """Type of history, as the seed has it.

    "Only the sections selected by type_of_history are present in the output."
    """
    assert list(json.loads(write(type_of_history=type_of_history).read_text())) == sections


def test_graph_name(write: Write) -> None:
    """Graph name, as the seed has it.

    "restrict to one or more signal / metric names"
    """
    path = write(graph_name=["acc", "iou"])
    assert _rows(path, "global") == []
    assert {row["graph_name"] for row in _rows(path, "sample")} == {"acc"}
    assert {row["graph_name"] for row in _rows(path, "instance")} == {"iou"}


def test_experiment_hash(write: Write) -> None:
    """Experiment hash, as the seed has it.

    "None (default) uses the current experiment hash [...]. "all" includes every hash.
    Any other string restricts to that specific run."
    """

    def hashes(experiment_hash: str | None) -> set[object]:
        path = write(experiment_hash=experiment_hash, type_of_history="sample")
        return {row["experiment_hash"] for row in _rows(path, "sample")}

    assert hashes(None) == {"h1"}
    assert hashes("all") == {"h1", "h2"}
    assert hashes("h2") == {"h2"}


def test_sample_id(write: Write) -> None:
    """Sample id, as the seed has it.

    "restrict per-sample and per-instance rows to one or more sample IDs. Has no effect on
    global history."
    """
    path = write(sample_id="img1", type_of_history="sample")
    assert {row["sample_id"] for row in _rows(path, "sample")} == {"img1"}
    path = write(sample_id=["img1"])
    assert _rows(path, "instance") == []
    assert len(_rows(path, "global")) == 1


def test_instance_id(write: Write) -> None:
    """Instance id, as the seed has it.

    "restrict per-instance rows to one or more annotation IDs. Has no effect on global or
    per-sample history."
    """
    path = write(instance_id=2)
    assert [row["annotation_id"] for row in _rows(path, "instance")] == [2]
    assert len(_rows(path, "sample")) == 3
    assert len(_rows(path, "global")) == 1


def test_json_shape(write: Write) -> None:
    """The "JSON output shape", to the letter: keys, their order and their types."""
    content = json.loads(write(graph_name=["loss", "iou"], sample_id="img0").read_text())
    expected = {
        "global": [
            {"graph_name": "loss", "experiment_hash": "h1", "step": 1, "metric_value": 0.42}
        ],
        "sample": [
            {
                "graph_name": "loss",
                "experiment_hash": "h1",
                "sample_id": "img0",
                "step": 1,
                "metric_value": 0.38,
            }
        ],
        "instance": [
            {
                "graph_name": "iou",
                "experiment_hash": "h1",
                "sample_id": "img0",
                "annotation_id": 1,
                "step": 1,
                "metric_value": 0.81,
            },
            {
                "graph_name": "iou",
                "experiment_hash": "h1",
                "sample_id": "img0",
                "annotation_id": 2,
                "step": 1,
                "metric_value": 0.7,
            },
        ],
    }
    assert json.dumps(content) == json.dumps(expected)


def test_csv_shape(write: Write) -> None:
    """CSV shape, as the seed has it.

    "All rows share a common set of columns; fields not applicable to a row type are left
    empty." The seed's own lines.
    """
    path = write(graph_name=["loss", "iou"], sample_id="img0", instance_id=1, format="csv")
    assert path.read_text("utf-8") == (
        "type,graph_name,experiment_hash,step,metric_value,sample_id,annotation_id\n"
        "global,loss,h1,1,0.42,,\n"
        "sample,loss,h1,1,0.38,img0,\n"
        "instance,iou,h1,1,0.81,img0,1\n"
    )
