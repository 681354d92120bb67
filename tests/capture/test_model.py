"""A watched model is the model."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import weightslab as wl
from weightslab.session import current


def test_nothing_is_left_on_a_model() -> None:
    """The same object comes back, and its pickle, copy and attributes are what they were."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    attributes, data = set(vars(model)), pickle.dumps(model)
    assert wl.watch_or_edit(model, flag="model") is model
    assert set(vars(model)) == attributes
    assert pickle.dumps(model) == data
    assert type(copy.deepcopy(model)) is nn.Sequential


def test_a_model_is_found_by_its_name() -> None:
    """The registry keeps a model under obj_name, or as "model"."""
    one, two = nn.Linear(1, 1), nn.Linear(1, 1)
    wl.watch_or_edit(one, flag="model")
    wl.watch_or_edit(two, "teacher", "model")
    assert current().registry.models == {"model": one, "teacher": two}


def test_device_moves_a_model() -> None:
    """device= moves the parameters of the same object."""
    model = nn.Linear(2, 2)
    assert wl.watch_or_edit(model, flag="model", device="meta") is model
    assert model.weight.device == torch.device("meta")


@pytest.mark.parametrize("device", ["cuuda", "cuda:99"])
def test_a_device_that_is_not_there(device: str) -> None:
    """A device that torch cannot use is refused by name."""
    with pytest.raises(ValueError, match=device):
        wl.watch_or_edit(nn.Linear(2, 2), flag="model", device=device)


def test_a_class_is_no_model() -> None:
    """Something that is no module is refused."""
    with pytest.raises(ValueError, match=r"a model is an nn\.Module, got"):
        wl.watch_or_edit(nn.Linear, flag="model")
