from __future__ import annotations

import json
import math
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.ledger.support import UnmappedFiles, read_ledger, run_script, sample_rows, samples
from weightslab.errors import ReadOnlyError
from weightslab.ledger import Ledger
from weightslab.ledger.files import Files
from weightslab.ledger.log.frames import log_files


def fill(ledger: Ledger, steps: int = 3) -> None:
    rows = ledger.ids.block("train", range(4))
    for step in range(steps):
        values = np.arange(4, dtype=np.float32) + step
        ledger.append_samples({"loss": values}, rows, step=step)


def test_a_saved_value_is_read_before_any_flush(tmp_path: Path) -> None:
    """A value is part of every answer as soon as its saving call has returned."""
    ledger = Ledger(tmp_path)
    fill(ledger)
    ((_, chunk),) = ledger.views()[0].store.history.read("sample")
    assert chunk.columns["value"].tolist() == [0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 5]
    ledger.close()


@pytest.mark.parametrize("files", [Files(), UnmappedFiles()], ids=["mapped", "appended"])
def test_memory_and_files_give_the_same_answer(tmp_path: Path, files: Files) -> None:
    """The same rows are read in memory, after a flush, and from the closed folder."""
    ledger = Ledger(tmp_path, files=files)
    fill(ledger)
    live = read_ledger(tmp_path)
    ledger.flush()
    fill(ledger)
    mixed = read_ledger(tmp_path)
    ledger.close()
    closed = read_ledger(tmp_path)
    assert {k: len(v) for k, v in live.items()} == {("loss", r): 3 for r in range(4)}
    assert mixed == closed
    assert {k: len(v) for k, v in closed.items()} == {("loss", r): 6 for r in range(4)}


def test_a_closed_folder_needs_no_log(tmp_path: Path) -> None:
    """Closing publishes everything: no log and no temporary file is left."""
    ledger = Ledger(tmp_path)
    fill(ledger)
    ledger.close()
    assert log_files(tmp_path / "_wal" / "0-0") == []
    assert list((tmp_path / "_tmp").iterdir()) == []


def test_a_closed_folder_opens_for_writing_again(tmp_path: Path) -> None:
    """A run folder that was closed takes up where it stopped, under a new launch."""
    first = Ledger(tmp_path)
    fill(first)
    first.close()
    second = Ledger(tmp_path)
    fill(second)
    assert (second.writer, second.launch) == ("0-0", 2)
    second.close()
    assert len(sample_rows(tmp_path)) == 24


def test_closing_twice_and_writing_after_it(tmp_path: Path) -> None:
    """A ledger can be closed twice; a write after it is refused, not lost in silence."""
    ledger = Ledger(tmp_path)
    fill(ledger)
    ledger.close()
    ledger.close()
    with pytest.raises(ReadOnlyError, match="closed"):
        fill(ledger)


def test_reading_never_writes(tmp_path: Path) -> None:
    """A folder opened for reading refuses every write and keeps each of its files as it was."""
    ledger = Ledger(tmp_path)
    fill(ledger)
    ledger.close()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    reader = Ledger(tmp_path, mode="r")
    with pytest.raises(ReadOnlyError, match="mode"):
        reader.edit.tag(np.array([0], np.int32), "x", True)
    reader.close()
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_the_newest_value_is_the_latest(tmp_path: Path) -> None:
    """Of a key saved again the newest value is the sample's, also when its step is smaller."""
    ledger = Ledger(tmp_path)
    rows = ledger.ids.add(["a"], "train")
    for step, value in ((5, 1.0), (5, 2.0), (1, 3.0)):
        ledger.append_samples({"loss": np.array([value])}, rows, step=step)
        ledger.flush()
    ledger.close()
    assert samples(tmp_path)[0]["signals//loss"] == 3.0
    assert sample_rows(tmp_path) == [("a", 5, 1.0), ("a", 5, 2.0), ("a", 1, 3.0)]


def test_values_of_any_size_are_kept(tmp_path: Path) -> None:
    """NaN, infinities, 1e300, tiny numbers and steps beyond 2^31 come back exactly."""
    values = np.array([math.nan, math.inf, -math.inf, 1e300, 5e-324, -0.0, 0.1])
    ledger = Ledger(tmp_path)
    rows = ledger.ids.block("train", range(len(values)))
    ledger.append_samples({"loss": values}, rows, step=2**40)
    ledger.close()
    back = sample_rows(tmp_path)
    assert np.array([v for *_, v in back]).tobytes() == values.tobytes()
    assert {s for _, s, _ in back} == {2**40}


def test_tags_discards_and_categories_survive_closing(tmp_path: Path) -> None:
    """Tags, categorical tags with their unused categories, and discards survive."""
    ledger = Ledger(tmp_path)
    rows = ledger.ids.block("train", range(4))
    ledger.edit.tag(rows[:2], "hard", True)
    ledger.edit.tag(rows[:1], "hard", False)
    ledger.edit.register_category("weather", ["rainy", "sunny"])
    ledger.edit.categorize(rows[2:3], "weather", "rainy")
    ledger.edit.discard(rows[3:], True)
    ledger.close()
    again = Ledger(tmp_path)
    assert again.categories() == {"weather": ["rainy", "sunny"]}
    again.close()
    table = samples(tmp_path)
    assert [r["tag:hard"] for r in table] == [False, True, False, False]
    assert [r["tag:weather"] for r in table] == [None, None, "rainy", None]
    assert [r["discarded"] for r in table] == [False, False, False, True]


def test_an_edit_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    """An unchanged tag, category or discard makes no entry in the journal."""
    ledger = Ledger(tmp_path)
    rows = ledger.ids.block("train", range(4))
    assert ledger.edit.tag(rows, "hard", True) == 4
    assert ledger.edit.categorize(rows, "w", "a") == 4
    entries = len(ledger._store.pending.journal)
    assert ledger.edit.tag(rows, "hard", True) == 0
    assert ledger.edit.categorize(rows, "w", "a") == 0
    assert ledger.edit.discard(rows, False) == 0
    assert len(ledger._store.pending.journal) == entries
    ledger.close()


def test_the_journal_knows_what_an_edit_replaced(tmp_path: Path) -> None:
    """Each edit is in the journal with time, step, actor and the previous values."""
    ledger = Ledger(tmp_path, now=lambda: 1_000_000.5)
    ledger.edit.step = lambda: 7
    rows = ledger.ids.block("train", range(3))
    ledger.edit.categorize(rows[:2], "w", "a")
    ledger.edit.categorize(rows, "w", "b", actor="studio")
    entry = ledger._store.pending.journal[-1]
    assert (entry.verb, entry.name, entry.value, entry.actor) == ("category", "w", "b", "studio")
    assert (entry.step, entry.time_us) == (7, 1_000_000_500_001)  # after the first
    assert entry.rows.tolist() == [0, 1, 2]
    assert entry.previous.tolist() == [0, 0, -1]
    ledger.close()


def test_two_living_processes_write_side_by_side(tmp_path: Path) -> None:
    """A second writer on the folder gets a name of its own and leaves the first one's log alone."""
    first, second = Ledger(tmp_path), Ledger(tmp_path)
    assert (first.writer, second.writer) == ("0-0", "0-1")
    fill(first)
    rows = second.ids.add(["train/0", "other"], "train")
    second.append_samples({"loss": np.array([9.0, 8.0])}, rows, step=9)
    second.edit.tag(rows, "hard", True)
    second.close()
    assert len(log_files(tmp_path / "_wal" / "0-0")) == 1
    first.close()
    rows_back = sample_rows(tmp_path)
    assert len(rows_back) == 14
    assert [s for i, s, _ in rows_back if i == "train/0"] == [0, 1, 2, 9]
    table = {r["sample_id"]: r for r in samples(tmp_path)}
    assert [i for i, r in table.items() if r["tag:hard"]] == ["train/0", "other"]


def test_the_newest_of_two_writers_edits_wins(tmp_path: Path) -> None:
    """The sample table merges writers by the time of the edit."""
    clock = iter(range(100))
    first = Ledger(tmp_path, now=lambda: float(next(clock)))
    second = Ledger(tmp_path, now=lambda: float(next(clock)))
    a, b = (ledger.ids.add(["x"], "train") for ledger in (first, second))
    first.edit.discard(a, True)
    second.edit.discard(b, True)
    second.edit.discard(b, False)
    first.close()
    second.close()
    assert [r["discarded"] for r in samples(tmp_path)] == [False]


def test_a_curve_has_one_value_per_step(tmp_path: Path) -> None:
    """Batches of one step are one point of the curve, weighted by their samples, across flushes."""
    ledger = Ledger(tmp_path)
    rows = ledger.ids.block("val", range(6))
    ledger.append_samples({"val": np.array([1.0, 1.0])}, rows[:2], step=3)
    ledger.flush()
    ledger.append_samples({"val": np.array([4.0] * 4)}, rows[2:], step=3)
    ledger.close()
    ((_, curve),) = Ledger(tmp_path, mode="r").views()[0].store.history.read("global")
    assert curve.columns["value"].tolist() == [3.0]
    assert (curve.columns["min"][0], curve.columns["max"][0], curve.columns["count"][0]) == (
        1,
        4,
        6,
    )


def test_of_a_scalar_saved_again_the_newest_stays(tmp_path: Path) -> None:
    """A scalar saved again at the same step replaces the former on the curve."""
    ledger = Ledger(tmp_path)
    for value in (0.5, math.nan, 0.25):
        ledger.append_scalars({"lr": value}, step=1)
        ledger.flush()
    ledger.close()
    ((_, curve),) = Ledger(tmp_path, mode="r").views()[0].store.history.read("global")
    assert curve.columns["value"].tolist() == [0.25]


def test_names_that_differ_only_by_case_stay_apart(tmp_path: Path) -> None:
    """Signals that differ only by case have folders that differ by more."""
    ledger = Ledger(tmp_path)
    rows = ledger.ids.add(["a"], "train")
    for at, name in enumerate(("Loss", "loss", "LOSS")):
        ledger.append_samples({name: np.array([float(at)])}, rows, step=0)
        ledger.flush()
    ledger.close()
    folders = [p.name for p in (tmp_path / "history/kind=sample").glob("*/signal=*")]
    assert len({f.casefold() for f in folders}) == 3
    row = samples(tmp_path)[0]
    assert [row[f"signals//{n}"] for n in ("Loss", "loss", "LOSS")] == [0.0, 1.0, 2.0]


def test_a_flush_beside_a_close_publishes_once(tmp_path: Path) -> None:
    """A flush on one thread while another closes writes every row once."""

    class Slow(Files):
        def sync(self, descriptor: int) -> None:
            time.sleep(0.02)
            super().sync(descriptor)

    ledger = Ledger(tmp_path, files=Slow())
    fill(ledger)
    thread = threading.Thread(target=ledger.flush)
    thread.start()
    time.sleep(0.01)
    ledger.close()
    thread.join()
    assert len(sample_rows(tmp_path)) == 12


def test_the_latest_value_is_the_newest_across_hashes_after_a_kill(tmp_path: Path) -> None:
    """The latest value is the one that was saved last, whatever its experiment is called."""
    ledger = Ledger(tmp_path)
    rows = ledger.ids.add(["a"], "train")
    for at, experiment in enumerate(("f" * 24, "0" * 24)):
        ledger.edit.set_experiment(experiment)
        ledger.append_samples({"loss": np.array([float(at)])}, rows, step=at)
    ledger.flush()
    assert samples(tmp_path)[0]["signals//loss"] == 1.0
    ledger.close()


def test_the_registry_of_signals_keeps_what_it_knew(tmp_path: Path) -> None:
    """signals.json names every signal of the folder, also after a launch that saved none."""
    ledger = Ledger(tmp_path)
    fill(ledger)
    ledger.close()
    again = Ledger(tmp_path)
    again.edit.tag(again.ids.add(["x"], "train"), "t", True)
    again.close()
    assert json.loads((tmp_path / "signals.json").read_text()) == {"loss": "loss"}
    assert json.loads((tmp_path / "tags.json").read_text())["tags"] == ["t"]


def test_writing_and_reading_a_folder_never_imports_pandas(tmp_path: Path) -> None:
    """The ledger works without pandas, and does not load it where it is installed."""
    script = """
    import sys, numpy as np
    from weightslab.ledger import Ledger
    for _ in range(2):
        ledger = Ledger(sys.argv[1])
        rows = ledger.ids.add(["a", "b"], "train")
        ledger.append_samples({"loss": np.array([1.0, 2.0])}, rows, step=0)
        ledger.append_instances({"iou": np.array([1.0])}, rows[:1], rows[:1] + 1, step=0)
        ledger.append_arrays("preds", rows, np.ones((2, 3)))
        ledger.edit.tag(rows, "t", True)
        ledger.edit.categorize(rows[:1], "c", "x")
        ledger.close()
    print("pandas" in sys.modules, "polars" in sys.modules)
    """
    assert run_script(script, tmp_path / "run", check=True).stdout.split() == ["False", "False"]


def test_opening_and_closing_rewrites_nothing(tmp_path: Path) -> None:
    """A folder that is opened and closed without a change keeps every table as it was."""
    ledger = Ledger(tmp_path)
    fill(ledger)
    ledger.edit.tag(np.array([0], np.int32), "t", True)
    ledger.close()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.parquet")}
    Ledger(tmp_path).close()
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.parquet")} == before


def test_values_can_be_saved_under_another_experiment(tmp_path: Path) -> None:
    """`under` names another hash for the values within, and the former one for those after."""
    ledger = Ledger(tmp_path / "run")
    ledger.edit.set_experiment("a" * 24)
    rows = ledger.ids.add(["x"], "train")
    ledger.append_samples({"loss": np.array([1.0])}, rows, step=0)
    with ledger.under("a" * 24 + "_1"):
        ledger.append_samples({"loss": np.array([2.0])}, rows, step=0)
    ledger.append_samples({"loss": np.array([3.0])}, rows, step=0)
    found = {
        value: key.experiment_hash
        for key, chunk in ledger.views()[0].store.history.read("sample")
        for value in chunk.columns["value"].tolist()
    }
    assert found == {1.0: "a" * 24, 2.0: "a" * 24 + "_1", 3.0: "a" * 24}
    assert ledger.experiment_hash == "a" * 24
    ledger.close()
