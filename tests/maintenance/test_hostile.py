"""Bytes that somebody else wrote never end a check: they are damage, or they are fine."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.maintenance.support import parquet, report, run_script, segment
from weightslab.maintenance.parquet import DamagedFileError, inspect

KINDS = {
    "sample": ("history", "kind=sample"),
    "ids": ("ids",),
    "journal": ("journal",),
    "tags": ("samples", "family=tags"),
    "arrays": ("samples", "family=arrays"),
}


def survives(path: Path, content: str) -> bool:
    """Inspect a file; whether it passed for a whole one."""
    try:
        inspect(path, content)
    except DamagedFileError:
        return False
    return True


@pytest.mark.parametrize(("content", "tree"), KINDS.items(), ids=KINDS)
def test_any_byte_may_be_wrong(run: Path, content: str, tree: tuple[str, ...]) -> None:
    """Each byte of a file changed in turn is told as damage or does no harm, and never raises."""
    path = parquet(run, *tree)
    whole = path.read_bytes()
    dice = random.Random(content)
    for position in dice.sample(range(len(whole)), min(len(whole), 400)):
        data = bytearray(whole)
        data[position] = dice.randrange(256)
        path.write_bytes(bytes(data))
        survives(path, content)


@pytest.mark.parametrize(("content", "tree"), KINDS.items(), ids=KINDS)
def test_every_bit_of_a_page_is_guarded(run: Path, content: str, tree: tuple[str, ...]) -> None:
    """No change of a page's content passes: each of them carries a checksum."""
    path = parquet(run, *tree)
    whole = path.read_bytes()
    metadata = pq.read_metadata(path)
    dice = random.Random(content)
    for number in range(metadata.num_columns):
        column = metadata.row_group(0).column(number)
        end = column.data_page_offset + column.total_compressed_size
        if column.has_dictionary_page:
            end = column.dictionary_page_offset + column.total_compressed_size
        position = end - 1 - dice.randrange(4)
        data = bytearray(whole)
        data[position] ^= 1 << dice.randrange(8)
        path.write_bytes(bytes(data))
        assert not survives(path, content), column.path_in_schema


def test_any_length_may_be_missing(run: Path) -> None:
    """A file cut anywhere is damaged."""
    path = segment(run)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert not survives(path, "sample")


FOOTERS = [
    "[]",
    "1",
    "[" * 50_000,
    '{"lsn": "7"}',
    '{"lsn": 1, "signal": 3, "last": 0, "samples": 0, "tier": 0}',
    '{"lsn": 1, "signal": "loss", "last": []}',
    '{"lsn": 1e999, "signal": "loss", "last": 1, "samples": 1, "tier": 0}',
    '{"lsn": ' + "9" * 5000 + ', "signal": "loss", "last": 1, "samples": 1, "tier": 0}',
    '{"lsn": 1, "signal": "loss", "last": 1, "samples": 1, "tier": 0,"experiment_hash": [1]}',
    '{"lsn": 1, "signal": "\\ud800", "last": 1, "samples": 1, "tier": 0}',
]


TAG_FOOTERS = [
    '{"lsn": 1, "launch": 1, "tags": [{}], "categories": {}}',
    '{"lsn": 1, "launch": 1, "tags": ["hard"], "categories": {"weather": 3}}',
    '{"lsn": 1, "launch": 1, "tags": ["hard"], "categories": {"weather": [[]]}}',
]
SHAPES = [("history", text) for text in FOOTERS] + [("samples/family=tags", t) for t in TAG_FOOTERS]


@pytest.mark.parametrize(("tree", "text"), SHAPES, ids=range(len(SHAPES)))
def test_metadata_of_any_shape(run: Path, tree: str, text: str) -> None:
    """Our own metadata may hold anything: the check names the file and goes on."""
    path = segment(run) if tree == "history" else parquet(run, tree)
    table = pq.read_table(path)
    with pq.ParquetWriter(path, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"weightslab": text})
    problems = report(run).problems
    assert {f.path for f in problems} == {path.relative_to(run).as_posix()}


@pytest.mark.parametrize(
    "content",
    [
        {"tags": 3, "categories": []},
        {"tags": [1, {}], "categories": {"weather": 5}},
        {"tags": ["hard"], "categories": {"weather": [{}, []]}},
    ],
)
def test_registries_of_any_shape(run: Path, content: object) -> None:
    """A registry may hold anything."""
    (run / "tags.json").write_text(json.dumps(content))
    assert [f.path for f in report(run).problems] == ["tags.json"]


@pytest.mark.parametrize(
    "name",
    [b"\xff\xfe", b"new\nline", b"\x1b[2J", b"seg-000000001-000000001.parquet", b"[red]", b"..a"],
)
def test_names_of_any_bytes(run: Path, name: bytes) -> None:
    """File names are bytes: any of them is told."""
    target = os.fsencode(run / "history") + b"/" + name
    with open(target, "wb") as stream:  # noqa: PTH123  # pathlib takes no bytes
        stream.write(b"x")
    assert [f.kind for f in report(run).findings] == ["unknown"]


FORBIDDEN = """
import os, sys
from pathlib import Path
from weightslab.maintenance.check import check, open_tree
import numpy, encodings.idna
if os.geteuid() == 0:
    os.setegid(65534); os.seteuid(65534)
for finding in check(open_tree(Path(sys.argv[1]))).report.findings:
    print(finding.kind, finding.path)
"""


def test_files_that_may_not_be_read(built: Path) -> None:
    """A file, and a folder, without the right to read them are named; the rest is checked."""
    # Below a folder that everybody may enter: root may read all, so the check runs as nobody.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        run = shutil.copytree(built, Path(folder) / "run")
        path, closed = segment(run), run / "journal"
        path.chmod(0)
        closed.chmod(0)
        done = run_script(FORBIDDEN, run)
        closed.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) == {
        "unreadable journal",
        f"unreadable {path.relative_to(run).as_posix()}",
    }
