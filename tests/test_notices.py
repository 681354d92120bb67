from __future__ import annotations

import warnings

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from weightslab.errors import WeightsLabWarning
from weightslab.notices import Notices


def test_a_key_is_said_once_and_counted_always() -> None:
    """The second event of a key is a number, no warning."""
    notices = Notices()
    with pytest.warns(WeightsLabWarning) as caught:
        notices.warn_once("key", "something was left out")
        notices.warn_once("key", "something else", count=2)
    assert [str(one.message) for one in caught] == ["something was left out"]
    assert notices.counts() == {"key": 3} and notices.messages() == ["something was left out"]


def test_a_forgotten_key_is_said_again() -> None:
    """What has passed may come again."""
    notices = Notices()
    with pytest.warns(WeightsLabWarning) as caught:
        notices.warn_once("key", "first")
        notices.forget("key")
        notices.warn_once("key", "second")
    assert [str(one.message) for one in caught] == ["first", "second"]


def test_a_warning_that_is_an_error_ends_nothing() -> None:
    """A filter that raises must not end a training run."""
    notices = Notices()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        notices.warn_once("key", "message")
    assert notices.counts() == {"key": 1}


def test_a_warning_shows_the_line_of_the_user() -> None:
    """Not one of ours, and not one of torch's in between."""
    model = torch.nn.Linear(2, 1)
    loss = wl.watch_or_edit(lambda outputs: outputs.mean(), flag="loss", signal_name="mean")
    loader = wl.watch_or_edit(DataLoader(TensorDataset(torch.rand(4, 2)), batch_size=2))
    with pytest.warns(WeightsLabWarning) as caught:
        for (inputs,) in loader:
            loss(model(inputs))
    assert [one.filename for one in caught] == [__file__]
