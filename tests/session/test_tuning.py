"""Edits of hyperparameters in a run: at which step, under which hash, and in the journal."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from tests.session.journal import edits, entries, hashes, switches
from tests.session.test_control import wait_until
from weightslab.ledger import Ledger
from weightslab.maintenance.check import check, open_tree
from weightslab.session import current

HP = {"lr": 0.1, "is_training": True, "note": "a"}


class Training:
    """A watched training of one layer."""

    def __init__(self, hyperparameters: Any = None, **loader: Any) -> None:
        self.hp = wl.watch_or_edit(HP if hyperparameters is None else hyperparameters, flag="hp")
        self.model = wl.watch_or_edit(nn.Linear(3, 2), flag="model")
        self.optimizer = wl.watch_or_edit(
            torch.optim.SGD(self.model.parameters(), lr=0.1), flag="optimizer"
        )
        data = TensorDataset(torch.randn(12, 3), torch.zeros(12, dtype=torch.long))
        self.loader = wl.watch_or_edit(DataLoader(data, batch_size=3, **loader), flag="data")

    @property
    def lr(self) -> float:
        """Learning rate of the optimizer."""
        return float(self.optimizer.param_groups[0]["lr"])

    def epoch(self) -> Iterator[int]:
        """One epoch; gives the number of each batch before its update."""
        for number, (inputs, labels, _) in enumerate(self.loader):
            yield number
            nn.functional.cross_entropy(self.model(inputs), labels).backward()
            self.optimizer.step()

    def run(self, on_batch: Callable[[int], None] = lambda _: None) -> None:
        """One epoch."""
        for number in self.epoch():
            on_batch(number)

    def beside(self, on_batch: Callable[[int], None] = lambda _: None) -> threading.Thread:
        """One epoch in a thread of its own."""
        thread = threading.Thread(target=self.run, args=(on_batch,), daemon=True)
        thread.start()
        return thread


def edit(**changes: Any) -> None:
    """Edit as a client does."""
    hyperparameters = current().hyperparameters
    assert hyperparameters is not None
    hyperparameters.edit(changes, actor="client")


def said() -> list[str]:
    """Every notice so far."""
    return current().notices.messages()


def edited(key: str) -> dict[str, Any]:
    """What the status says of an edited key."""
    shown: dict[str, Any] = wl.status()["hyperparameters"]["edits"][key]
    return shown


def finish(thread: threading.Thread) -> None:
    """Let a training come to its end."""
    thread.join(30)
    assert not thread.is_alive()


# -- edits --------------------------------------------------------------------


def test_an_edit_is_applied_at_the_next_safe_point_and_shown() -> None:
    """The batch under way keeps its learning rate; the next has the new one."""
    training = Training()
    rates = []

    def on_batch(number: int) -> None:
        if number == 1:
            edit(lr=0.2)
        rates.append(training.lr)

    training.run(on_batch)
    assert rates == [0.1, 0.1, 0.2, 0.2]
    assert edited("lr") == {"requested": 0.2, "applied": 0.2, "step": 2, "why": None}


def test_the_script_itself_edits_the_handle() -> None:
    """`hp.lr = ...` in the loop is an edit as any other, and counts from the next step on."""
    training = Training()
    rates = []

    def on_batch(number: int) -> None:
        training.hp.lr = [0.1, 0.4, 0.4, 0.2][number]
        rates.append((training.lr, wl.get_current_experiment_hash()))

    training.run(on_batch)
    assert [rate for rate, _ in rates] == [0.1, 0.1, 0.4, 0.4]
    assert len({name for _, name in rates[:2]}) == len({name for _, name in rates[2:]}) == 1
    assert edits() == [{"lr": [0.1, 0.4]}, {"lr": [0.4, 0.2]}]  # a loader's end is a safe point
    assert entries("hyperparameters")[0].actor == "training"


def test_a_counter_among_the_hyperparameters_is_said_and_takes_few_entries() -> None:
    """What changes with every step opens no hash with every step, and the last value counts."""
    training = Training()
    for _ in range(10):
        training.run(lambda _: training.hp.update(note=training.hp.note + "a"))
    assert 16 <= len(edits()) < 30
    assert [message for message in said() if "'note' change with every step" in message]
    edit(lr=0.2)
    training.run()
    assert edits()[-1]["lr"] == [0.1, 0.2]
    assert edits()[-1]["note"][1] == training.hp.note


def test_a_take_is_one_entry_of_the_journal_with_step_and_actor() -> None:
    """All keys that changed, each with its value before and after."""
    training = Training()
    training.run(lambda number: edit(lr=0.2, note="b") if number == 2 else None)
    (entry,) = entries("hyperparameters")
    assert (entry.step, entry.actor, len(entry.rows)) == (3, "client", 0)
    assert edits() == [{"lr": [0.1, 0.2], "note": ["a", "b"]}]
    assert [message for message in said() if "note" in message]


def test_a_key_that_came_or_went_is_told_from_one_that_is_none() -> None:
    """And what JSON has no word for is text."""
    training = Training({"lr": 0.1, "old": None})
    training.run()
    del training.hp["old"]
    training.hp["new"] = float("nan")
    training.optimizer.add_param_group({"params": nn.Linear(1, 1).parameters()})
    wl.watch_or_edit(training.optimizer, flag="optimizer")
    assert edits() == [{"old": [None, {"missing": True}], "new": [{"missing": True}, "nan"]}]


def test_what_was_edited_before_an_object_is_watched_is_not_for_it() -> None:
    """An optimizer that is made with the edited value is not scaled by the edit."""
    hp = wl.watch_or_edit({"lr": 0.1}, flag="hp")
    hp.lr = 0.4
    layer = nn.Linear(1, 1)
    groups = [{"params": [layer.weight]}, {"params": [layer.bias], "lr": hp.lr / 4}]
    optimizer = wl.watch_or_edit(torch.optim.SGD(groups, lr=hp.lr), flag="optimizer")
    current().safe_point()
    assert [group["lr"] for group in optimizer.param_groups] == [0.4, 0.1]
    hp.lr = 0.8
    wl.watch_or_edit(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=hp.lr), obj_name="second")
    assert [group["lr"] for group in optimizer.param_groups] == [0.8, 0.2]
    assert current().registry.optimizers["second"].param_groups[0]["lr"] == 0.8


def test_a_loop_that_saves_by_hand_takes_edits_too() -> None:
    """Without a loader and an optimizer each save begins a step."""
    hp = wl.watch_or_edit({"lr": 0.1}, flag="hp")
    wl.save_signals({"loss": [1.0]}, ["a"])
    first = wl.get_current_experiment_hash()
    edit(lr=0.2)
    wl.save_signals({"loss": [1.0]}, ["a"])
    assert hp.lr == 0.2
    assert edits() == [{"lr": [0.1, 0.2]}]
    assert hashes() == [first, wl.get_current_experiment_hash()]


def test_secrets_stay_out_of_the_journal_and_the_status() -> None:
    """What a key calls a secret is `***` wherever it would be kept or shown."""
    training = Training({"lr": 0.1, "wandb": {"api_key": "old"}, "users": [{"password": "p1"}]})
    training.run()
    training.hp.wandb.api_key = "new"
    training.hp.users[0].password = "p2"
    training.run()
    assert edits() == [
        {
            "wandb.api_key": ["***", "***"],
            "users": [[{"password": "***"}], [{"password": "***"}]],
        }
    ]
    assert edited("wandb.api_key")["requested"] == "***"
    assert not [message for message in said() if "new" in message or "p2" in message]


def test_a_folder_that_is_named_too_late_is_said_once() -> None:
    """One edit, one notice."""
    training = Training({"lr": 0.1, "experiment_name": "a"})
    training.run()
    training.hp.experiment_name = "b"
    training.run()
    assert len([message for message in said() if "experiment_name" in message]) == 1


def test_listeners_hear_of_what_was_applied() -> None:
    """On the training thread, after the objects have it; one that raises costs nothing."""
    heard: list[Any] = []
    training = Training()
    hyperparameters = current().hyperparameters
    assert hyperparameters is not None

    def listen(changes: Any) -> None:
        heard.append((changes["lr"].after, training.lr, threading.get_ident()))
        raise ValueError("tired")

    hyperparameters.listeners.append(listen)
    with pytest.warns(wl.WeightsLabWarning) as caught:
        training.run(lambda number: edit(lr=0.2) if number == 0 else None)
    assert heard == [(0.2, 0.2, threading.get_ident())]
    assert ["tired" in str(warning.message) for warning in caught] == [True]


def test_values_that_cannot_be_compared_or_written_do_not_end_training() -> None:
    """An object among the hyperparameters that raises whenever it is asked costs only itself."""

    class Odd:
        def __eq__(self, _: object) -> bool:
            raise RuntimeError("no")

        def __repr__(self) -> str:
            raise RuntimeError("no")

        __hash__ = None  # type: ignore[assignment]

    training = Training({"lr": 0.1, "odd": Odd()})
    training.run()
    training.hp["odd"] = Odd()
    training.hp.lr = 0.2
    with pytest.warns(wl.WeightsLabWarning, match="hyperparameter odd: nothing watched takes it"):
        current().tuning.take(at_once=True)
    assert training.lr == 0.2
    assert edits() == [{"lr": [0.1, 0.2], "odd": [Odd.__qualname__] * 2}]


# -- the hash --------------------------------------------------------------------


def test_many_edits_open_one_hash_at_the_next_step() -> None:
    """However many edits preceded it, and whoever made them."""
    training = Training()

    def on_batch(number: int) -> None:
        if number == 1:
            for rate in (0.2, 0.3, 0.4):
                edit(lr=rate)
            training.hp.note = "b"
            wl.discard_samples(["train/0"])

    training.run(on_batch)
    assert len(hashes()) == 2
    assert [entry.step for entry in entries("experiment")] == [0, 2]
    training.run()
    assert len(hashes()) == 2


def test_the_same_content_has_the_same_hash_again() -> None:
    """There and back is the experiment that it was."""
    training = Training()
    training.run(lambda number: edit(lr=(0.1, 0.2, 0.1, 0.1)[number]))
    first, second, third = hashes()
    assert first == third != second


def test_edits_during_a_pause_open_one_hash_with_the_step_that_follows() -> None:
    """They are applied while training waits; the hash is that of the next training step."""
    training = Training()
    thread = training.beside(lambda number: wl.pause() if number == 0 else None)
    wait_until(lambda: wl.status()["waiting"])
    for rate in (0.2, 0.3):
        edit(lr=rate)
        wait_until(lambda rate=rate: training.lr == pytest.approx(rate))
    wl.discard_samples(["train/11"])
    assert edited("lr")["applied"] == 0.3
    assert wl.status()["paused"]
    assert len(hashes()) == 1
    wl.resume()
    finish(thread)
    assert len(hashes()) == 2
    assert hashes()[-1] == wl.get_current_experiment_hash()
    assert wl.status()["step"] == 4


def test_an_edit_that_pauses_opens_its_hash_when_training_goes_on() -> None:
    """A learning rate and a pause in one edit, another edit, and a resume: one new hash."""
    training = Training()
    thread = training.beside(
        lambda number: edit(lr=0.2, is_training=False) if number == 0 else None
    )
    wait_until(lambda: wl.status()["waiting"])
    assert training.lr == 0.2
    edit(note="c")
    edit(is_training=True)
    finish(thread)
    assert len(hashes()) == 2


# -- the switch --------------------------------------------------------------------


def test_is_training_pauses_and_resumes_from_another_thread() -> None:
    """It is no part of the hash, and each turn is in the journal."""
    training = Training()
    thread = training.beside(lambda number: edit(is_training=False) if number == 1 else None)
    wait_until(lambda: wl.status()["waiting"])
    assert wl.status()["pause_reasons"] == ["hyperparameters"]
    assert wl.status()["step"] == 2
    edit(is_training=True)
    finish(thread)
    assert not wl.status()["paused"]
    assert wl.status()["step"] == 4
    assert switches() == [("pause", "hyperparameters"), ("resume", "hyperparameters")]
    assert len(hashes()) == 1


def test_the_script_can_write_the_switch_into_the_handle() -> None:
    """`hp.is_training = True` by another thread ends the wait as well."""
    training = Training()
    thread = training.beside(lambda number: edit(is_training=False) if number == 1 else None)
    wait_until(lambda: wl.status()["waiting"])
    training.hp.is_training = True
    finish(thread)
    assert not wl.status()["paused"]


def test_pause_and_resume_are_written_into_the_hyperparameters() -> None:
    """The handle and the status never disagree; nothing goes round in circles."""
    training = Training()
    thread = training.beside(lambda number: wl.pause() if number == 1 else None)
    wait_until(lambda: wl.status()["waiting"])
    assert training.hp.is_training is False
    assert wl.status()["pause_reasons"] == ["user"]
    wl.resume()
    finish(thread)
    training.run()
    assert training.hp.is_training is True
    assert not wl.status()["paused"]
    assert switches() == [("pause", "user"), ("resume", "user")]
    assert edits() == [{"is_training": [True, False]}, {"is_training": [False, True]}]


def test_is_training_ends_a_pause_of_the_user() -> None:
    """They are one switch: who turns it on, turns it on."""
    training = Training()
    thread = training.beside(lambda number: wl.pause() if number == 1 else None)
    wait_until(lambda: wl.status()["waiting"])
    edit(is_training=True)
    finish(thread)
    assert not wl.status()["paused"]


def test_resume_ends_a_pause_of_the_hyperparameters() -> None:
    """And the hyperparameters say so."""
    training = Training()
    thread = training.beside(lambda number: edit(is_training=False) if number == 1 else None)
    wait_until(lambda: wl.status()["waiting"])
    wl.resume()
    finish(thread)
    training.run()
    assert training.hp.is_training is True


def test_a_pause_for_an_evaluation_is_none_of_the_switch() -> None:
    """`is_training` stays, and turning it on does not end that pause."""
    training = Training()
    current().control.pause("evaluation")
    thread = training.beside()
    wait_until(lambda: wl.status()["waiting"])
    edit(is_training=False)
    wait_until(lambda: wl.status()["pause_reasons"] == ["evaluation", "hyperparameters"])
    edit(is_training=True)
    wait_until(lambda: wl.status()["pause_reasons"] == ["evaluation"])
    wl.resume()
    finish(thread)


def test_training_that_begins_switched_off_waits_and_says_so() -> None:
    """Nobody wonders why nothing happens."""
    with pytest.warns(wl.WeightsLabWarning, match="is_training is false"):
        training = Training({"is_training": False})
    assert wl.status()["paused"]
    thread = training.beside()
    wait_until(lambda: wl.status()["waiting"])
    wl.resume()
    finish(thread)
    assert wl.status()["step"] == 4
    assert training.hp.is_training is True


def test_a_switch_that_is_fixed_stays_and_is_said() -> None:
    """A read-only configuration is not written to; the pause holds all the same."""
    config = OmegaConf.create({"is_training": True})
    OmegaConf.set_readonly(config, True)
    wl.watch_or_edit(config, flag="hp")
    with pytest.warns(wl.WeightsLabWarning, match="is_training keeps its value"):
        wl.pause()
    assert wl.status()["paused"]
    assert config.is_training is True


@pytest.mark.parametrize("value", ["off", 0, None])
def test_a_switch_that_is_neither_is_not_applied(value: Any) -> None:
    """Only true and false are understood: a client hears it at once, and training goes on."""
    training = Training()
    with pytest.raises(wl.WeightsLabError, match="is_training: expected true or false"):
        edit(is_training=value)
    with pytest.warns(wl.WeightsLabWarning, match="expected true or false"):
        training.run(lambda _: training.hp.update(is_training=value))
    assert wl.status()["step"] == 4


def test_a_pause_before_the_folder_is_open_is_in_the_journal_later() -> None:
    """A pause opens no folder; it is written down with the first step."""
    wl.pause()
    wl.resume()
    assert not Path("weightslab_runs").exists()
    Training({"lr": 0.1}).run()
    assert switches() == [("pause", "user"), ("resume", "user")]


# -- the folder ------------------------------------------------------------------------


def test_readers_pass_over_what_edits_no_sample(tmp_path: Path) -> None:
    """Recovery from the log, a second process, fsck and the sample table are as ever."""
    training = Training()

    def on_batch(number: int) -> None:
        if number == 1:
            edit(lr=0.2)
            wl.tag_samples(["train/3"], "hard")
            wl.pause()
            wl.resume()

    training.run(on_batch)
    root = current().ledger.root
    killed = tmp_path / "killed"
    shutil.copytree(root, killed)  # nothing flushed: all of it is in the log
    with wl.Session(killed):
        assert edits() == [{"lr": [0.1, 0.2]}]
        assert switches() == [("pause", "user"), ("resume", "user")]
        assert wl.get_samples_by_tag("hard") == ["train/3"]
    assert check(open_tree(killed)).report.problems == []
    other = Ledger(root)
    other.edit.discard(other.ids.add(["train/5"], "train"), True)
    assert wl.get_discarded_samples() == ["train/5"]
    assert wl.get_samples_by_tag("hard") == ["train/3"]
    other.close()


def test_a_file_of_hyperparameters_edits_the_training_and_keeps_no_pause(tmp_path: Path) -> None:
    """What is written to the file is applied with the file as actor; a pause stays out of it."""
    config = tmp_path / "config.yaml"
    config.write_text("lr: 0.1\nis_training: true\n")
    hp = wl.watch_or_edit(str(config), flag="hp", poll_interval=0.01)
    optimizer = wl.watch_or_edit(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=hp.lr))
    current().safe_point()
    wl.pause()
    wl.resume()
    wl.pause()
    assert hp.is_training is False
    assert config.read_text() == "lr: 0.1\nis_training: true\n"
    wl.resume()
    config.write_text("lr: 0.2\nis_training: true\n")
    wait_until(lambda: current().safe_point() or optimizer.param_groups[0]["lr"] == 0.2)
    found = entries("hyperparameters")[-1]
    assert (found.actor, found.value) == ("file", '{"lr": [0.1, 0.2]}')


def test_an_evaluation_that_was_asked_for_finds_the_hash_of_what_was_edited() -> None:
    """Changes first, then the new hash, then what is done at the safe point, then the wait."""
    training = Training()
    data = TensorDataset(torch.randn(4, 3), torch.zeros(4, dtype=torch.long))
    wl.watch_or_edit(DataLoader(data, batch_size=2), flag="data", loader_name="val")
    training.run()
    former = hashes()
    edit(lr=0.2)
    current().evaluations.request("val", by="client")
    thread = training.beside()
    wait_until(lambda: wl.status()["waiting"] and len(hashes()) > 1)
    assert hashes()[:1] == former
    assert len(set(hashes())) == 2
    wl.resume()
    finish(thread)
    assert len(hashes()) == 2


def test_whoever_edits_and_pauses_at_once_the_handle_and_the_status_agree() -> None:
    """Four threads edit, pause and resume a training that runs; all ends in one state.

    Every edit is applied in the order of the journal, and the last one holds.
    """
    training = Training()
    clients = [
        lambda turn: wl.pause() if turn % 2 else wl.resume(),
        lambda turn: edit(is_training=bool(turn % 3)),
        lambda turn: edit(lr=0.1 * (1 + turn % 5), note=str(turn)),
        lambda turn: setattr(training.hp, "note", f"n{turn}"),
    ]
    over = threading.Event()
    failed: list[BaseException] = []

    def act(client: Callable[[int], object]) -> None:
        try:
            for turn in range(40):
                client(turn)
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    def train() -> None:
        while not over.is_set():
            training.run()

    trainer = threading.Thread(target=train, daemon=True)
    trainer.start()
    threads = [threading.Thread(target=act, args=(client,), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        finish(thread)
    wl.resume()
    edit(lr=0.7)
    wait_until(lambda: edited("lr")["applied"] == 0.7 and not wl.status()["paused"])
    over.set()
    finish(trainer)
    assert failed == []
    assert training.hp.is_training is True
    assert training.lr == pytest.approx(0.7)
    values = {"lr": 0.1, "is_training": True, "note": "a"}
    for changes in edits():
        for key, (before, after) in changes.items():
            assert values[key] == before
            values[key] = after
    assert values == {"lr": 0.7, "is_training": True, "note": training.hp.note}
