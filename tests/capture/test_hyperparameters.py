"""Hyperparameters that are watched: dict, DictConfig or file, and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.utils.data import DataLoader, Dataset

import weightslab as wl
from tests.hyperparameters.support import until
from weightslab.errors import UnknownOptionError
from weightslab.hyperparameters.changes import Change
from weightslab.session import current


def test_a_dict_becomes_a_handle() -> None:
    """Hyperparameters given as a dict come back as a DictConfig; the dict stays as it is."""
    given = {"experiment_name": "exp", "optimizer": {"lr": 1e-3}}
    handle = wl.watch_or_edit(given, flag="hyperparameters")
    assert isinstance(handle, DictConfig)
    handle.optimizer.lr = 0.5
    assert given["optimizer"] == {"lr": 1e-3}


@pytest.mark.parametrize("flag", ["hyperparameters", "hp", "params", "parameters"])
def test_the_flags_of_hyperparameters(flag: str) -> None:
    """Each of the four flags registers them."""
    handle = wl.watch_or_edit({"lr": 1}, flag=flag)
    assert current().registry.hyperparameters is handle


def test_a_dictconfig_is_its_own_handle() -> None:
    """A DictConfig comes back as the same object."""
    given = OmegaConf.create({"lr": 1})
    assert wl.watch_or_edit(given) is given


def test_values_may_be_objects() -> None:
    """A dtype, a class or a function may stand among hyperparameters."""
    handle = wl.watch_or_edit({"dtype": torch.float16, "act": nn.ReLU}, flag="hp")
    assert handle.dtype is torch.float16


def test_defaults_lie_under() -> None:
    """defaults= fills in what the dict does not say."""
    handle = wl.watch_or_edit(
        {"optimizer": {"lr": 1}}, flag="hp", defaults={"optimizer": {"lr": 2, "beta": 3}}
    )
    assert handle == {"optimizer": {"lr": 1, "beta": 3}}


@pytest.mark.parametrize(
    ("obj", "options", "message"),
    [
        ("./none.yaml", {}, r"no file .*/none\.yaml: create it, or give defaults="),
        (Path(), {}, "is a folder: expected a YAML file"),
        (["lr"], {}, "the path of a YAML file, got list"),
        ({"lr": 1}, {"poll_interval": 1.0}, "poll_interval is for a file"),
        ("./none.yaml", {"poll_interval": 0, "defaults": {}}, "poll_interval is a number"),
        ({"lr": 1}, {"defaults": 3}, "defaults is a dict, got int"),
        ({"lr": 1}, {"on_change": 3}, "on_change is a function of a dict of changes, got int"),
    ],
)
def test_hyperparameters_that_cannot_be_used(
    obj: Any, options: dict[str, Any], message: str
) -> None:
    """What cannot be used is refused with what works, and nothing is registered."""
    with pytest.raises(ValueError, match=message):
        wl.watch_or_edit(obj, flag="hyperparameters", **options)
    assert current().hyperparameters is None


def test_an_unknown_option() -> None:
    """An option names the nearest that there is."""
    with pytest.raises(UnknownOptionError, match="did you mean 'poll_interval'"):
        wl.watch_or_edit({"lr": 1}, flag="hp", poll_intervall=1.0)


def test_a_file_gives_a_live_handle(tmp_path: Path) -> None:
    """The handle of a file shows what is written to it."""
    path = tmp_path / "c.yaml"
    path.write_text("optimizer: {lr: 0.1}\nroot_log_dir: here\n")
    hp = wl.watch_or_edit(path, flag="hp", poll_interval=0.02)
    session = current()
    assert str(session.root_log_dir) == "here"
    assert session.hyperparameters is not None
    assert session.hyperparameters.handle is session.registry.hyperparameters is hp
    path.write_text("optimizer: {lr: 0.5}\nroot_log_dir: here\n")
    until(lambda: hp.optimizer.lr == 0.5)


def test_a_second_file_takes_the_place_of_the_first(tmp_path: Path) -> None:
    """A cell of a notebook that runs again: one file is followed, and one thread looks."""
    path = tmp_path / "c.yaml"
    path.write_text("lr: 1")
    first = wl.watch_or_edit(path, flag="hp", poll_interval=0.02)
    second = wl.watch_or_edit(path, flag="hp", poll_interval=0.02)
    path.write_text("lr: 2")
    until(lambda: second.lr == 2)
    assert first.lr == 1


def test_a_file_that_names_no_folder_is_not_followed(tmp_path: Path) -> None:
    """What cannot be registered leaves no thread behind."""
    path = tmp_path / "c.yaml"
    path.write_text("experiment_name: ../out")
    with pytest.raises(ValueError, match="leads out"):
        wl.watch_or_edit(path, flag="hp")
    assert current().hyperparameters is None


def test_on_change_listens() -> None:
    """The function joins the listeners of the session's hyperparameters."""
    heard: list[Any] = []
    wl.watch_or_edit({"lr": 1}, flag="hp", on_change=heard.append)
    hyperparameters = current().hyperparameters
    assert hyperparameters is not None
    hyperparameters.tell({"lr": Change(1, 2)})
    assert heard == [{"lr": Change(1, 2)}]


def test_a_closed_session_follows_nothing(tmp_path: Path) -> None:
    """After the block the handle stays as it is."""
    path = tmp_path / "c.yaml"
    path.write_text("lr: 1")
    with wl.Session("run") as session:
        hp = wl.watch_or_edit(path, flag="hp", poll_interval=0.02)
        path.write_text("lr: 2")
        until(lambda: hp.lr == 2)
    assert session.hyperparameters is not None
    path.write_text("lr: 3")
    session.hyperparameters.take()
    assert hp.lr == 2


class _Rates(Dataset[float]):
    """Items that say which learning rate their worker sees."""

    def __init__(self, hp: DictConfig) -> None:
        self.hp = hp

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> float:
        return float(self.hp.lr)


def test_workers_are_forked_while_a_file_is_followed(tmp_path: Path) -> None:
    """A worker reads the handle as it stood when it was forked, and nothing of ours is in its way.

    The next epoch's workers see what was written meanwhile.
    """
    path = tmp_path / "c.yaml"
    path.write_text("lr: 1")
    hp = wl.watch_or_edit(path, flag="hp", poll_interval=0.01)
    loader = wl.watch_or_edit(DataLoader(_Rates(hp), num_workers=2), flag="data", append_ids=False)
    assert [float(batch) for batch in loader] == [1.0] * 4
    path.write_text("lr: 2")
    until(lambda: hp.lr == 2)
    assert [float(batch) for batch in loader] == [2.0] * 4
