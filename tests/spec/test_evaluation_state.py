"""What api.md says of an evaluation's state: nothing of the training changes, or ends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import weightslab as wl
from tests.spec.support import Evaluation, curve, markers, said, trained, triples

LINE = re.compile(r"\[WeightsLab\] Evaluation '(.+)' @ step (\d+) — (.+)\n")


# -- the state of the training -------------------------------------------------------


class Noisy(nn.Module):
    """Dropout, batch statistics, and a part that the user froze in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 16)
        self.norm = nn.BatchNorm1d(16)
        self.drop = nn.Dropout(0.5)
        self.frozen = nn.BatchNorm1d(16)
        self.last = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.frozen(self.drop(self.norm(self.first(x)))))


def after_training(asks: str | None) -> dict[str, Any]:
    """Weights and random numbers after a training that asks for evaluations of a loader, or not."""
    run = Evaluation()
    torch.manual_seed(1)
    run.model = wl.watch_or_edit(Noisy(), flag="model")
    run.model.frozen.eval()
    run.optimizer = wl.watch_or_edit(torch.optim.Adam(run.model.parameters()), flag="optimizer")
    modes = []
    for step in run.steps(epochs=2):
        if asks is not None and step in (1, 2, 5):
            wl.request_evaluation(asks)
        modes.append([module.training for module in run.model.modules()])
    assert all(each == modes[0] for each in modes)
    assert len(markers("eval_loss")) == (0 if asks is None else 3)
    found = {
        "weights": [value.clone() for value in run.model.state_dict().values()],
        "gradients": [p.grad.clone() for p in run.model.parameters() if p.grad is not None],
        "optimizer": [
            value
            for state in run.optimizer.state_dict()["state"].values()
            for value in state.values()
            if torch.is_tensor(value)
        ],
        "random": [torch.get_rng_state()],
        "losses": [torch.tensor(losses_of_training())],
    }
    wl.reset()
    return found


def losses_of_training() -> list[float]:
    """Every training loss on record, in order."""
    current = wl.get_current_experiment_hash()
    rows = wl.history("train_loss", exp_hash=current).sort("step", maintain_order=True)
    return rows["value"].to_list()


@pytest.mark.parametrize("loader", ["val_loader", "train"])
def test_the_training_is_bit_identical(
    loader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """api.md: "no gradients, no weight change, every module's mode and the RNG as before".

    Also when it is the loader whose iterator is alive: "any registered loader".
    """
    found = []
    for asks in (None, loader):
        folder = tmp_path / str(asks)
        folder.mkdir()
        monkeypatch.chdir(folder)
        found.append(after_training(asks))
    without, with_evaluations = found
    for what, values in without.items():
        assert values, what
        assert len(values) == len(with_evaluations[what])
        for before, after in zip(values, with_evaluations[what], strict=True):
            assert torch.equal(before, after), what


def test_no_gradients_are_left() -> None:
    """api.md: "no gradients"."""
    run = Evaluation()
    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    assert all(parameter.grad is None for parameter in run.model.parameters())


def test_dropout_is_off() -> None:
    """An inference pass is one in evaluation mode: two of them agree."""
    run = Evaluation()
    run.model = wl.watch_or_edit(nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 10)), flag="model")
    for _ in range(2):
        wl.request_evaluation("val_loader")
        wl.run_pending_evaluation()
    first, second = markers("eval_loss").values()
    assert first == second
    assert run.model.training


# -- failures ------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")
@pytest.mark.parametrize("where", ["safe point", "call"])
def test_a_function_that_raises(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    """api.md: "reported as failed with the error; no marker; training goes on"."""
    with wl.Session("run") as session:
        run = Evaluation()

        @wl.eval_fn
        def eval_pass(loader: Any) -> None:
            for inputs, targets, ids in loader:
                run.eval_loss(run.model(inputs), targets, batch_ids=ids)
                raise RuntimeError("my own bug")

        for step in run.steps():
            if step == 0:
                wl.request_evaluation("val_loader")
            if where == "call":
                wl.run_pending_evaluation()
        assert len(trained("train_loss")) == 32
        assert curve("eval_loss") == []
        assert triples("eval_loss") == []
        assert "my own bug" in said(session)
        assert LINE.search(capsys.readouterr().out) is None
        assert not wl.status()["paused"]
        assert torch.is_grad_enabled()
        assert run.model.training


@pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")
def test_the_next_one_after_a_failure() -> None:
    """A failed evaluation takes no number, and the next one runs."""
    run = Evaluation()
    calls = []

    @wl.eval_fn
    def eval_pass(loader: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("once")
        for inputs, targets, ids in loader:
            run.eval_loss(run.model(inputs), targets, batch_ids=ids)

    for _ in range(2):
        wl.request_evaluation("val_loader")
        wl.run_pending_evaluation()
    assert list(markers("eval_loss")) == [f"{wl.get_current_experiment_hash()}_1"]


def test_nothing_fires_in_an_evaluation() -> None:
    """Dynamic signals react to the training: an evaluation of the same loss fires none."""
    got = []
    wl.signal(name="seen", subscribe_to="eval_loss")(lambda ctx: got.append(ctx.sample_id))
    Evaluation()
    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    wl.history()
    assert got == []
