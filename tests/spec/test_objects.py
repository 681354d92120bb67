"""What api.md says of "Objects": what comes back is what went in, and copies are inert."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.utils.data import DataLoader

import weightslab as wl
from tests.spec.support import Numbers, curve, python, triples


class Plain:
    """A logger of a user."""

    def __init__(self) -> None:
        self.calls = 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.calls += 1


def test_the_model_is_what_it_was() -> None:
    """Quoted: "`isinstance`, `state_dict`, schedulers … see what they always saw"."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    before = (type(model), list(model.state_dict()), set(vars(model)))
    wl.watch_or_edit(model, flag="model")
    assert (type(model), list(model.state_dict()), set(vars(model))) == before


def test_the_optimizer_is_what_it_was() -> None:
    """Quoted: "schedulers … see what they always saw"; its steps are counted through them."""
    model = nn.Linear(1, 1)
    optimizer = wl.watch_or_edit(optim.SGD(model.parameters(), lr=1.0), flag="optimizer")
    assert type(optimizer) is optim.SGD
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.5
    wl.save_signals({"loss": [0.0]}, ["a"])
    assert triples("loss") == [("a", 1, 0.0)]


def test_an_ema_copy_records_nothing() -> None:
    """Quoted: "inert in copies (an EMA copy records nothing)"."""
    loss = wl.watch_or_edit(nn.MSELoss(reduction="none"), flag="loss", name="mse")
    mirror = copy.deepcopy(loss)
    mirror(torch.zeros(1), torch.ones(1), batch_ids=["a"])
    assert wl.history().is_empty()
    loss(torch.zeros(1), torch.ones(1), batch_ids=["a"])
    assert triples("mse") == [("a", 0, 1.0)]


def test_a_copy_of_a_model_with_its_loss() -> None:
    """The same for a module that holds its own watched loss: only the original records."""

    class Learner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)
            self.loss = wl.watch_or_edit(nn.L1Loss(reduction="none"), flag="loss", name="l1")

        def forward(self, x: torch.Tensor, ids: Any) -> Any:
            return self.loss(self.layer(x), torch.zeros_like(x), batch_ids=ids)

    model = wl.watch_or_edit(Learner(), flag="model")
    copy.deepcopy(model)(torch.ones(1, 1), ["copy"])
    model(torch.ones(1, 1), ["own"])
    assert [row[0] for row in triples("l1")] == ["own"]


def test_a_copied_optimizer_counts_nothing() -> None:
    """A copy's steps are not the model's age."""
    optimizer = wl.watch_or_edit(optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0))
    copy.deepcopy(optimizer).step()
    wl.save_signals({"loss": [0.0]}, ["a"])
    assert triples("loss") == [("a", 0, 0.0)]


@pytest.mark.parametrize("kind", ["model", "optimizer", "loss"])
def test_pickles_are_clean(kind: str) -> None:
    """Quoted: "leave pickles clean": what was saved loads, and works."""
    model = nn.Linear(1, 1)
    objects = {
        "model": wl.watch_or_edit(model, flag="model"),
        "optimizer": wl.watch_or_edit(optim.Adam(model.parameters()), flag="optimizer"),
        "loss": wl.watch_or_edit(nn.MSELoss(), flag="loss"),
    }
    again = pickle.loads(pickle.dumps(objects[kind]))
    assert type(again) is type(objects[kind])
    file = io.BytesIO()
    torch.save(objects[kind], file)
    file.seek(0)
    torch.load(file, weights_only=False)


CLEAN = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    model = pickle.load(file)
assert "weightslab" not in sys.modules
"""


def test_a_model_loads_without_us() -> None:
    """A pickled model needs no WeightsLab where it is used."""
    model = wl.watch_or_edit(nn.Linear(1, 1), flag="model")
    Path("model.pkl").write_bytes(pickle.dumps(model))
    ended = python(CLEAN, "model.pkl")
    assert ended.returncode == 0, ended.stderr


def test_the_users_own_loader_stays() -> None:
    """Quoted: "Loader: a shadow of the same class; the user's own stays untouched"."""

    class MyLoader(DataLoader[Any]):
        pass

    mine = MyLoader(Numbers(4), batch_size=2)
    before = dict(vars(mine))
    watched = wl.watch_or_edit(mine, flag="data")
    assert isinstance(watched, MyLoader)
    assert watched is not mine
    assert vars(mine) == before
    assert [len(batch) for batch in mine] == [2, 2]
    assert [len(batch) for batch in watched] == [3, 3]
    assert len(watched) == len(mine) == 2
    assert watched.batch_size == 2


def test_a_loss_shares_its_parameters() -> None:
    """Quoted: "a shallow copy that shares parameters"."""
    module = nn.PReLU()
    watched = wl.watch_or_edit(module, flag="metric", name="prelu")
    assert watched is not module
    assert watched.weight is module.weight
    assert isinstance(watched, nn.PReLU)


def test_a_function_is_wrapped() -> None:
    """Quoted: "Function: a callable wrapper"."""

    def accuracy(x: torch.Tensor) -> torch.Tensor:
        """Say how many are right."""
        return x

    watched = wl.watch_or_edit(accuracy, flag="metric")
    assert watched.__name__ == "accuracy"
    assert watched.__doc__ == accuracy.__doc__
    watched(torch.ones(1), batch_ids=["a"])
    assert triples("accuracy") == [("a", 0, 1.0)]


def test_a_logger_is_what_it_was() -> None:
    """The same object comes back, an instance of its own class."""
    logger = Plain()
    assert wl.watch_or_edit(logger, flag="logger") is logger
    assert isinstance(logger, Plain)
    logger.log_metrics({"acc": 1.0}, step=2)
    assert logger.calls == 1
    assert curve("acc") == [(2, 1.0)]
    copy.deepcopy(logger).log_metrics({"acc": 0.0}, step=3)
    assert curve("acc") == [(2, 1.0)]


def test_training_is_bit_identical() -> None:
    """Issue 2: "the loop trains bit-identically with and without us"."""

    def train(*, watched: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Linear(1, 3)
        optimizer = optim.Adam(model.parameters(), lr=0.1)
        loss = nn.CrossEntropyLoss()
        loader = DataLoader(Numbers(12), batch_size=4, shuffle=True)
        if watched:
            model = wl.watch_or_edit(model, flag="model")
            optimizer = wl.watch_or_edit(optimizer, flag="optimizer")
            loss = wl.watch_or_edit(loss, flag="loss", name="ce")
            loader = wl.watch_or_edit(loader, flag="data")
        for _ in range(3):
            for x, y, *_ in loader:
                optimizer.zero_grad()
                loss(model(x), y).backward()
                optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    plain, ours = train(watched=False), train(watched=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, ours, strict=True))
    rows = triples("ce")
    assert len(rows) == 36
    assert sorted({step for _, step, _ in rows}) == list(range(9))
