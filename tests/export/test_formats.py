"""Files that appear whole or not at all, in strict JSON and in quoted CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightslab.errors import InputError
from weightslab.export import formats

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUE = st.none() | st.floats()


def _csv(frame: pl.DataFrame) -> list[list[str]]:
    file = io.BytesIO()
    formats.append_csv(file, frame, header=True)
    return list(csv.reader(io.StringIO(file.getvalue().decode(), newline="")))


def _json(frame: pl.DataFrame) -> list[dict[str, object]]:
    file = io.BytesIO()
    formats.append_json_rows(file, [frame], formats.json_objects)

    def refuse(constant: str) -> object:
        raise AssertionError(constant)

    rows: list[dict[str, object]] = json.loads(file.getvalue(), parse_constant=refuse)
    return rows


@given(st.lists(st.tuples(TEXT, VALUE), max_size=20), TEXT.filter(lambda name: name != "v"))
def test_csv_keeps_every_text_and_value(rows: list[tuple[str, float | None]], name: str) -> None:
    """Commas, quotes, newlines and emoji come back from CSV, in names and in cells."""
    frame = pl.DataFrame(rows, schema={name: pl.String, "v": pl.Float64}, orient="row")
    read = _csv(frame)
    assert read[0] == [name, "v"]
    for (text, value), (text_read, value_read) in zip(rows, read[1:], strict=True):
        assert text_read == text
        if value is None:
            assert value_read == ""
        else:
            assert repr(float(value_read)) == repr(value)


@given(st.lists(st.tuples(TEXT, VALUE), max_size=20), TEXT.filter(lambda name: name != "v"))
def test_json_is_strict(rows: list[tuple[str, float | None]], name: str) -> None:
    """Every text and number comes back from JSON; NaN and infinities are null."""
    frame = pl.DataFrame(rows, schema={name: pl.String, "v": pl.Float64}, orient="row")
    for (text, value), read in zip(rows, _json(frame), strict=True):
        finite = value if value is not None and math.isfinite(value) else None
        assert read == {name: text, "v": finite}


def test_csv_spellings() -> None:
    """NaN is nan, infinities inf and -inf, booleans True and False, null is empty."""
    frame = pl.DataFrame(
        {"v": [math.nan, math.inf, -math.inf, None], "b": [True, False, None, None]}
    )
    assert _csv(frame)[1:] == [["nan", "True"], ["inf", "False"], ["-inf", ""], ["", ""]]


def test_json_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are the same however many are encoded at once."""
    frame = pl.DataFrame({"a": range(10)})
    whole = _json(frame)
    monkeypatch.setattr(formats, "_JSON_ROWS", 3)
    assert _json(frame) == whole == [{"a": n} for n in range(10)]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """What stood there still does, and no other file remains."""
    target = tmp_path / "a.json"
    target.write_text("old")

    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        formats.write_whole(target, fail)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_nothing_stands_under_the_name_while_it_is_written(tmp_path: Path) -> None:
    """The name appears when the file is whole."""
    target = tmp_path / "a.json"
    formats.write_whole(target, lambda file: print(file.write(b"x"), target.exists()))
    assert target.read_bytes() == b"x"

    def look(file: BinaryIO) -> None:
        file.write(b"new")
        assert target.read_bytes() == b"x"

    formats.write_whole(target, look)
    assert target.read_bytes() == b"new"


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    """A process that dies half-way changes nothing under the name."""
    target = tmp_path / "a.json"
    target.write_text("old")
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from weightslab.export.formats import write_whole\n"
        "def die(file):\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_whole(Path(sys.argv[1]), die)"
    )
    env = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, target], env=env, check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_text() == "old"


def test_a_link_keeps_pointing(tmp_path: Path) -> None:
    """A linked name is written through."""
    (tmp_path / "real").mkdir()
    (tmp_path / "a.json").symlink_to(tmp_path / "real" / "b.json")
    formats.write_whole(tmp_path / "a.json", lambda file: file.write(b"x") and None)
    assert (tmp_path / "a.json").is_symlink()
    assert (tmp_path / "real" / "b.json").read_bytes() == b"x"


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    """The error says what to do."""
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match="a file stands in its way"):
        formats.write_whole(tmp_path / "run" / "a.json", lambda file: None)
