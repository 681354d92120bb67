"""Evaluations beside trainings whose steps show little: none of them is evaluated in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from tests.session.evaluated import Training, ahead, finished, wait_until
from weightslab.session import current

STEP_S, PASS_S = 0.4, 0.5
ASKED_AT = (4, 5)


def data() -> TensorDataset:
    torch.manual_seed(3)
    return TensorDataset(torch.randn(40, 4), torch.randint(0, 3, (40,)))


def weights(
    folder: Path,
    batches: Callable[[Any], Iterator[Any]],
    *,
    watched: bool,
    asks: bool,
    step_s: float = 0.0,
) -> tuple[list[torch.Tensor], list[str]]:
    """What a training ends with whose optimizer nobody watches, and what the evaluations became.

    `batches` gives them out of the loader, which is watched or not.
    """
    with wl.Session(folder) as session:
        underway = session.evaluations.controller.underway
        underway.quiet_s = 0.15
        loader: Any = DataLoader(data(), 5)
        if watched:
            loader = wl.watch_or_edit(loader, flag="data", loader_name="train")
        wl.watch_or_edit(DataLoader(data(), 20), flag="data", loader_name="val")
        torch.manual_seed(0)
        model = wl.watch_or_edit(
            nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 3)), flag="model"
        )
        loss = wl.watch_or_edit(
            nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="loss"
        )
        optimizer = torch.optim.SGD(model.parameters(), 0.1)

        @wl.eval_fn
        def slow(loader: Any) -> None:
            for inputs, targets, ids in loader:
                loss(model(inputs), targets, batch_ids=ids)
                time.sleep(PASS_S / 2)

        requests = []
        for step, (inputs, targets, *_) in enumerate(batches(loader)):
            names = [f"{step}/{place}" for place in range(len(inputs))]
            result = loss(model(inputs), targets, batch_ids=names).mean()
            if asks and step in ASKED_AT:
                requests.append(wl.request_evaluation("val"))
            time.sleep(step_s)
            result.backward()
            optimizer.step()
            optimizer.zero_grad()
        return list(model.parameters()), [finished(request).state for request in requests]


@pytest.mark.parametrize(
    ("batches", "watched", "step_s"), [(iter, False, STEP_S), (ahead, True, 0.02)]
)
def test_nobody_evaluates_in_the_middle_of_a_step(
    batches: Callable[[Any], Iterator[Any]], watched: bool, step_s: float, tmp_path: Path
) -> None:
    """Slow steps of which only a value is seen, and batches that a thread of the user's draws."""
    options: Any = {"watched": watched, "step_s": step_s}
    alone, _ = weights(tmp_path / "alone", batches, asks=False, **options)
    beside, states = weights(tmp_path / "beside", batches, asks=True, **options)
    assert states == ["done", "done"]
    for one, other in zip(alone, beside, strict=True):
        assert torch.equal(one, other)


def test_a_thread_that_keeps_serving_leaves_a_training_to_its_own_safe_points() -> None:
    """The evaluation is run between two steps, on the thread that trains."""
    training, threads = Training(), []

    @wl.eval_fn
    def evaluate(loader: Any) -> None:
        threads.append(threading.current_thread())

    training.epoch()
    serving = threading.Thread(target=wl.keep_serving, args=(30,), daemon=True)
    serving.start()
    requests = []

    def ask(batch: int) -> None:
        if batch < 3:
            requests.append(wl.request_evaluation("val_loader"))
            time.sleep(0.3)  # the middle of a step

    training.epoch(ask)
    assert [finished(request).state for request in requests] == ["done"] * 3
    assert threads == [threading.current_thread()] * 3
    current().control.end()
    serving.join(20)
    assert not serving.is_alive()


def test_a_thread_that_keeps_serving_evaluates_where_no_training_is_under_way() -> None:
    """It is the one that there is, and the training that was here is over."""
    training, threads = Training(), []

    @wl.eval_fn
    def evaluate(loader: Any) -> None:
        threads.append(threading.current_thread().name)

    training.epoch()
    underway = current().evaluations.controller.underway
    underway.quiet_s = 0.05
    serving = threading.Thread(target=wl.keep_serving, args=(5,), daemon=True, name="serving")
    serving.start()
    wait_until(lambda: wl.status()["waiting"])
    finished(wl.request_evaluation("val_loader"))
    assert threads[0] in ("serving", "weightslab-evaluation")
    current().control.end()
    serving.join(20)


@pytest.mark.parametrize("pause", ["user", "client"])
def test_a_session_that_is_closed_lets_a_paused_training_go_on(pause: str) -> None:
    """Nobody is left who could resume it, and training is never ended."""
    training, session = Training(), current()

    def hold(batch: int) -> None:
        if batch == 1 and pause == "user":
            wl.pause()
        elif batch == 1:
            session.evaluations.request("val_loader", by="client")

    thread = threading.Thread(target=training.epoch, args=(hold,), daemon=True)
    thread.start()
    wait_until(lambda: session.control.waiting and not session.evaluations.controller.has_waiting)
    session.close()
    thread.join(20)
    assert not thread.is_alive() and training.steps == 5
