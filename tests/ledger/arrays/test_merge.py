"""Merging files of arrays: what is read is the same before and after."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.arrays import file as arrays_file
from weightslab.ledger.arrays.arrays import ArrayRecord
from weightslab.ledger.arrays.file import ArrayFile, write_arrays
from weightslab.ledger.arrays.merge import merge_arrays
from weightslab.ledger.arrays.reader import held_keys, read_arrays
from weightslab.ledger.arrays.table import ArrayTable

ITEMS = [
    np.array(1),
    np.zeros(0),
    np.arange(300, dtype=np.uint8),
    np.array([[1.5, np.nan]], np.float32),
    np.array([True]),
    np.frombuffer(b'"text"', "S1"),
]
ENTRIES = st.tuples(
    st.sampled_from(["preds", "targets"]),
    st.integers(0, 6),
    st.integers(0, 2),
    st.integers(0, len(ITEMS) - 1),
)
FILES = st.lists(st.lists(ENTRIES, min_size=1, max_size=20), min_size=1, max_size=5)

Held = dict[tuple[str, int, int], tuple[str, tuple[int, ...], bytes]]


def held(paths: list[Path]) -> Held:
    """What a table that has loaded these files holds."""
    table = ArrayTable(1 << 30)
    for path in paths:
        table.load(ArrayFile(path))
    found: dict[tuple[str, int, int], Any] = {}
    for field, column in table.samples.items():
        found |= {(field, row, 0): column.get(row) for row in column.rows_known().tolist()}
    for field, instances in table.instances.items():
        found |= {(field, key >> 32, key & 0xFFFFFFFF): v for key, v in instances.items()}
    return {key: (value.dtype.str, value.shape, value.tobytes()) for key, value in found.items()}


def write(path: Path, entries: list[tuple[str, int, int, int]], lsn: int) -> int:
    """Write a file of one record an entry, numbered from `lsn`; gives the next number."""
    records = []
    for field, row, annotation, item in entries:
        value = ITEMS[item][None]
        annotations = np.array([annotation], np.int32) if annotation else None
        records.append((lsn, ArrayRecord(field, np.array([row], np.int32), annotations, value)))
        lsn += 1
    with path.open("wb") as stream:
        write_arrays(records, lsn - 1, stream)
    return lsn


@settings(deadline=None, max_examples=50)
@given(FILES)
def test_merged_is_unmerged(files: list[list[tuple[str, int, int, int]]]) -> None:
    """Whatever files hold of whatever keys, one merged file holds the newest of each."""
    with tempfile.TemporaryDirectory() as name:
        folder, lsn = Path(name), 1
        paths = [folder / f"{at}" for at in range(len(files))]
        expected: Held = {}
        for path, entries in zip(paths, files, strict=True):
            lsn = write(path, entries, lsn)
            for field, row, annotation, item in entries:
                value = ITEMS[item]
                expected[field, row, annotation] = (value.dtype.str, value.shape, value.tobytes())
        assert held(paths) == expected
        with (folder / "merged").open("wb") as stream:
            merge_arrays(paths, stream)
        assert held([folder / "merged"]) == expected
        assert ArrayFile(folder / "merged").lsn == lsn - 1


def test_the_order_of_files_does_not_decide(tmp_path: Path) -> None:
    """What was saved last wins, also where it stands in the first file."""
    write(tmp_path / "new", [("preds", 0, 0, 2)], lsn=5)
    write(tmp_path / "old", [("preds", 0, 0, 0)], lsn=1)
    with (tmp_path / "merged").open("wb") as stream:
        merge_arrays([tmp_path / "new", tmp_path / "old"], stream)
    assert held([tmp_path / "merged"])["preds", 0, 0][1] == (300,)


def test_entries_that_are_not_alive_are_left_out(tmp_path: Path) -> None:
    """A caller says which entries still count."""
    write(tmp_path / "a", [("preds", row, 0, 0) for row in range(3)], lsn=1)
    with (tmp_path / "merged").open("wb") as stream:
        alive = [{"preds": np.array([True, False, True])}]
        merge_arrays([tmp_path / "a"], stream, alive=alive)
    assert set(held([tmp_path / "merged"])) == {("preds", 0, 0), ("preds", 2, 0)}


def test_row_groups_are_bounded(tmp_path: Path) -> None:
    """However many arrays a merge writes, a row group has a few MiB and one field."""
    paths = []
    for at in range(3):
        rows = np.arange(at * 1500, at * 1500 + 2000, dtype=np.int32)
        values = np.random.default_rng(at).integers(0, 255, (2000, 4000), np.uint8)
        records = [(at + 1, ArrayRecord(f, rows, None, values)) for f in ("preds", "targets")]
        paths.append(tmp_path / str(at))
        with paths[-1].open("wb") as stream:
            write_arrays(records, at + 1, stream)
    merged = tmp_path / "merged"
    with merged.open("wb") as stream:
        merge_arrays(paths, stream)
    file = ArrayFile(merged)
    sizes = np.concatenate([index.sizes for index in file.fields.values()])
    bounds = zip(file.starts[:-1], file.starts[1:], strict=True)
    assert max(int(sizes[a:b].sum()) for a, b in bounds) <= arrays_file.GROUP_BYTES
    assert file.fields["targets"].start in file.starts.tolist()
    assert held([merged]) == held(paths)


def test_a_damaged_input_ends_the_merge(tmp_path: Path) -> None:
    """A file whose pages do not agree with their checksums is not merged into a good one."""
    write(tmp_path / "a", [("preds", row, 0, 2) for row in range(50)], lsn=1)
    data = bytearray((tmp_path / "a").read_bytes())
    position = data.find(bytes(range(40, 60)))
    if position < 0:
        position = len(data) // 3
    data[position] ^= 0xFF
    (tmp_path / "a").write_bytes(data)
    with pytest.raises((OSError, ValueError)):
        merge_arrays([tmp_path / "a"], io.BytesIO())


@pytest.mark.parametrize("memory", [1 << 20, 0], ids=["in memory", "in files"])
def test_a_ledger_goes_on_with_merged_files(tmp_path: Path, memory: int) -> None:
    """Files that were merged beside a living ledger are read in place of their inputs."""
    options = LedgerOptions(flush_interval_s=3600, array_memory_bytes=memory)
    ledger = Ledger(tmp_path, options=options)
    rows = ledger.ids.block("train", range(5))
    for step in range(5):
        ledger.append_arrays("preds", rows[step:], np.full(5 - step, step))
        ledger.flush()
    (folder,) = tmp_path.glob("samples/family=arrays/*")
    paths = sorted(folder.iterdir())
    target = folder / "arrays-000000002-000000004.parquet"
    with target.open("wb") as stream:
        merge_arrays(paths[1:4], stream)
    store = ledger.views()[0].store
    with store.lock:
        store.arrays.merged(paths[1:4], target)
        store.pins.retire(paths[1:4])
    assert store.pins.release(Path.unlink) is None
    assert [f.name[7:] for f in sorted(folder.iterdir())] == [
        "000000001-000000001.parquet",
        "000000002-000000004.parquet",
        "000000005-000000005.parquet",
    ]
    expected = {row << 32: row for row in range(5)}
    assert read_arrays(store, "preds", held_keys(store, "preds")) == expected
    ledger.close()
    reopened = Ledger(tmp_path, mode="r", options=options).views()[0].store
    assert read_arrays(reopened, "preds", held_keys(reopened, "preds")) == expected


@pytest.mark.parametrize("memory", [1 << 20, 0], ids=["in memory", "in files"])
def test_a_run_keeps_few_files_of_arrays(tmp_path: Path, memory: int) -> None:
    """Merging what the flushes left changes no array, beside the living run and after it."""
    options = LedgerOptions(flush_interval_s=3600, array_memory_bytes=memory)
    ledger = Ledger(tmp_path, options=options)
    rows = ledger.ids.block("train", range(30))
    for step in range(30):
        ledger.append_arrays("preds", rows[step:], np.full((30 - step, 2), step))
        ledger.append_arrays("targets", rows[:1], [np.arange(step)])
        ledger.flush()
    folder = tmp_path / "samples/family=arrays/writer=0-0"
    assert len(list(folder.iterdir())) == 30

    def look(looked: Ledger) -> None:
        store = looked.views()[0].store
        found = read_arrays(store, "preds", held_keys(store, "preds"))
        assert {key >> 32: value.tolist() for key, value in found.items()} == {
            row: [row, row] for row in range(30)
        }
        (target,) = read_arrays(store, "targets", held_keys(store, "targets")).values()
        assert target.tolist() == list(range(29))

    look(ledger)
    assert ledger.compact() > 0
    assert len(list(folder.iterdir())) < 12
    look(ledger)
    ledger.append_arrays("preds", rows[:1], np.array([[0, 0]]))
    ledger.flush()
    look(ledger)
    ledger.close()
    look(Ledger(tmp_path, mode="r", options=options))
