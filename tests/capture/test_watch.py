"""Flags and options of watch_or_edit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchmetrics
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from weightslab.capture.watch import FLAGS, _inferred

DATA = TensorDataset(torch.arange(4.0))


def test_the_flags_are_those_of_the_seed() -> None:
    """No flag more, none less."""
    assert list(FLAGS) == [
        "model", "data", "dataset", "dataloader", "optimizer", "logger", "loss", "metric",
        "signal", "hyperparameters", "hp", "params", "parameters",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("obj", "flag"),
    [
        (DataLoader(DATA), "data"),
        (DATA, "data"),
        (torch.optim.SGD([torch.ones(1)]), "optimizer"),
        (OmegaConf.create({"lr": 1}), "hyperparameters"),
        (nn.CrossEntropyLoss(), "loss"),
        (torchmetrics.MeanMetric(), "metric"),
        (torchmetrics.MetricCollection([torchmetrics.MeanMetric()]), "metric"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_missing_flag_is_inferred(obj: Any, flag: str) -> None:
    """An object that can be only one thing needs no flag."""
    assert _inferred(obj) == flag


@pytest.mark.parametrize("obj", [nn.Linear(1, 1), {"lr": 1}, len, "x", None])
def test_a_missing_flag_of_anything_else(obj: Any) -> None:
    """Anything else is refused, with the list of flags."""
    with pytest.raises(ValueError, match=r"flag=, one of: model, data, .*, parameters"):
        wl.watch_or_edit(obj)


@pytest.mark.parametrize(
    ("flag", "near"), [("modell", "model"), ("losss", "loss"), ("dataLoader", "dataloader")]
)
def test_an_unknown_flag(flag: str, near: str) -> None:
    """An unknown flag is refused, and the nearest is named."""
    with pytest.raises(ValueError, match=f"unknown flag '{flag}'; did you mean '{near}'"):
        wl.watch_or_edit(nn.Linear(1, 1), flag=flag)


@pytest.mark.parametrize("flag", [7, [], object()])
def test_a_flag_of_another_type(flag: Any) -> None:
    """A flag that is no string is refused like an unknown one."""
    with pytest.raises(ValueError, match="unknown flag"):
        wl.watch_or_edit(nn.Linear(1, 1), flag=flag)


@pytest.mark.parametrize(
    ("flag", "option", "near"),
    [
        ("loss", "signalname", "signal_name"),
        ("metric", "per_samples", "per_sample"),
        ("model", "devise", "device"),
        ("logger", "logdir", "log_dir"),
        ("data", "is_train", "is_training"),
    ],
)
def test_an_unknown_option(flag: str, option: str, near: str) -> None:
    """An unknown option is refused, and the nearest of that flag is named."""
    message = f"unknown option of flag='{flag}' '{option}'; did you mean '{near}'"
    with pytest.raises(ValueError, match=message):
        wl.watch_or_edit(nn.MSELoss(), flag=flag, **{option: 1})


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (nn.MSELoss, r"the class MSELoss itself: give an instance, MSELoss\(\.\.\.\)"),
        (3.0, "an nn.Module, a torchmetrics object or a function; got builtins.float"),
        (None, "got builtins.NoneType"),
    ],
    ids=["class", "number", "nothing"],
)
def test_the_wrong_object_for_a_loss(obj: Any, message: str) -> None:
    """What cannot be a loss is refused; the error says what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        wl.watch_or_edit(obj, flag="loss")


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_a_scripted_loss() -> None:
    """A scripted module cannot take keywords of ours, and the error says what to do."""
    with pytest.raises(ValueError, match=r"scripted module .* wrap the call in a function"):
        wl.watch_or_edit(torch.jit.script(nn.MSELoss()), flag="loss")


@pytest.mark.parametrize("name", ["", "  ", "signals//"])
def test_an_empty_name(name: str) -> None:
    """A signal without a name is refused."""
    with pytest.raises(ValueError, match=r"a signal needs a name|signal_name= takes a name"):
        wl.watch_or_edit(nn.MSELoss(), signal_name=name)


def test_per_sample_and_per_instance_exclude_each_other() -> None:
    """A signal is one of the two."""
    with pytest.raises(ValueError, match="not both"):
        wl.watch_or_edit(nn.MSELoss(), per_sample=True, per_instance=True)


class _Watches(torch.utils.data.Dataset[str]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> str:
        try:
            wl.watch_or_edit(nn.MSELoss())
        except wl.WeightsLabError as error:
            return f"{type(error).__name__}: {error}"
        return "watched"


def test_a_worker_is_refused() -> None:
    """watch_or_edit inside a DataLoader worker raises an error that says where to call it."""
    (told,) = next(iter(DataLoader(_Watches(), num_workers=1)))
    assert told.startswith("WorkerProcessError: wl.watch_or_edit was called inside")
