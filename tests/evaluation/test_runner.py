"""One pass: the default function to the letter, and a user's."""

from __future__ import annotations

import collections
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torchmetrics
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

import weightslab as wl
from tests.evaluation.passes import Kept, evaluate
from weightslab.errors import EvaluationError, InputError
from weightslab.evaluation.managed_loader import ManagedLoader
from weightslab.evaluation.runner import run_pass
from weightslab.session import current

X = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(10) % 3


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.9), nn.Linear(8, 3))


def _wanted(model: nn.Module) -> torch.Tensor:
    """Losses of all samples in eval mode."""
    with torch.no_grad():
        return nn.functional.cross_entropy(model.eval()(X), Y, reduction="none")


def _run(
    batches: Any,
    model: Any = None,
    signals: dict[str, Callable[..., Any]] | None = None,
    said: list[str] | None = None,
    **options: Any,
) -> dict[str, str]:
    """A pass without a session."""
    say = [] if said is None else said
    return run_pass(
        ManagedLoader(batches),
        model=nn.Identity() if model is None else model,
        signals={} if signals is None else signals,
        say=lambda key, message: say.append(message),
        **options,
    )


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_the_default_function_evaluates_watched_signals(reduction: str) -> None:
    """Every sample gets its loss in eval mode, under its id; a metric what it says of all."""
    model = wl.watch_or_edit(_model(), flag="model")
    wl.watch_or_edit(nn.CrossEntropyLoss(reduction=reduction), flag="loss", signal_name="loss")
    accuracy = wl.watch_or_edit(MulticlassAccuracy(3), flag="metric", signal_name="accuracy")
    val = wl.watch_or_edit(
        DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True), flag="data", loader_name="val"
    )
    kept = evaluate(val)
    wanted = _wanted(model)
    torch.testing.assert_close(torch.tensor(kept.values["loss"]), wanted)
    assert kept.ids("loss") == [f"val/{n}" for n in range(10)]
    expected = MulticlassAccuracy(3)
    expected.update(model(X), Y)
    assert kept.curve == {"accuracy": [float(expected.compute())]}
    assert accuracy._update_count == 0


def test_a_model_is_called_in_eval_mode_without_gradients() -> None:
    """Every module is in eval mode, and nothing that it returns has a graph."""
    model = _model()
    seen = []
    model.register_forward_hook(
        lambda module, args, result: seen.append((module.training, result.requires_grad))
    )
    _run([(X, Y)], model, {"fits": _fits})
    assert seen == [(False, False)]


def test_signals_are_called_as_the_page_says() -> None:
    """signal(preds, targets, batch_ids=ids), in their order, with the very objects."""
    calls: list[Any] = []
    ids, targets = ["a", "b"], torch.zeros(2)

    def signal(preds: Any, targets: Any, *, batch_ids: Any) -> None:
        calls.append((preds, targets, batch_ids))

    _run([{"x": X[:2], "y": targets, "idx": ids}], signals={"one": signal, "two": signal})
    assert len(calls) == 2
    for preds, given, batch_ids in calls:
        assert preds is not None and given is targets and batch_ids is ids


def test_what_is_no_id_is_not_called_one() -> None:
    """A third item of another length names no samples: the loader knows whose batch it is."""
    calls: list[Any] = []
    for third in (0.5, [1, 2, 3], {"size": torch.zeros(3)}, torch.tensor(3)):
        _run(
            [(X[:2], Y[:2], third)], signals={"s": lambda p, t, batch_ids: calls.append(batch_ids)}
        )
    assert calls == [None] * 4


# -- what cannot be called -----------------------------------------------------------------


def _fits(preds: Any, targets: Any, *, batch_ids: Any) -> None:
    """A signal that can be called."""


def test_a_signal_that_cannot_be_called_is_left_out_and_the_others_go_on() -> None:
    """It is said once, with what it raised and the way out, and is not called again."""
    calls, said = [], []  # type: ignore[var-annotated]

    def needs_boxes(preds: Any, targets: Any, boxes: Any) -> None:
        raise AssertionError("called without boxes")

    def fails(preds: Any, targets: Any, *, batch_ids: Any) -> None:
        calls.append("fails")
        raise ValueError("shapes differ")

    signals = {"boxes": needs_boxes, "fails": fails, "fits": _fits}
    left_out = _run([(X, Y), (X, Y)], signals=signals, said=said)
    assert set(left_out) == {"boxes", "fails"} and calls == ["fails"]
    assert left_out["fails"] == "ValueError: shapes differ"
    assert len(said) == 2 and all("@wl.eval_fn" in message for message in said)


def test_a_signal_of_instances_has_means_of_batches() -> None:
    """Whose instances they are the default function cannot say: that is said, with what can."""
    wl.watch_or_edit(_model(), flag="model")
    wl.watch_or_edit(nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="loss")
    wl.watch_or_edit(
        nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="boxes", per_instance=True
    )
    val = wl.watch_or_edit(
        DataLoader(TensorDataset(X, Y), batch_size=4), flag="data", loader_name="val"
    )
    kept = evaluate(val)
    assert set(kept.values) == {"loss"} and len(kept.values["loss"]) == 10
    assert len(kept.curve["boxes"]) == 3
    said = "\n".join(current().notices.messages())
    assert "'boxes'" in said and "batch_idx" in said


def test_a_later_failure_costs_only_its_batch() -> None:
    """A signal that worked before misses that batch, is said, and goes on."""
    calls, said = [], []  # type: ignore[var-annotated]

    def picky(preds: Any, targets: Any, *, batch_ids: Any) -> None:
        calls.append(len(preds))
        if len(preds) == 2:
            raise ValueError("two of them")

    left_out = _run([(X, Y), (X[:2], Y[:2]), (X, Y)], signals={"picky": picky}, said=said)
    assert calls == [10, 2, 10] and left_out == {"picky": "ValueError: two of them"}
    assert "no value for some batches" in said[0]


def test_a_metric_that_cannot_compute_is_said() -> None:
    """An error of `compute` costs only that metric."""

    class Broken(torchmetrics.Metric):
        full_state_update = False

        def update(self, preds: Any, targets: Any) -> None: ...

        def compute(self) -> Any:
            raise ZeroDivisionError

    metric = wl.watch_or_edit(Broken(), flag="metric", signal_name="broken")
    said: list[str] = []
    left_out = _run([(X, Y)], signals={"broken": metric, "fits": _fits}, said=said)
    assert set(left_out) == {"broken"} and "ZeroDivisionError" in said[0]


def test_nothing_to_evaluate_with_is_an_error() -> None:
    """No model, no signal, or none that can be called: it says what to do."""
    with pytest.raises(EvaluationError, match="flag='model'"):
        run_pass(ManagedLoader([]), model=None, signals={"fits": _fits}, say=lambda *a: None)
    with pytest.raises(EvaluationError, match="flag='loss'"):
        _run([(X, Y)])
    with pytest.raises(EvaluationError, match=r"'odd': TypeError.*@wl\.eval_fn"):
        _run([(X, Y)], signals={"odd": lambda: None})


def test_an_error_of_the_model_is_passed_on() -> None:
    """The model's own error says best what is wrong with its inputs."""
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        _run([(X[:, :2], Y)], _model(), {"fits": _fits})
    with pytest.raises(InputError, match="this one has 1 item"):
        _run([(X,)], _model(), {"fits": _fits})


# -- outputs of a model --------------------------------------------------------------------


@dataclass
class Output:
    """What transformers' models return, roughly."""

    logits: torch.Tensor
    loss: None = None


class Returns(nn.Module):
    """A model that returns its logits in some wrapping."""

    def __init__(self, wrap: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.inside = _model()
        self.wrap = wrap

    def forward(self, x: torch.Tensor) -> Any:
        return self.wrap(self.inside(x))


WRAPPINGS: dict[str, Callable[[torch.Tensor], Any]] = {
    "a tensor": lambda x: x,
    "a dict of logits": lambda x: {"hidden": x.mean(), "logits": x},
    "a dict of out": lambda x: collections.OrderedDict(out=x, aux=x * 0),
    "a dict of one": lambda x: {"scores": x},
    "an object": Output,
    "a tuple": lambda x: (x, [x * 2]),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_loss_gets_the_logits_of_what_a_model_returns(wrapping: str) -> None:
    """A dict, an object or a tuple is no reason to write a function: its logits are found."""
    model = wl.watch_or_edit(Returns(WRAPPINGS[wrapping]), flag="model")
    wl.watch_or_edit(nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="loss")
    val = wl.watch_or_edit(
        DataLoader(TensorDataset(X, Y), batch_size=4), flag="data", loader_name="val"
    )
    kept = evaluate(val)
    torch.testing.assert_close(torch.tensor(kept.values["loss"]), _wanted(model.inside))


def test_a_signal_that_takes_all_of_it_gets_all_of_it() -> None:
    """What the model returned comes first: a loss of several outputs is called with them."""
    seen: list[Any] = []

    def loss(preds: tuple[Any, Any], targets: Any, *, batch_ids: Any) -> None:
        left, right = preds
        seen.append((left, right))

    _run([(X, Y)] * 2, Returns(lambda x: (x, "state")), {"loss": loss})
    assert [right for _, right in seen] == ["state"] * 2


def test_outputs_without_logits_keep_the_signals_own_error() -> None:
    """Where nothing can be found in the output, the reason is what the signal raised with it."""
    with pytest.raises(EvaluationError, match="'loss': TypeError"):
        _run([(X, Y)], Returns(lambda x: {"a": x, "b": x}), {"loss": nn.CrossEntropyLoss()})


# -- devices -------------------------------------------------------------------------------


class OnMeta(nn.Module):
    """A model on another device than the batch, that notes where its inputs are."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("here", torch.zeros(1, device="meta"))
        self.seen: list[Any] = []

    def forward(self, inputs: Any) -> torch.Tensor:
        self.seen.append(inputs)
        return torch.zeros(2, device="meta")


Pair = collections.namedtuple("Pair", "a b")  # noqa: PYI024


@pytest.mark.parametrize("device", [None, "meta"])
def test_nested_inputs_go_to_the_model(device: str | None) -> None:
    """Tensors in dicts, lists and (named) tuples move to the model's device; the rest stays."""
    seen: list[Any] = []
    model: Any = OnMeta() if device is None else Returns(lambda x: x)
    if device is not None:
        model.inside = OnMeta()
        model.inside.here = torch.zeros(1)
    inputs = {"a": [X, (X, "text")], "b": Pair(X, 3)}

    def signal(preds: Any, targets: Any, *, batch_ids: Any) -> None:
        seen.append((targets.device.type, batch_ids.device.type))

    _run([(inputs, Y[:2], Y[:2])], model, {"signal": signal}, device=device)
    found = (model if device is None else model.inside).seen[0]
    assert found["a"][0].is_meta and found["a"][1][0].is_meta and found["a"][1][1] == "text"
    assert isinstance(found["b"], Pair) and found["b"].a.is_meta and found["b"].b == 3
    assert seen == [("meta", "cpu")]


def test_a_batch_that_moves_itself_does() -> None:
    """An object with `to` (a graph, a batch of tokens) is asked to move."""

    class Graph:
        def __init__(self) -> None:
            self.where = ""

        def to(self, device: Any) -> Graph:
            self.where = str(device)
            return self

    graph, model = Graph(), OnMeta()
    _run([(graph, Y)], model, {"fits": _fits})
    assert model.seen == [graph] and graph.where == "meta"


def test_what_is_there_already_is_not_touched() -> None:
    """On the model's device the batch stays the very objects, so that ids are found by them."""
    model = Returns(lambda x: x)
    seen: list[Any] = []
    _run([(X, Y)], model, {"s": lambda p, t, batch_ids: seen.append(t)})
    assert seen == [Y] and seen[0] is Y


# -- functions of the user's ---------------------------------------------------------------


def test_a_users_function_gets_the_managed_loader() -> None:
    """It is called once, under no_grad, with the model in eval mode, in place of the default."""
    model, calls = _model(), []

    def function(loader: ManagedLoader) -> None:
        calls.append((len(loader), torch.is_grad_enabled(), model.training, len(list(loader))))

    assert _run([(X, Y)] * 3, model, {"never": lambda: None}, eval_fn=function) == {}
    assert calls == [(3, False, False, 3)]


def test_a_users_function_needs_no_model() -> None:
    """Without a registered model a function of the user's still runs."""
    seen: list[Any] = []
    run_pass(
        ManagedLoader([1, 2]), model=None, signals={}, eval_fn=seen.extend, say=lambda *a: None
    )
    assert seen == [1, 2]


def test_an_error_of_the_users_function_is_passed_on() -> None:
    """Whoever runs the pass reports it."""

    def function(loader: ManagedLoader) -> None:
        raise KeyError("labels")

    with pytest.raises(KeyError, match="labels"):
        _run([], eval_fn=function)


class Augmented(Dataset[Any]):
    """Draws from a generator of its own."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(1)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return torch.rand(3, generator=self.generator), 0


def test_generators_of_the_dataset_are_put_back() -> None:
    """A pass draws from a dataset's own generator and leaves it where it was."""
    data = Augmented()
    before = data.generator.get_state()
    _run(DataLoader(data, batch_size=2), signals={"fits": _fits})
    assert torch.equal(before, data.generator.get_state())


def test_the_values_of_a_pass_are_nobody_elses(tmp_path: Any) -> None:
    """The buffer takes what the pass records; the ledger has no value of it."""
    with wl.Session(tmp_path):
        wl.watch_or_edit(_model(), flag="model")
        wl.watch_or_edit(nn.CrossEntropyLoss(), flag="loss", signal_name="loss")
        val = wl.watch_or_edit(DataLoader(TensorDataset(X, Y)), flag="data", loader_name="val")
        assert isinstance(evaluate(val), Kept)
        assert wl.query_signal_history("loss") == []
