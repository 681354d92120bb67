"""The table of small arrays: bounded in memory, and whole wherever its arrays lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ledger.arrays.test_arrays import arrays
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.queries.samples import samples_frame

BUDGET = 200_000
OPTIONS = LedgerOptions(flush_interval_s=3600, array_memory_bytes=BUDGET)


def fill(ledger: Ledger, batches: int = 20) -> None:
    """Batches of 50 samples with 1,000 bytes each, flushed one by one."""
    rows = ledger.ids.block("train", range(50 * batches))
    for at in range(batches):
        some = rows[50 * at : 50 * at + 50]
        ledger.append_arrays("preds", some, np.repeat(some, 250).reshape(50, 250))
        ledger.flush()


def test_memory_for_small_arrays_is_bounded_and_none_is_lost(tmp_path: Path) -> None:
    """Beyond the budget arrays are read from their files, in the same run and another."""
    ledger = Ledger(tmp_path, options=OPTIONS)
    fill(ledger)
    ledger.append_arrays("preds", np.array([3], np.int32), np.array([[1, 2]]))
    for looked in (ledger, Ledger(tmp_path, mode="r", options=OPTIONS)):
        assert looked.views()[0].store.arrays.size_bytes <= BUDGET
        found = arrays(looked, "preds")
        assert len(found) == 1000
        assert found[3 << 32].tolist() == [1, 2]
        assert all(np.unique(v).tolist() == [k >> 32] for k, v in found.items() if k != 3 << 32)
        ledger.close()
    assert ledger.status()["arrays_in_memory_bytes"] <= BUDGET


def test_few_arrays_stay_in_memory(tmp_path: Path) -> None:
    """Within the budget nothing is read from a disk."""
    ledger = Ledger(tmp_path, options=OPTIONS)
    fill(ledger, batches=2)
    assert ledger.views()[0].store.arrays.files() == []
    assert 100_000 <= ledger.status()["arrays_in_memory_bytes"] <= BUDGET
    ledger.close()


def test_memory_is_taken_for_arrays_and_not_for_rows(tmp_path: Path) -> None:
    """The array of the millionth sample takes no more than that of the first."""
    ledger = Ledger(tmp_path)
    rows = ledger.ids.block("train", range(1_000_000))
    ledger.append_arrays("preds", rows[-1:], np.zeros((1, 512)))
    assert ledger.status()["arrays_in_memory_bytes"] < 10_000_000
    assert list(arrays(ledger, "preds")) == [999_999 << 32]
    ledger.close()


@pytest.mark.parametrize("memory", [1 << 20, 0], ids=["in memory", "in files"])
def test_the_sample_table_has_arrays_wherever_they_lie(tmp_path: Path, memory: int) -> None:
    """Columns of targets and predictions are the same from memory and from files."""
    options = LedgerOptions(flush_interval_s=3600, array_memory_bytes=memory)
    ledger = Ledger(tmp_path, options=options)
    rows = ledger.register("train", range(3))
    numbers = np.array([1, 1, 2], np.int32)
    ledger.append_arrays("targets", rows, np.array([5, 6, 7]))
    ledger.append_arrays("preds", rows, [np.array(1), np.array([2, 3]), np.array([[4]])])
    ledger.append_arrays("targets", rows[[0, 1, 1]], np.array([[1], [2], [3]]), numbers)
    ledger.flush()
    ledger.append_arrays("targets", rows[:1], np.array([8]))
    ledger.append_arrays("preds", rows[2:], [np.zeros((99, 99), np.uint8)])
    frame = samples_frame(ledger)
    ledger.flush()
    for table in (frame, samples_frame(ledger)):
        assert table["annotation_id"].to_list() == [0, 0, 0, 1, 1, 2]
        assert table["target"].to_list() == ["8", "6", "7", "[1]", "[2]", "[3]"]
    predictions = samples_frame(ledger)["prediction"].to_list()
    assert predictions[:2] == ["1", "[2, 3]"]
    assert predictions[2].startswith('{"file": "arrays/writer=0-0/')
    ledger.close()


def test_a_damaged_file_is_said_and_the_rest_is_read(tmp_path: Path) -> None:
    """One file of arrays that cannot be read costs its own arrays alone."""
    ledger = Ledger(tmp_path, options=OPTIONS)
    fill(ledger)
    ledger.close()
    (first, *_) = sorted(tmp_path.glob("samples/family=arrays/*/*.parquet"))
    first.write_bytes(first.read_bytes()[:100])
    reader = Ledger(tmp_path, mode="r", options=OPTIONS)
    with pytest.warns(match="cannot be read"):
        found = arrays(reader, "preds")
    assert len(found) == 950
