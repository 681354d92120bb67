"""The journal of another writer, read beside it while it logs, flushes and retires."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.edits.foreign import WriterEdits, journal_entries
from weightslab.ledger.edits.journal import JournalEntry, read_journal
from weightslab.ledger.layout import Layout, current_ranges
from weightslab.ledger.log.frames import LogCursor, log_files

BUSY = """
import sys, time, numpy as np
from weightslab.ledger import Ledger, LedgerOptions
ledger = Ledger(sys.argv[1], options=LedgerOptions(
    flush_interval_s=0.02, sync_interval_s=0.02, log_bytes=1 << 12, base_interval_s=0.1))
dice = np.random.default_rng(0)
rows = ledger.ids.block("train", range(50))
until = time.monotonic() + 3
step = 0
while time.monotonic() < until:
    values = np.full(50, step, np.float32)
    ledger.append_samples({"loss": values}, rows, step=step)
    some = dice.choice(rows, 3, replace=False)
    ledger.edit.discard(some, bool(step % 2))
    new = ledger.ids.add([f"n{step}"], "train")
    ledger.edit.tag(new, "new", True)
    if step % 5 == 0:
        ledger.ids.rename(some[:1], [f"r{step}"])
    step += 1
ledger.close()
"""


def taken(reader: WriterEdits) -> list[JournalEntry]:
    """What a look gives; nothing where a file went under it: then the next look gives it."""
    try:
        return reader.take()
    except FileNotFoundError:
        return []


def test_every_edit_of_a_busy_writer_is_read_once_and_in_order(tmp_path: Path) -> None:
    """Readers that begin at any moment get each entry once; ids follow, however late they are."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY, str(tmp_path)],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    damage: list[str] = []
    layout = Layout(tmp_path)
    readers: list[tuple[WriterEdits, list[int]]] = []
    looks = 0
    while process.poll() is None:
        if looks % 20 == 0:
            readers.append((WriterEdits(layout, "0-0", lambda path, _: damage.append(path)), []))
        for reader, seen in readers[looks % 3 :: 3]:
            for entry in taken(reader):
                seen.append(entry.lsn)
                assert "" not in reader.ids.names(entry.rows)
        looks += 1
        time.sleep(0.003)
    assert process.communicate()[1] == b""
    expected = [
        entry.lsn
        for found in current_ranges(layout.journal("0-0"))
        for entry in read_journal(found.path)
    ]
    assert len(expected) > 100
    assert len(readers) > 3
    folder = Ledger(tmp_path, mode="r")
    everything = np.arange(len(folder.views()[0].store.ids), dtype=np.int32)
    names = folder.views()[0].store.ids.names(everything)
    for reader, seen in readers:
        seen.extend(entry.lsn for entry in reader.take())
        assert seen == expected
        assert reader.ids.names(everything) == names
    assert damage == []


def test_values_of_another_writer_are_passed_over(tmp_path: Path) -> None:
    """Nothing but ids and journal is taken into memory, and no row without an edit is named."""
    ledger = Ledger(tmp_path, options=LedgerOptions(flush_interval_s=1e6))
    rows = ledger.ids.block("train", range(10))
    ledger.append_samples({"loss": np.zeros(10)}, rows, step=0)
    reader = WriterEdits(Layout(tmp_path), "0-0", lambda *_: None)
    assert [entry.verb for entry in reader.take()] == ["launch"]
    assert len(reader.ids) == 0
    ledger.edit.discard(rows[2:3], True)
    (entry,) = reader.take()
    assert reader.ids.names(entry.rows) == ["train/2"]
    ledger.close()


def test_a_file_that_went_while_it_was_read_costs_a_look(tmp_path: Path) -> None:
    """What a take could not finish is given by the next one."""
    ledger = Ledger(tmp_path, options=LedgerOptions(flush_interval_s=1e6))
    rows = ledger.ids.block("train", range(10))
    ledger.edit.discard(rows[2:3], True)
    ledger.flush()
    ledger.edit.discard(rows[3:4], True)
    reader = WriterEdits(Layout(tmp_path), "0-0", lambda *_: None)
    ids = Layout(tmp_path).ids("0-0")
    (held,) = ids.iterdir()
    shutil.move(held, tmp_path / held.name)
    held.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        reader.take()
    held.unlink()
    shutil.move(tmp_path / held.name, held)
    assert [e.rows.tolist() for e in reader.take()] == [[2], [3]]
    assert reader.ids.names(rows) == [f"train/{n}" for n in range(10)]
    ledger.close()


def test_a_damaged_file_of_another_writer_is_said_and_left_out(tmp_path: Path) -> None:
    """A journal that cannot be read hides its own entries alone."""
    ledger = Ledger(tmp_path, options=LedgerOptions(flush_interval_s=1e6))
    rows = ledger.ids.block("train", range(10))
    for row in range(2):
        ledger.edit.discard(rows[row : row + 1], True)
        ledger.flush()
    first, _ = sorted(Layout(tmp_path).journal("0-0").iterdir())
    first.write_bytes(b"damaged")
    damage: list[str] = []
    reader = WriterEdits(Layout(tmp_path), "0-0", lambda path, _: damage.append(path))
    found = reader.take()
    # The log still holds what it began with.
    assert [e.rows.tolist() for e in found][-1] == [1]
    assert damage == [str(first)]
    ledger.close()


@pytest.mark.parametrize("family", ["ids", "journal"])
def test_a_file_that_cannot_be_opened_for_a_moment_is_read_later(
    tmp_path: Path, family: str
) -> None:
    """A refusal of the system is no damage: the next take gives everything."""
    ledger = Ledger(tmp_path, options=LedgerOptions(flush_interval_s=1e6))
    rows = ledger.ids.block("train", range(10))
    ledger.edit.discard(rows[2:3], True)
    ledger.close()
    damage: list[str] = []
    reader = WriterEdits(Layout(tmp_path), "0-0", lambda path, _: damage.append(path))
    (held,) = (tmp_path / family / "writer=0-0").iterdir()
    shutil.move(held, tmp_path / held.name)
    held.symlink_to("x" * 300)
    with pytest.raises(OSError, match="too long"):
        reader.take()
    held.unlink()
    shutil.move(tmp_path / held.name, held)
    assert [e.rows.tolist() for e in reader.take() if e.verb == "discard"] == [[2]]
    assert reader.ids.names(rows[2:3]) == ["train/2"]
    assert damage == []


def test_a_cursor_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Each call gives the records since the last one, of a log that is still written."""
    ledger = Ledger(tmp_path, options=LedgerOptions(flush_interval_s=1e6, sync_interval_s=1e6))
    ledger.ids.add(["a"], None)
    (path,) = log_files(tmp_path / "_wal" / "0-0")
    cursor = LogCursor(path)
    first = [frame.lsn for frame in cursor.read()]
    assert list(cursor.read()) == []
    ledger.ids.add(["b"], None)
    second = list(cursor.read())
    assert [frame.lsn for frame in second] == [first[-1] + 1]
    assert b'"b"' in second[0].payload
    ledger.close()


def test_a_damaged_merged_journal_hides_none_of_its_inputs(tmp_path: Path) -> None:
    """Whoever reads the journal of another reads what was merged while it is still there."""
    ledger = Ledger(tmp_path, options=LedgerOptions(flush_interval_s=1e6))
    rows = ledger.ids.block("train", range(10))
    for row in range(3):
        ledger.edit.discard(rows[row : row + 1], True)
        ledger.flush()
    ledger.close()
    folder = Layout(tmp_path).journal("0-0")
    files = sorted(folder.iterdir())
    merged = folder / f"journal-{files[0].name[8:17]}-{files[1].name[18:27]}.parquet"
    merged.write_bytes(b"damaged")
    damage: list[str] = []
    reader = WriterEdits(Layout(tmp_path), "0-0", lambda path, _: damage.append(path))
    found = [e.rows.tolist() for e in reader.take() if e.verb == "discard"]
    assert found == [[0], [1], [2]]
    assert [
        e.rows.tolist()
        for e in journal_entries(folder, lambda path, _: damage.append(path))
        if e.verb == "discard"
    ] == [[0], [1], [2]]
    assert damage == [str(merged)] * 2
    assert reader.take() == []


def test_a_reader_of_a_writer_that_merges_keeps_no_names_of_files_that_are_gone(
    tmp_path: Path,
) -> None:
    """What it knows of files is bounded by the files that are there."""
    ledger = Ledger(tmp_path, options=LedgerOptions(flush_interval_s=1e6, compact=False))
    rows = ledger.ids.block("train", range(10))
    reader = WriterEdits(Layout(tmp_path), "0-0", lambda *_: None)
    for step in range(12):
        ledger.edit.discard(rows[:1], step % 2 == 0)
        ledger.flush()
        reader.take()
    ledger.compact()
    assert reader.take() == []
    layout = Layout(tmp_path)
    there = {*layout.journal("0-0").iterdir(), *layout.ids("0-0").iterdir()}
    assert len(there) < 10
    assert reader._files <= there
    ledger.close()
