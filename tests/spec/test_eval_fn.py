"""The seed's sections "Custom evaluation function" and "eval_fn decorator"."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from tests.spec.support import Evaluation, digits, markers, triples
from weightslab.errors import InputError


class MyModel(nn.Module):
    """A network for the page's example."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x)


def test_the_example() -> None:
    """The seed's example, verbatim: "use the same logic as your test() function"."""
    wl.watch_or_edit({"experiment_name": "e"}, flag="hp")
    val_dataset: TensorDataset = digits(20)

    # Register all objects with the ledger as usual
    model = wl.watch_or_edit(MyModel(), flag="model")
    criterion = wl.watch_or_edit(
        nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="eval_loss"
    )
    val_loader = wl.watch_or_edit(
        DataLoader(val_dataset, batch_size=64), flag="data", loader_name="val_loader"
    )

    # Optional override — use the same logic as your test() function
    @wl.eval_fn
    def eval_pass(loader):  # type: ignore[no-untyped-def]
        model.eval()
        with torch.no_grad():
            for inputs, targets, ids in loader:
                preds = model(inputs)
                criterion(preds, targets, batch_ids=ids)

    wl.request_evaluation("val_loader")
    assert wl.run_pending_evaluation() is True

    images, labels = val_dataset.tensors
    loss = nn.functional.cross_entropy(model(images), labels).item()
    assert list(markers("eval_loss").values()) == pytest.approx([loss], rel=1e-5)
    assert len(triples("eval_loss")) == 20
    assert model.training  # its mode is as before, whatever the function did
    assert len(val_loader) == 1


def test_it_replaces_the_default() -> None:
    """Quoted: "Register a custom evaluation function that replaces the built-in default"."""
    run = Evaluation()

    @wl.eval_fn
    def mine(loader: Any) -> None:
        for inputs, targets, ids in loader:
            run.accuracy(run.model(inputs), targets, batch_ids=ids)

    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    assert len(markers("accuracy")) == 1
    assert markers("eval_loss") == markers("train_loss") == {}


def test_re_decorating_replaces_the_previous_one() -> None:
    """Quoted: "Only one function can be registered at a time; re-decorating replaces …"."""
    Evaluation()
    called = []
    for name in ("first", "second"):

        @wl.eval_fn
        def function(loader: Any, name: str = name) -> None:
            called.append(name)

    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    assert called == ["second"]


def test_the_function_stays_a_function() -> None:
    """A decorator that registers: the name still means the function, to be called by hand."""

    def mine(loader: Any) -> str:
        return f"called with {loader}"

    decorated = wl.eval_fn(mine)
    assert decorated is mine
    assert decorated("x") == "called with x"


def test_one_argument_that_is_a_loader() -> None:
    """Quoted: "receives one argument — a managed loader": its length is that of the loader."""
    run = Evaluation()
    got = []

    @wl.eval_fn
    def mine(*arguments: Any, **keywords: Any) -> None:
        got.append((len(arguments), keywords, len(arguments[0])))
        got.extend(len(batch[0]) for batch in arguments[0])

    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    assert got == [(1, {}, 3), 8, 8, 4]
    assert len(run.val_loader) == 3


def test_the_loader_reports_progress() -> None:
    """Quoted: "a managed loader that handles … progress reporting automatically"."""
    run = Evaluation()
    seen = []

    @wl.eval_fn
    def mine(loader: Any) -> None:
        for inputs, targets, ids in loader:
            running = wl.status()["evaluation"]["running"]
            seen.append((running["loader"], running["done"], running["total"]))
            run.eval_loss(run.model(inputs), targets, batch_ids=ids)

    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    assert [name for name, _, _ in seen] == ["val_loader"] * 3
    assert [total for _, _, total in seen] == [seen[0][2]] * 3
    done = [done for _, done, _ in seen]
    assert done == sorted(set(done))
    assert wl.status()["evaluation"]["running"] is None


@pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")
@pytest.mark.parametrize("how", ["cancellation", "timeout"])
def test_the_loader_ends_the_pass(how: str) -> None:
    """Quoted: "a managed loader that handles cancellation, timeout, … automatically"."""
    batches = []
    with wl.Session("run") as session:
        run = Evaluation()

        @wl.eval_fn
        def mine(loader: Any) -> None:
            for inputs, targets, ids in loader:
                batches.append(len(ids))
                run.eval_loss(run.model(inputs), targets, batch_ids=ids)
                if how == "cancellation":
                    session.evaluations.cancel(number)
                else:
                    time.sleep(0.1)

        number = wl.request_evaluation("val_loader", timeout=0.05 if how == "timeout" else None)
        assert wl.run_pending_evaluation() is True
        assert batches == [8]
        assert markers("eval_loss") == {}
        run.run()
        assert len(triples("train_loss")) == 32


def test_values_saved_by_hand() -> None:
    """Everything that the function records belongs to the evaluation: curves, samples, targets."""
    run = Evaluation()

    @wl.eval_fn
    def mine(loader: Any) -> None:
        for inputs, targets, ids in loader:
            preds = run.model(inputs)
            wl.save_signals({"margin": preds.max(1).values}, ids, targets=targets)

    run.run()
    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    current = wl.get_current_experiment_hash()
    assert list(markers("margin")) == [f"{current}_1"]
    assert {row[3] for row in wl.query_signal_history("margin")} == {f"{current}_1"}
    targets = wl.samples(origin="val")["target"].to_list()
    assert targets == run.held_out.tensors[1].tolist()


def test_functions_of_a_module_reach_the_session_that_is_entered() -> None:
    """A decorator at the top of a script holds for `with wl.Session(...)` below it."""
    called = []

    @wl.eval_fn
    def mine(loader: Any) -> None:
        called.append(1)

    with wl.Session("run"):
        Evaluation()
        wl.request_evaluation("val_loader")
        wl.run_pending_evaluation()
    assert called == [1]


@pytest.mark.parametrize("what", [None, 3, "mine", object()])
def test_what_is_no_function(what: Any) -> None:
    """The error says what it takes and what came."""
    with pytest.raises(InputError, match="eval_fn"):
        wl.eval_fn(what)
