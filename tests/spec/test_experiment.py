"""The seed's `get_current_experiment_hash`, and what api.md says of hash, folder and session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import weightslab as wl
from tests.spec.support import Numbers, python, table, triples
from weightslab.errors import InputError


def test_none_until_named() -> None:
    """api.md: "is `None` until something names an experiment"."""
    assert wl.get_current_experiment_hash() is None
    wl.save_signals({"loss": [1.0]}, ["a"])
    assert wl.get_current_experiment_hash() is None
    assert wl.query_signal_history("loss") == [("a", 0, 1.0, None)]


def _by_hyperparameters() -> None:
    wl.watch_or_edit({"lr": 1}, flag="hyperparameters")


def _by_a_logger() -> None:
    wl.watch_or_edit(None, flag="logger", log_dir="logs")


def _by_a_session() -> None:
    wl.Session("run").__enter__()


@pytest.mark.parametrize("name", [_by_hyperparameters, _by_a_logger, _by_a_session])
def test_what_names_an_experiment(name: Any) -> None:
    """api.md: "(hyperparameters, a logger with `log_dir`, a session)"."""
    name()
    found = wl.get_current_experiment_hash()
    assert isinstance(found, str)
    assert len(found) == 24
    wl.save_signals({"loss": [1.0]}, ["a"])
    assert wl.query_signal_history("loss") == [("a", 0, 1.0, found)]


CONTENT = """
import torch, weightslab as wl
wl.watch_or_edit({"b": [1, 2], "a": {"lr": 1e-3}, "experiment_name": "e"}, flag="hp")
wl.watch_or_edit(torch.nn.Linear(3, 2), flag="model")
wl.save_signals({"loss": [1.0, 1.0]}, ["x", "y"])
wl.discard_samples(["y"])
wl.save_signals({"loss": [1.0, 1.0]}, ["x", "y"])
print(wl.get_current_experiment_hash())
"""


def test_equal_in_another_process() -> None:
    """api.md: "The same content gives the same hash in another process"."""
    ended = python(CONTENT.replace('"e"}', '"e", "root_log_dir": "elsewhere"}'))
    assert ended.returncode == 0, ended.stderr
    wl.watch_or_edit({"a": {"lr": 1e-3}, "experiment_name": "e", "b": [1, 2]}, flag="hp")
    wl.watch_or_edit(nn.Linear(3, 2), flag="model")
    wl.save_signals({"loss": [1.0]}, ["y"])
    wl.discard_samples(["y"])
    wl.save_signals({"loss": [1.0]}, ["y"])
    assert ended.stdout.strip() == wl.get_current_experiment_hash()


@pytest.mark.parametrize(
    "change",
    [
        lambda: wl.watch_or_edit({"lr": 2}, flag="hp"),
        lambda: wl.watch_or_edit(nn.Linear(3, 3), flag="model"),
        lambda: wl.discard_samples(["a"]),
    ],
)
def test_what_it_is_made_of(change: Any) -> None:
    """api.md: "made of the hyperparameters, the architecture and the set of discarded samples"."""
    wl.watch_or_edit({"lr": 1}, flag="hp")
    wl.save_signals({"loss": [1.0]}, ["a"])
    before = wl.get_current_experiment_hash()
    change()
    wl.save_signals({"loss": [1.0]}, ["a"])
    assert wl.get_current_experiment_hash() != before


def test_tags_do_not_enter() -> None:
    """api.md: "(tags do not enter: the seed's own example tags while it trains)"."""
    wl.watch_or_edit({"lr": 1}, flag="hp")
    wl.save_signals({"loss": [1.0]}, ["a"])
    before = wl.get_current_experiment_hash()
    wl.tag_samples(["a"], "hard")
    wl.set_categorical_tag(["a"], "loss_shape", "Spiked")
    wl.save_signals({"loss": [1.0]}, ["a"])
    assert wl.get_current_experiment_hash() == before


def test_a_change_that_is_taken_back() -> None:
    """Content names it: a restored sample gives the hash that was."""
    wl.watch_or_edit({"lr": 1}, flag="hp")
    hashes = []
    for discarded in (False, True, False):
        wl.save_signals({"loss": [1.0]}, ["a"])
        wl.discard_samples(["a"], discarded=discarded)
        wl.save_signals({"loss": [1.0]}, ["a"])
        hashes.append(wl.get_current_experiment_hash())
    assert hashes[0] == hashes[2] != hashes[1]


def test_changes_at_the_next_training_step_once() -> None:
    """api.md: "changes at the first training step after a change, once, however many edits …"."""
    wl.watch_or_edit({"lr": 1}, flag="hp")
    loader = wl.watch_or_edit(Numbers(8), flag="data", batch_size=2, append_ids=False)
    loss = wl.watch_or_edit(nn.L1Loss(reduction="none"), flag="loss", name="l1")
    optimizer = wl.watch_or_edit(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1))
    seen = []
    for number, (x, _) in enumerate(loader):
        if number == 1:
            before = wl.get_current_experiment_hash()
            wl.discard_samples(["train/0"])
            wl.discard_samples(["train/1"])
            wl.watch_or_edit({"lr": 2}, flag="hp")
            assert wl.get_current_experiment_hash() == before
        loss(x, torch.zeros_like(x))
        optimizer.step()
        seen.append(wl.get_current_experiment_hash())
    assert seen[0] == seen[1] != seen[2] == seen[3]
    recorded = {row[1]: row[3] for row in wl.query_signal_history("l1")}
    assert list(recorded.values()) == seen


# -- where the run folder is -------------------------------------------------------


def _folder_in_use() -> Path:
    wl.save_signals({"loss": [1.0]}, ["a"])
    return wl.write_history().parent


def test_explicit_argument_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """api.md: "`root_log_dir`: an explicit argument, then the hyperparameters, then …"."""
    monkeypatch.setenv("WEIGHTSLAB_ROOT_LOG_DIR", "environment")
    with wl.Session("explicit"):
        wl.watch_or_edit({"root_log_dir": "hyperparameters"}, flag="hp")
        assert _folder_in_use() == tmp_path / "explicit"


def test_then_the_hyperparameters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """api.md: "then the hyperparameters"."""
    monkeypatch.setenv("WEIGHTSLAB_ROOT_LOG_DIR", "environment")
    wl.watch_or_edit({"root_log_dir": "hyperparameters", "experiment_name": "e"}, flag="hp")
    assert _folder_in_use() == tmp_path / "hyperparameters"


def test_root_log_dir_as_an_argument(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The seed: "the directory passed to wl.watch_or_edit(..., flag="hyperparameters")"."""
    monkeypatch.setenv("WEIGHTSLAB_ROOT_LOG_DIR", "environment")
    wl.watch_or_edit({"experiment_name": "e"}, flag="hyperparameters", root_log_dir="argument")
    assert _folder_in_use() == tmp_path / "argument"


def test_an_argument_wins_over_the_value(tmp_path: Path) -> None:
    """api.md: "an explicit argument, then the hyperparameters"."""
    wl.watch_or_edit({"root_log_dir": "value"}, flag="hyperparameters", root_log_dir="argument")
    assert _folder_in_use() == tmp_path / "argument"


def test_log_dir_of_a_logger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The seed: "or wl.watch_or_edit(..., flag="logger", log_dir=...)"."""
    monkeypatch.setenv("WEIGHTSLAB_ROOT_LOG_DIR", "environment")
    wl.watch_or_edit(None, flag="logger", log_dir="logs")
    assert _folder_in_use() == tmp_path / "logs"


def test_then_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """api.md: "then `WEIGHTSLAB_ROOT_LOG_DIR`"."""
    monkeypatch.setenv("WEIGHTSLAB_ROOT_LOG_DIR", "environment")
    wl.watch_or_edit({"experiment_name": "e"}, flag="hp")
    assert _folder_in_use() == tmp_path / "environment"


def test_else_the_name_of_the_experiment(tmp_path: Path) -> None:
    """api.md: "then `./weightslab_runs/<experiment_name>`"."""
    wl.watch_or_edit({"experiment_name": "e"}, flag="hp")
    assert _folder_in_use() == tmp_path / "weightslab_runs/e"


@pytest.mark.parametrize("write", [wl.write_history, wl.write_dataframe])
def test_exports_when_nothing_is_active(write: Any, tmp_path: Path) -> None:
    """The seed: "Falls back to the current working directory if no checkpoint manager …"."""
    assert write().parent == tmp_path


def test_another_folder_after_the_first_value(tmp_path: Path) -> None:
    """Values are already written elsewhere: the error says what to do."""
    wl.save_signals({"loss": [1.0]}, ["a"])
    with pytest.raises(InputError, match="name the folder before the first value"):
        wl.watch_or_edit({"root_log_dir": "late"}, flag="hp")


# -- sessions ----------------------------------------------------------------------


def test_session_is_the_explicit_form() -> None:
    """api.md: "`with wl.Session("runs/a") as session:`; the verbs act on the current one"."""
    with wl.Session("runs/a") as outer:
        wl.save_signals({"loss": [1.0]}, ["a"])
        with wl.Session("runs/b"):
            wl.save_signals({"loss": [2.0]}, ["a"])
            assert triples("loss") == [("a", 0, 2.0)]
        assert triples("loss") == [("a", 0, 1.0)]
        assert outer.root_log_dir == Path("runs/a").absolute()
    with wl.Session("runs/b", mode="r"):
        assert triples("loss") == [("a", 0, 2.0)]


def test_reset_starts_afresh() -> None:
    """api.md: "`wl.reset()` starts afresh"."""
    wl.watch_or_edit({"experiment_name": "first"}, flag="hp")
    wl.save_signals({"loss": [1.0]}, ["a"])
    wl.reset()
    assert wl.get_current_experiment_hash() is None
    wl.watch_or_edit({"experiment_name": "second"}, flag="hp")
    assert triples("loss") == []
    wl.reset()
    wl.watch_or_edit({"experiment_name": "first"}, flag="hp")
    assert triples("loss") == [("a", 0, 1.0)]


def test_a_closed_folder_opens_again() -> None:
    """Issue 2: "A closed run folder opens read-only, and for writing again"."""
    with wl.Session("run"):
        wl.save_signals({"loss": [1.0]}, ["a"], step=0)
    with wl.Session("run", mode="r"):
        assert triples("loss") == [("a", 0, 1.0)]
    with wl.Session("run"):
        wl.save_signals({"loss": [2.0]}, ["a"], step=1)
        assert triples("loss") == [("a", 0, 1.0), ("a", 1, 2.0)]
        assert table()["a", 0]["signals//loss"] == 2.0


def test_a_folder_that_is_not_there() -> None:
    """Reading makes nothing: the error names the folder."""
    with (
        wl.Session("nowhere", mode="r"),
        pytest.raises(wl.WeightsLabError, match="nowhere"),
    ):
        wl.query_signal_history("loss")
    assert not Path("nowhere").exists()


def test_the_registry_is_the_stable_handle() -> None:
    """api.md: "`session.model`, `session.loader("val")` follow a re-registration"."""
    with wl.Session("run") as session:
        wl.watch_or_edit(nn.Linear(1, 1), flag="model")
        newer = nn.Linear(2, 2)
        wl.watch_or_edit(newer, flag="model")
        assert session.model is newer
        loader = wl.watch_or_edit(Numbers(3), flag="data", loader_name="val")
        assert session.loader("val") is loader
