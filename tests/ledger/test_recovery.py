"""What a killed writer left is taken up once, also where a file cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ledger.support import run_script, sample_rows
from weightslab.errors import FolderError, WeightsLabWarning
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.layout import Layout
from weightslab.ledger.reader import ForeignWriters
from weightslab.ledger.store import Store

SLOW = LedgerOptions(flush_interval_s=1e6, sync_interval_s=1e6, compact=False)

KILLED = """
import os, sys, numpy as np
from pathlib import Path
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.files import Files
class Killed(Files):
    on = False
    def remove(self, path):
        if self.on and "history" in path.parts:
            os._exit(0)
        super().remove(path)
files = Killed()
options = LedgerOptions(flush_interval_s=1e6, sync_interval_s=1e6, compact=False)
ledger = Ledger(sys.argv[1], files=files, options=options)
rows = ledger.register("train", range(2))
for step in range(8):
    ledger.append_samples({"loss": np.full(2, float(step))}, rows, step=step, log=False)
    ledger.flush()
if sys.argv[2] == "merging":
    # With a log that holds nothing of it.
    ledger.close()
    ledger = Ledger(sys.argv[1], files=files, options=options)
    files.on = True
    ledger.compact()
os._exit(0)
"""
"""Ends after its last flush, or between giving a merged file its name and removing its inputs."""

EXPECTED = sorted((f"train/{row}", step, float(step)) for row in range(2) for step in range(8))


def segments(root: Path) -> list[Path]:
    return sorted((root / "history").glob("kind=sample/*/*/*/*"))


def merged(root: Path) -> Path:
    """The one segment that holds others."""
    (found,) = (path for path in segments(root) if path.name[4:13] != path.name[14:23])
    return found


def refuse(root: Path, path: Path) -> Path:
    """Let a file be one that the operating system does not open; gives where it went."""
    away = root / "away"
    path.rename(away)
    path.symlink_to("x" * 300)
    return away


def allow(path: Path, away: Path) -> None:
    path.unlink()
    away.rename(path)


def test_a_segment_that_cannot_be_opened_for_a_moment_is_not_written_twice(tmp_path: Path) -> None:
    """What the log has of it is not replayed: another writer begins, and all is there later."""
    run_script(KILLED, tmp_path, "plain", check=True, path=True)
    last = segments(tmp_path)[-1]
    away = refuse(tmp_path, last)
    with pytest.warns(WeightsLabWarning, match="too long"):
        ledger = Ledger(tmp_path, options=SLOW)
    assert not ledger.attached
    assert len(ledger.ids) == 0
    rows = ledger.register("train", range(2))
    ledger.append_samples({"loss": np.full(2, 8.0)}, rows, step=8)
    allow(last, away)
    ledger.close()
    assert ledger.writer is None or ledger.writer != "0-0"
    again = [("train/0", 8, 8.0), ("train/1", 8, 8.0)]
    assert sorted(sample_rows(tmp_path)) == sorted(EXPECTED + again)
    Ledger(tmp_path, options=SLOW).close()
    assert sorted(sample_rows(tmp_path)) == sorted(EXPECTED + again)


def test_a_log_that_cannot_be_opened_for_a_moment_is_not_given_up(tmp_path: Path) -> None:
    """It keeps its name, and whoever opens the folder later takes it up."""
    script = KILLED.replace("    ledger.flush()\n", "    ledger.flush() if step < 7 else None\n")
    run_script(script, tmp_path, "plain", check=True, path=True)
    (log,) = (tmp_path / "_wal/0-0").glob("*.wal")
    away = refuse(tmp_path, log)
    with pytest.warns(WeightsLabWarning, match="too long"):
        Ledger(tmp_path, options=SLOW).close()
    assert log.is_symlink()
    allow(log, away)
    Ledger(tmp_path, options=SLOW).close()
    assert sorted(sample_rows(tmp_path)) == EXPECTED


def test_a_damaged_journal_leaves_the_way_of_what_it_was_merged_of(tmp_path: Path) -> None:
    """The edits of the inputs count, and what is merged next is made of them."""
    ledger = Ledger(tmp_path, options=SLOW)
    rows = ledger.register("train", range(2))
    for row in range(2):
        ledger.edit.discard(rows[row : row + 1], True)
        ledger.flush()
    ledger.close()
    (snapshot,) = (tmp_path / "samples/family=tags").rglob("*.parquet")
    snapshot.unlink()
    inputs = sorted((tmp_path / "journal/writer=0-0").iterdir())
    merged = inputs[0].with_name(f"{inputs[0].name[:17]}-{inputs[1].name[18:]}")
    merged.write_bytes(b"damaged")
    with pytest.warns(WeightsLabWarning, match=merged.name):
        again = Ledger(tmp_path, options=SLOW)
    assert again.discarded.count == 2
    again.close()
    assert not merged.exists()
    assert all(path.exists() for path in inputs)


def test_a_damaged_segment_leaves_the_tree_and_its_rows_are_replayed(tmp_path: Path) -> None:
    """A copy of it that is whole again, put beside what was replayed, would double rows."""
    run_script(KILLED, tmp_path, "plain", check=True, path=True)
    last = segments(tmp_path)[-1]
    last.write_bytes(b"damaged")
    with pytest.warns(WeightsLabWarning, match=last.name):
        Ledger(tmp_path, options=SLOW).close()
    assert (tmp_path / "_damaged" / last.relative_to(tmp_path)).read_bytes() == b"damaged"
    found = sample_rows(tmp_path)
    assert len(found) == len(set(found))
    assert set(found) <= set(EXPECTED)


def test_a_reader_looks_again_at_what_could_not_be_opened(tmp_path: Path) -> None:
    """A look that had to leave out a file says so, and the next one has it."""
    with_files = Ledger(tmp_path, options=SLOW)
    rows = with_files.register("train", range(2))
    for step in range(2):
        with_files.append_samples({"loss": np.full(2, float(step))}, rows, step=step)
        with_files.flush()
    with_files.close()
    last = segments(tmp_path)[-1]
    away = refuse(tmp_path, last)
    reader = Ledger(tmp_path, mode="r")

    def steps() -> list[int]:
        (view,) = reader.views()
        ((_, chunk),) = view.store.history.read("sample")
        return sorted(set(chunk.columns["step"].tolist()))

    with pytest.warns(WeightsLabWarning, match=last.name):
        assert steps() == [0]
    # The same names in the folder, and not a second later: what is known would do.
    allow(last, away)
    reader._foreign._read_at = float("-inf")
    assert steps() == [0, 1]


@pytest.mark.parametrize("mode", ["r", "w"])
def test_the_inputs_of_a_merge_whose_file_is_damaged_are_read(tmp_path: Path, mode: str) -> None:
    """A merged file that rots before its inputs went hides nothing, and removes nothing."""
    run_script(KILLED, tmp_path, "merging", check=True, path=True)
    path = merged(tmp_path)
    data = bytearray(path.read_bytes())
    data[-8] ^= 0x01
    path.write_bytes(data)
    with pytest.warns(WeightsLabWarning, match=path.name):
        if mode == "r":
            assert sorted(sample_rows(tmp_path)) == EXPECTED
        else:
            Ledger(tmp_path, options=SLOW).close()
    if mode == "w":
        assert sorted(sample_rows(tmp_path)) == EXPECTED


def test_inputs_stay_while_a_page_of_the_merged_file_is_damaged(tmp_path: Path) -> None:
    """What was merged goes when all of the merged file can be read, not only its footer."""
    run_script(KILLED, tmp_path, "merging", check=True, path=True)
    path = merged(tmp_path)
    inputs = [other for other in segments(tmp_path) if other != path]
    assert inputs
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    ledger = Ledger(tmp_path, options=SLOW)
    ledger.disown()
    assert all(other.exists() for other in inputs)


def test_the_inputs_of_a_whole_merged_file_go(tmp_path: Path) -> None:
    """What a kill left of a merge is removed by the next writer."""
    run_script(KILLED, tmp_path, "merging", check=True, path=True)
    path = merged(tmp_path)
    Ledger(tmp_path, options=SLOW).close()
    assert segments(tmp_path) == [path]
    assert sorted(sample_rows(tmp_path)) == EXPECTED


def test_a_folder_that_changes_faster_than_it_can_be_read_is_said(tmp_path: Path) -> None:
    """No half of a writer's state is shown: after many attempts the reader gives up aloud."""
    run_script(KILLED, tmp_path, "merging", check=True, path=True)
    (snapshot,) = (tmp_path / "samples/family=signals").rglob("*.parquet")
    snapshot.write_bytes(b"damaged")
    last = merged(tmp_path)
    data = last.read_bytes()
    reader = Ledger(tmp_path, mode="r")

    def new_store() -> Store:
        last.write_bytes(data)
        return reader._new_store(foreign=True)

    def on_damage(*_: object) -> None:
        # Between the list of segments and the first of their rows.
        last.unlink(missing_ok=True)

    writers = ForeignWriters(Layout(tmp_path), new_store, on_damage)
    with pytest.raises(FolderError, match="faster than they can be read"):
        writers.views(None)
