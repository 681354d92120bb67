"""Histories of several samples in one read are those of each alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from weightslab.ledger import Ledger, LedgerOptions
from weightslab.queries.trajectories import Trajectory, trajectories

STILL = LedgerOptions(sync_interval_s=1e6, flush_interval_s=1e6, compact=False)
SAMPLES = 300
ASKED = ["train/7", "unknown", "train/299", "7", "train/7", "named", "train/0"]

Plain = tuple[str, list[int], list[float], str | None]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Two signals, two hashes, files and a tail, and what another writer saved of the same."""
    ledger = Ledger(tmp_path / "run", options=STILL)
    rows = ledger.register("train", range(SAMPLES))
    draw = np.random.default_rng(0)
    other = Ledger(tmp_path / "run", options=STILL)
    theirs = other.ids.add(["named", "train/7"], "train")
    other.append_samples({"loss": np.array([1.5, 2.5])}, theirs, step=70)
    other.close()
    for step in range(12):
        some = draw.permutation(rows)[:250]
        ledger.append_samples({"loss": draw.random(250, np.float32)}, some, step=step)
        ledger.append_samples({"acc": draw.random(250)}, some, step=step)
        if step % 3 == 0:
            ledger.flush()
        if step == 6:
            ledger.edit.set_experiment("b" * 24)
    return ledger


def plain(found: list[Trajectory]) -> list[Plain]:
    return [(t.signal, t.steps.tolist(), t.values.tolist(), t.experiment_hash) for t in found]


@pytest.mark.parametrize("signal", ["loss", "acc", None, "nobody's"])
def test_together_or_alone_is_the_same(ledger: Ledger, signal: str | None) -> None:
    """In the order that was asked for, once for each time that it was, by every writer."""
    together = trajectories(ledger, ASKED, signal)
    alone = [trajectories(ledger, [name], signal)[0] for name in ASKED]
    assert [plain(found) for found in together] == [plain(found) for found in alone]
    assert together[1] == []
    assert plain(together[0]) == plain(together[3]) == plain(together[4])


def test_every_value_of_every_sample(ledger: Ledger) -> None:
    """All samples at once give every value that is saved, in order of arrival."""
    found = trajectories(ledger, [f"train/{i}" for i in range(SAMPLES)] + ["named"], "loss")
    assert sum(len(t.steps) for each in found for t in each) == 12 * 250 + 2
    for each in found:
        for t in each:
            assert t.signal == "loss"
            assert t.steps.tolist() == sorted(t.steps.tolist())
    assert plain(found[-1]) == [("loss", [70], [1.5], None)]


def test_rows_say_which_sample_of_this_process_an_id_is(ledger: Ledger) -> None:
    """What is known to be a row is not looked up by its name; for other writers it is."""
    (found,) = trajectories(ledger, ["named"], "loss", rows=np.array([3], np.int32))
    (row,) = trajectories(ledger, ["train/3"], "loss")
    assert plain(found) == [*plain(row), ("loss", [70], [1.5], None)]
