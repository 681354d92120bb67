"""The seed's section `write_dataframe`, sentence by sentence.

The frame is that of the seed's own example of the output.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from weightslab.export.dataframe import write_dataframe_frame

FRAME = pl.DataFrame(
    {
        "sample_id": ["img0", "img0", "img1"],
        "annotation_id": [0, 1, 0],
        "discarded": [False, None, True],
        "tag:loss_shape": ["monotonic", None, None],
        "signals//loss": [0.42, None, 0.5],
        "signals//iou": [None, 0.81, None],
    },
    schema_overrides={"annotation_id": pl.Int32},
)
LAYERS = {"sample": {"signals//loss"}, "instance": {"signals//iou"}}
INDEX = ["sample_id", "annotation_id"]

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`wl.write_dataframe` on the frame above, with `root` as root_log_dir."""

    def call(path: str | Path | None = None, **arguments: object) -> Path:
        return write_dataframe_frame(
            FRAME,
            path=path,
            default_dir=tmp_path / "root",
            layers=LAYERS,
            warn=pytest.fail,
            **arguments,  # type: ignore[arg-type]
        )

    return call


def _columns(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()[0].split(",")


def test_no_path(write: Write, tmp_path: Path) -> None:
    """No path, as the seed has it.

    "uses root_log_dir from the active checkpoint manager and auto-generates a filename
    inside it"
    """
    path = write()
    assert path.parent == tmp_path / "root"
    assert re.fullmatch(r"[0-9a-f]{8}_dataframe\.json", path.name)


def test_path_with_extension(write: Write, tmp_path: Path) -> None:
    """Path with extension, as the seed has it.

    "If path has a file extension, the file is written directly."
    """
    assert write(tmp_path / "tags.csv", format="csv", columns="tags") == tmp_path / "tags.csv"
    assert (tmp_path / "tags.csv").is_file()


def test_path_without_extension(write: Write, tmp_path: Path) -> None:
    """Path without extension, as the seed has it.

    "If path has no extension or is an existing directory, a filename is auto-generated as
    <hash>_dataframe.<format>" "The directory is created automatically if it does not exist."
    """
    path = write(tmp_path / "new" / "folder", format="csv")
    assert path.parent == tmp_path / "new" / "folder"
    assert re.fullmatch(r"[0-9a-f]{8}_dataframe\.csv", path.name)


def test_hash_is_md5_of_the_normalized_parameters(write: Write) -> None:
    """Hash is MD5 of the normalized parameters, as the seed has it.

    "<hash> is an 8-character MD5 hex digest of the normalized call parameters (columns,
    sample_id, instance_id)"
    """
    words = {"columns": ["tags"], "instance_id": [0], "sample_id": "all"}
    digest = hashlib.md5(json.dumps(words, separators=(",", ":")).encode()).hexdigest()
    assert write(columns="tags", instance_id=0).name == f"{digest[:8]}_dataframe.json"


def test_same_filters_same_filename(write: Write) -> None:
    """Same filters same filename, as the seed has it.

    "Same filters → same filename; different filters → different file."
    """
    assert write() == write(columns="all") == write(columns=["all", "tags"])
    assert write(columns=["tags", "signals"]) == write(columns=("signals", "tags"))
    assert write(sample_id="img0") == write(sample_id=["img0"])
    different = [write(), write(columns="tags"), write(sample_id="img0"), write(instance_id=0)]
    assert len(set(different)) == len(different)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (None, FRAME.columns[2:]),
        ("all", FRAME.columns[2:]),
        ("tags", ["tag:loss_shape"]),
        ("signals", ["signals//loss", "signals//iou"]),
        ("discarded", ["discarded"]),
        (["signals", "discarded"], ["discarded", "signals//loss", "signals//iou"]),
        (["signals//iou", "tag:loss_shape"], ["tag:loss_shape", "signals//iou"]),
        ("signals_loss", ["signals//loss"]),
    ],
)
def test_columns(write: Write, columns: object, expected: list[str]) -> None:
    """Columns, as the seed has it.

    "every column (default)", "only columns prefixed with tag:", "only columns prefixed with
    signals", "only the boolean discarded column", "A list mixing any of the above group names
    with exact column names"; "index levels sample_id / annotation_id are always present".
    """
    assert _columns(write(columns=columns, format="csv")) == [*INDEX, *expected]


def test_sample_id(write: Write) -> None:
    """Sample id, as the seed has it.

    "restrict to one or more sample IDs (index level 0). None keeps all."
    """
    one = json.loads(write(sample_id="img1").read_text())
    assert [row["sample_id"] for row in one] == ["img1"]
    two = json.loads(write(sample_id=["img1", "img0"]).read_text())
    assert [row["sample_id"] for row in two] == ["img0", "img0", "img1"]


def test_instance_id(write: Write) -> None:
    """Instance id, as the seed has it.

    "restrict to one or more annotation IDs (index level 1). 0 selects sample-level rows
    only; 1 selects per-instance rows. None keeps all."
    """

    def annotations(instance_id: int | list[int] | None) -> list[int]:
        rows = json.loads(write(instance_id=instance_id).read_text())
        return [row["annotation_id"] for row in rows]

    assert annotations(0) == [0, 0]
    assert annotations(1) == [1]
    assert annotations([0, 1]) == annotations(None) == [0, 1, 0]


def test_json_shape(write: Write) -> None:
    """JSON shape, as the seed has it.

    "Each element of the returned JSON array is one row, with sample_id and annotation_id as
    regular fields"; in the seed's example each row has the signals of its own layer.
    """
    content = json.loads(write(sample_id="img0").read_text("utf-8"))
    expected = [
        {
            "sample_id": "img0",
            "annotation_id": 0,
            "discarded": False,
            "tag:loss_shape": "monotonic",
            "signals//loss": 0.42,
        },
        {
            "sample_id": "img0",
            "annotation_id": 1,
            "discarded": None,
            "tag:loss_shape": None,
            "signals//iou": 0.81,
        },
    ]
    assert json.dumps(content) == json.dumps(expected)


def test_csv_shape(write: Write) -> None:
    """CSV shape, as the seed has it.

    "sample_id and annotation_id appear as the first two columns": the seed's own lines,
    the loss under the one name that a signal's column has.
    """
    path = write(sample_id="img0", format="csv")
    assert path.read_text("utf-8") == (
        "sample_id,annotation_id,discarded,tag:loss_shape,signals//loss,signals//iou\n"
        "img0,0,False,monotonic,0.42,\n"
        "img0,1,,,,0.81\n"
    )


def test_the_last_example(write: Write) -> None:
    """The last example, as the seed has it.

    "Dump the loss_shape categorical tag and signals for sample-level rows only"
    """
    rows = json.loads(write(columns=["signals", "tag:loss_shape"], instance_id=0).read_text())
    assert rows == [
        {
            "sample_id": "img0",
            "annotation_id": 0,
            "tag:loss_shape": "monotonic",
            "signals//loss": 0.42,
        },
        {
            "sample_id": "img1",
            "annotation_id": 0,
            "tag:loss_shape": None,
            "signals//loss": 0.5,
        },
    ]
