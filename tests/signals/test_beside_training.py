"""Verbs of the training in a signal's function: it is computed beside the training, not in it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from tests.signals.support import feed, said
from weightslab.session import current


def loader(name: str) -> Any:
    data = TensorDataset(torch.arange(8.0))
    return wl.watch_or_edit(DataLoader(data, 4), flag="data", loader_name=name)


def in_a_signal(function: Callable[[], Any]) -> Any:
    """What a function gives, or raises, in a signal that one value fires."""
    found: list[Any] = []

    @wl.signal(name="x", subscribe_to="loss")
    def x(_: Any) -> None:
        try:
            found.append(function())
        except wl.WeightsLabError as error:
            found.append(error)

    feed("loss", [0], ["a"])
    wl.history()
    assert said() == ""
    return found[0]


def test_it_runs_no_evaluation() -> None:
    """The modes of a model would change under the training: the request is left for it."""
    loader("val")
    threads: list[int] = []
    wl.eval_fn(lambda _: threads.append(threading.get_ident()))
    assert in_a_signal(lambda: (wl.request_evaluation("val"), wl.run_pending_evaluation())) == (
        1,
        False,
    )
    current().safe_point()
    assert threads == [threading.get_ident()]


def test_a_training_batch_that_it_draws_is_no_safe_point() -> None:
    """Neither does the signal stand still while training is paused, nor does it do its errands."""
    train = loader("train")
    wl.pause()
    threads: list[int] = []
    wl.eval_fn(lambda _: threads.append(threading.get_ident()))
    batches = in_a_signal(lambda: (wl.request_evaluation("train"), len(list(train)))[1])
    assert batches == 2
    assert threads == []
    wl.resume()
    current().safe_point()
    assert threads == [threading.get_ident()]


@pytest.mark.parametrize(
    "function",
    [lambda: wl.keep_serving(timeout=0), lambda: wl.compute_signals([1.0, 2.0])],
    ids=["keep_serving", "compute_signals"],
)
def test_what_belongs_to_the_thread_that_trains_is_refused(function: Callable[[], Any]) -> None:
    """Errands, and random numbers that are put back: the error says where it can be called."""
    wl.signal(name="static")(lambda ctx: ctx.data)
    error = in_a_signal(function)
    assert isinstance(error, wl.WeightsLabError)
    assert "call it where training is" in str(error)
