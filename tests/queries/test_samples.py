"""The sample table: what is built, what waits for it, and what several writers add up to."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from weightslab.ledger import Ledger, LedgerOptions
from weightslab.queries.arrays import array_column, as_text
from weightslab.queries.samples import discarded_ids, samples_frame, tagged_ids

SLOW = LedgerOptions(flush_interval_s=1e6, sync_interval_s=1e6)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Ledger, Ledger]]:
    """Two ranks of one launch that write to one folder and know the same three samples."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one launch")
    first, second = (Ledger(tmp_path / "run", rank=rank, options=SLOW) for rank in (0, 1))
    for ledger in (first, second):
        ledger.register("train", range(3))
    yield first, second
    first.close()
    second.close()


def read(folder: Path) -> Ledger:
    return Ledger(folder, mode="r", options=SLOW)


ROW = np.zeros(1, np.int32)
ONE = np.ones(1, np.int32)


@pytest.mark.parametrize("newer", [0, 1])
def test_of_two_writers_the_newest_value_counts(two: tuple[Ledger, Ledger], newer: int) -> None:
    """Whichever rank saw a sample last gives its value, prediction and instances."""
    for rank, ledger in enumerate(two):
        step = 100 if rank == newer else 0
        ledger.append_samples({"loss": floats(rank)}, ROW, step=step)
        ledger.append_arrays("preds", ROW, np.array([rank + 10]))
        ledger.append_instances({"iou": floats(rank + 20)}, ROW, ONE, step=step)
        ledger.flush()
    table = samples_frame(read(two[0].root)).sort("sample_id", "annotation_id").to_dicts()
    assert table[0]["signals//loss"] == newer
    assert table[0]["prediction"] == newer + 10
    assert (table[1]["annotation_id"], table[1]["signals//iou"]) == (1, newer + 20)
    assert [row["signals//loss"] for row in table[2:]] == [None, None]


def test_a_value_that_one_writer_alone_has_stays(two: tuple[Ledger, Ledger]) -> None:
    """What only one rank has saved is not touched by what the others saved later."""
    two[0].append_samples({"loss": floats(1, 2)}, np.array([0, 1], np.int32), step=0)
    two[1].append_samples({"loss": floats(3, 4)}, np.array([1, 2], np.int32), step=1)
    for ledger in two:
        ledger.flush()
    table = samples_frame(read(two[0].root)).sort("sample_id")
    assert table["signals//loss"].to_list() == [1.0, 3.0, 4.0]


def test_the_last_of_one_writers_values_is_compared(two: tuple[Ledger, Ledger]) -> None:
    """A writer's age is that of its last value, over all experiment hashes and files."""
    first, second = two
    first.append_samples({"loss": floats(1)}, ROW, step=0)
    first.flush()
    second.append_samples({"loss": floats(2)}, ROW, step=5)
    second.flush()
    first.edit.set_experiment("f" * 24)
    first.append_samples({"loss": floats(3)}, ROW, step=9)
    first.flush()
    table = samples_frame(read(first.root)).sort("sample_id")
    assert table["signals//loss"].to_list()[0] == 3.0


def test_a_later_launch_is_newer_whatever_its_step(two: tuple[Ledger, Ledger]) -> None:
    """A run that starts again from step 0 is newer than the launch before it."""
    two[0].append_samples({"loss": floats(1)}, ROW, step=500)
    two[0].flush()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHELASTIC_RUN_ID", "another launch")
        two[1].append_samples({"loss": floats(2)}, ROW, step=0)
    two[1].flush()
    assert samples_frame(read(two[0].root)).sort("sample_id")["signals//loss"][0] == 2.0


def test_only_the_columns_that_are_chosen_are_built(two: tuple[Ledger, Ledger]) -> None:
    """A choice among the columns that there are gives these, of one writer and of several."""
    for ledger in two:
        ledger.append_samples({"loss": floats(1)}, ROW, step=0)
        ledger.edit.tag(ROW, "hard", True)
        ledger.flush()
    offered: list[str] = []

    def choose(there: object) -> tuple[str, ...]:
        offered.extend(there)  # type: ignore[call-overload]
        return ("tag:hard",)

    folder = read(two[0].root)
    table = samples_frame(folder, origin="train_loader", tag="tag:hard", columns=choose)
    assert table.rows() == [("train/0", 0, True)]
    assert offered[:4] == ["sample_id", "annotation_id", "origin", "discarded"]
    assert set(offered[4:]) == {"tag:hard", "signals//loss"}
    assert tagged_ids(folder, "tag:hard", None) == tagged_ids(folder, "hard", None) == ["train/0"]
    assert discarded_ids(folder, None) == []


def test_training_saves_on_while_arrays_become_text(tmp_path: Path) -> None:
    """A thread that saves waits for copies of the columns, not for arrays as JSON."""
    ledger = Ledger(tmp_path / "run", options=SLOW)
    rows = ledger.register("train", range(2))
    ledger.append_arrays("preds", rows, np.zeros((2, 10)))
    saved: list[bool] = []

    def save_meanwhile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is as_text.__code__:
            thread = threading.Thread(
                target=ledger.append_samples, args=({"loss": floats(1)}, ROW), kwargs={"step": 0}
            )
            thread.start()
            thread.join(10)
            saved.append(not thread.is_alive())

    sys.setprofile(save_meanwhile)
    try:
        samples_frame(ledger)
    finally:
        sys.setprofile(None)
    ledger.close()
    assert saved == [True, True]


def test_arrays_that_nobody_asked_for_are_not_made_to_text(tmp_path: Path) -> None:
    """Only the columns that are chosen cost anything."""
    ledger = Ledger(tmp_path / "run", options=SLOW)
    ledger.append_arrays("preds", ledger.register("train", range(2)), np.zeros((2, 10)))
    made: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in (as_text.__code__, array_column.__code__):
            made.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        samples_frame(ledger, columns=lambda _: ["discarded"])
    finally:
        sys.setprofile(None)
    ledger.close()
    assert made == []


def test_a_snapshot_of_arrays_is_left_alone_by_later_saves() -> None:
    """What is made to text outside of the lock does not change under it."""
    from weightslab.ledger.arrays.arrays import ArrayColumn

    column = ArrayColumn()
    rows = np.arange(2, dtype=np.int32)
    column.put(rows, np.array([[1.0, np.nan], [3.0, np.inf]]))
    held = column.copy()
    column.put(rows, np.zeros((2, 2)))
    column.put(rows[:1], np.zeros((1, 3)))
    assert array_column(held, {}, 3).to_list() == ["[1.0, null]", "[3.0, null]", None]
    assert array_column(column, {}, 2).to_list() == ["[0.0, 0.0, 0.0]", "[0.0, 0.0]"]
