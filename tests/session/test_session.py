from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

import weightslab as wl
from weightslab import session as sessions
from weightslab.errors import InputError, StateError
from weightslab.session.batches import CurrentBatch
from weightslab.session.clock import StepClock
from weightslab.types import BatchIds, SampleIds


def batch_of(*rows: int) -> BatchIds:
    return BatchIds(SampleIds(np.array(rows, np.int32), lambda r: [str(x) for x in r]), "train")


def clock_and_batches() -> tuple[StepClock, CurrentBatch]:
    batches = CurrentBatch(lambda: clock.age)
    clock = StepClock(lambda: None, lambda: batches.step)
    return clock, batches


def test_the_step_is_the_number_of_updates_before_the_batch() -> None:
    """A value saved after optimizer.step() still carries the step of its batch."""
    clock, batches = clock_and_batches()
    optimizer = clock.watch_optimizer()
    clock.advance(optimizer)
    batches.enter(batch_of(0))
    before = clock.step("loss", None)
    clock.advance(optimizer)
    assert (before, clock.step("margin", None)) == (1, 1)
    batches.enter(batch_of(1))
    assert clock.step("loss", None) == 2


def test_a_second_optimizer_does_not_double_the_steps() -> None:
    """Two optimizers that step once a batch make one step a batch."""
    clock, _ = clock_and_batches()
    first, second = clock.watch_optimizer(), clock.watch_optimizer()
    for _ in range(3):
        clock.advance(first)
        clock.advance(second)
    assert clock.age == 3


def test_without_an_optimizer_each_signal_counts_its_calls() -> None:
    """Without a watched optimizer the step is one more per call of that signal."""
    clock, _ = clock_and_batches()
    assert [clock.step("a", None) for _ in range(3)] == [0, 1, 2]
    assert clock.step("b", None) == 0
    assert clock.step("a", 17) == 17


def test_the_batch_of_one_thread_is_not_another_ones() -> None:
    """A thread that did not receive the batch has no ids, rather than wrong ones."""
    import threading

    _, batches = clock_and_batches()
    batches.enter(batch_of(0))
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(batches.current))
    thread.start()
    thread.join()
    assert seen == [None]


def test_a_session_opens_nothing_before_the_first_value(tmp_path: Path) -> None:
    """Making a session, and asking where it would write, makes no file."""
    with wl.Session(tmp_path / "run") as session:
        assert session.root_log_dir == tmp_path / "run"
        assert not (tmp_path / "run").exists()


def test_a_closed_session_says_so(tmp_path: Path) -> None:
    """A closed session cannot be used again, and says what to do."""
    with wl.Session(tmp_path / "run") as session:
        pass
    with pytest.raises(StateError, match=r"wl\.Session"):
        _ = session.ledger


def test_naming_another_folder_too_late_is_refused(tmp_path: Path) -> None:
    """A folder named after the first value is an error, not two half runs."""
    wl.save_signals({"loss": [1.0]}, ["a"])
    with pytest.raises(InputError, match="already writes to"):
        wl.watch_or_edit({"root_log_dir": str(tmp_path / "other")}, flag="hyperparameters")
    assert sessions.current().registry.hyperparameters is None


def test_the_run_folder_stays_when_the_working_directory_moves(tmp_path: Path) -> None:
    """A script that changes directory after the first value keeps writing to one folder."""
    wl.save_signals({"loss": [1.0]}, ["a"], step=0)
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    wl.save_signals({"loss": [2.0]}, ["a"], step=1)
    wl.reset()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    with wl.Session(tmp_path / "weightslab_runs" / "default", mode="r"):
        assert wl.history("loss")["value"].to_list() == [1.0, 2.0]


def test_the_hash_changes_once_at_the_next_training_step(tmp_path: Path) -> None:
    """However many edits precede it, one new hash opens, and it opens at a training step."""
    with wl.Session(tmp_path / "run"):
        wl.save_signals({"loss": [1.0, 2.0, 3.0]}, ["a", "b", "c"], step=0)
        first = wl.get_current_experiment_hash()
        wl.discard_samples(["a"])
        wl.discard_samples(["b"])
        assert wl.get_current_experiment_hash() == first
        wl.save_signals({"loss": [3.0]}, ["c"], step=1)
        second = wl.get_current_experiment_hash()
        wl.discard_samples(["a", "b"], discarded=False)
        wl.save_signals({"loss": [3.0]}, ["c"], step=2)
        assert first is not None
        assert second is not None
        assert second[:16] == first[:16]
        assert second[16:] != first[16:] == "0" * 8
        assert wl.get_current_experiment_hash() == first
        hashes = wl.history("loss", sample_id="c").sort("step")["experiment_hash"].to_list()
        assert hashes == [first, second, first]


def test_status_tells_what_waits(tmp_path: Path) -> None:
    """The status shows the folder, what waits in memory, and what went wrong."""
    with wl.Session(tmp_path / "run") as session:
        wl.save_signals({"loss": [1.0]}, ["a"], step=0)
        status = session.status()
        assert status["root"] == str(tmp_path / "run")
        assert (status["waiting_rows"], status["launch"], status["attached"]) == (1, 1, True)


def test_a_value_written_through_the_handle_changes_the_hash(tmp_path: Path) -> None:
    """An edit through the hyperparameters' handle opens a new hash at a following step."""
    hp = wl.watch_or_edit({"optimizer": {"lr": 1}}, flag="hp", root_log_dir=str(tmp_path / "r"))
    wl.save_signals({"loss": [1.0]}, ["a"])
    first = wl.get_current_experiment_hash()
    hp.optimizer.lr = 2
    time.sleep(0.3)
    wl.save_signals({"loss": [1.0]}, ["a"])
    assert wl.get_current_experiment_hash() != first


def test_an_experiment_name_cannot_leave_the_folder_of_runs() -> None:
    """A name that leads out of the folder of runs is refused, and nothing is registered."""
    with pytest.raises(InputError, match="leads out"):
        wl.watch_or_edit({"experiment_name": "../x"}, flag="hp")
    assert sessions.current().registry.hyperparameters is None


def test_a_discarded_sample_that_is_renamed_has_the_hash_of_its_name(tmp_path: Path) -> None:
    """Discarded as train/3 and then named img_3: the hash is that of discarding img_3."""
    with wl.Session(tmp_path / "named later") as session:
        rows = session.ledger.register("train", range(5))
        session.safe_point()
        bare = session.naming.experiment.hash
        wl.discard_samples(["train/3"])
        session.safe_point()
        unnamed = session.naming.experiment.hash
        session.ledger.ids.rename(rows[3:4], ["img_3"])
        time.sleep(0.3)
        session.safe_point()
        named = session.naming.experiment.hash
        session.ledger.ids.rename(rows[3:4], ["img_33"])
        wl.discard_samples(["img_33"], discarded=False)
        session.safe_point()
        restored = session.naming.experiment.hash
    with wl.Session(tmp_path / "named at once") as session:
        rows = session.ledger.register("train", range(5))
        session.ledger.ids.rename(rows[3:4], ["img_3"])
        wl.discard_samples(["img_3"])
        session.safe_point()
        assert named == session.naming.experiment.hash
    assert restored == bare
    assert len({bare, unnamed, named}) == 3


def test_whoever_only_looks_keeps_the_experiment_that_the_folder_has(tmp_path: Path) -> None:
    """A run opened to look or export, for writing too, goes on under the hash that it had."""
    with wl.Session(tmp_path / "run"):
        wl.watch_or_edit({"experiment_name": "a", "lr": 0.1}, flag="hyperparameters")
        wl.save_signals({"loss": [1.0, 2.0]}, ["a", "b"], step=0)
        trained = wl.get_current_experiment_hash()
    for _ in range(2):
        with wl.Session(tmp_path / "run"):
            assert wl.get_current_experiment_hash() == trained
            wl.tag_samples(["a"], "seen")
            path = wl.write_history(tmp_path / "all.csv", format="csv")
            assert len(path.read_text().splitlines()) == 4
    with wl.Session(tmp_path / "run", mode="r"):
        assert wl.get_current_experiment_hash() == trained


def test_a_launch_that_trains_names_its_own_experiment(tmp_path: Path) -> None:
    """With the first value that is saved, what is registered and discarded counts."""
    with wl.Session(tmp_path / "run"):
        wl.watch_or_edit({"experiment_name": "a", "lr": 0.1}, flag="hyperparameters")
        wl.save_signals({"loss": [1.0]}, ["a"], step=0)
        trained = wl.get_current_experiment_hash()
    with wl.Session(tmp_path / "run"):
        wl.save_signals({"loss": [2.0]}, ["a"], step=1)
        assert wl.get_current_experiment_hash() != trained


@pytest.mark.parametrize("folder", ["s3://bucket/run", "gs://b", "s3:/bucket", "file:///run"])
def test_a_uri_is_no_run_folder(tmp_path: Path, folder: str) -> None:
    """What is not a folder of this machine is refused by name, and makes none."""
    with pytest.raises(InputError, match="weightslab copy"):
        wl.Session(folder)
    assert list(tmp_path.iterdir()) == []
