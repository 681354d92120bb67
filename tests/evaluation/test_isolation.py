"""What isolation puts back, what it refuses, and what it cannot put back and says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.testing._internal.distributed.fake_pg import FakeStore
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassPrecision, MulticlassRecall

from tests.evaluation.trainings import same
from weightslab.errors import EvaluationError
from weightslab.evaluation.isolation import isolated

X = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Parameters, tied ones too, a norm with statistics, and buffers of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.first.weight
        self.register_buffer("scale", torch.ones(4))
        self.register_buffer("cache", None, persistent=False)
        self.register_buffer("missing", torch.tensor(float("nan")))
        self.running = torch.zeros(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.tied(self.norm(self.first(x))) * self.scale
        return result


def _trained() -> tuple[Net, torch.optim.Optimizer]:
    """A net in the middle of an accumulation: one step behind it, gradients in it."""
    net = Net()
    optimizer = torch.optim.Adam(net.parameters())
    for _ in range(2):
        net(X).pow(2).mean().backward()
    optimizer.step()
    return net, optimizer


def _seen(net: nn.Module) -> dict[str, Any]:
    """All there is of a net, the very gradients by their identity."""
    return {
        "parameters": {name: one.detach().clone() for name, one in net.named_parameters()},
        "buffers": {name: one.nan_to_num().clone() for name, one in net.named_buffers()},
        "modes": [module.training for module in net.modules()],
        "gradients": [id(one.grad) for one in net.parameters()],
        "values": [one.grad.clone() for one in net.parameters() if one.grad is not None],
        "versions": [one._version for one in (*net.parameters(), *net.buffers())],
        "tensors": [id(one) for one in (*net.parameters(), *net.buffers())],
    }


def _within(
    models: list[nn.Module], work: Callable[[], object] = lambda: None, **options: Any
) -> None:
    """Do some work isolated."""
    with isolated(models, **options):
        work()


def _fails() -> None:
    raise ZeroDivisionError


def _trains(net: Net, optimizer: torch.optim.Optimizer) -> None:
    net(X).sum().backward()
    optimizer.step()


def _edits_data(net: Net, optimizer: torch.optim.Optimizer) -> None:
    net.first.weight.data += 1


def _halves(net: Net, optimizer: torch.optim.Optimizer) -> None:
    net.half()


def _cuts(net: Net, optimizer: torch.optim.Optimizer) -> None:
    net.first.bias.data = net.first.bias.data[:2]


@pytest.mark.parametrize("change", [_trains, _edits_data, _halves, _cuts])
def test_changed_parameters_fail_the_evaluation_and_are_put_back(
    change: Callable[..., None],
) -> None:
    """Whoever trains in an evaluation is told which parameters, and the model is as before."""
    net, optimizer = _trained()
    before = _seen(net)
    with pytest.raises(EvaluationError, match=r"parameters first\.(weight|bias).* as before again"):
        _within([net], lambda: change(net, optimizer))
    same(before, _seen(net))


def _leaves_train_mode(net: Net) -> None:
    net.train()
    with torch.no_grad():
        net(X)


def _in_inference_mode(net: Net) -> None:
    with torch.inference_mode():
        net.train()(X)


def _edits_buffers(net: Net) -> None:
    net.scale.mul_(2)
    net.cache = torch.ones(3)
    net.running.add_(1)
    net.register_buffer("new", torch.ones(1))
    net.added = 3
    del net.missing


def _replaces(net: Net) -> None:
    net.scale = torch.zeros(4)
    net.first.weight = nn.Parameter(torch.zeros(4, 4))
    net.running = torch.ones(4)


def _drops_gradients(net: Net) -> None:
    net.zero_grad(set_to_none=False)
    net(X).sum().backward()
    net.zero_grad()


def _nothing(net: Net) -> None:
    net.eval()


@pytest.mark.parametrize(
    "work",
    [
        _leaves_train_mode, _in_inference_mode, _edits_buffers, _replaces, _drops_gradients,
        _nothing,
    ],
)  # fmt: skip
@pytest.mark.parametrize("raises", [False, True])
def test_whatever_else_is_done_is_put_back(work: Callable[[Net], None], raises: bool) -> None:
    """Modes, buffers, gradients, attributes and versions are as before; an error is passed on."""
    net, _ = _trained()
    net.norm.eval()
    before, attributes = _seen(net), set(vars(net))
    running = net.running
    if raises:
        with pytest.raises(ZeroDivisionError) as caught:
            _within([net], lambda: (work(net), _fails()))
        assert not hasattr(caught.value, "__notes__")
    else:
        _within([net], lambda: work(net))
    same(before, _seen(net))
    assert net.running is running and torch.equal(running, torch.zeros(4))
    assert net.cache is None and set(vars(net)) == attributes and torch.isnan(net.missing)
    assert net.tied.weight is net.first.weight


def test_a_waiting_graph_still_has_its_buffers() -> None:
    """A buffer that a graph holds for its backward may be edited and put back within."""
    net, _ = _trained()
    waiting = (net(X) * net.scale).sum()
    with isolated([net]):
        net.scale.add_(3)
    waiting.backward()


def test_what_cannot_be_afforded_is_watched_and_said() -> None:
    """Beyond the budget a change stays; the error says so, and that training goes on with it."""
    net, optimizer = _trained()
    with pytest.raises(EvaluationError, match=r"first\.weight.*cannot be put back.*goes on"):
        _within([net], lambda: _trains(net, optimizer), affordable_bytes=120)
    assert int(net.norm.num_batches_tracked) == 2  # the small ones are put back even so
    with pytest.raises(EvaluationError, match=r"scale"):
        _within([net], lambda: net.scale.mul_(2), affordable_bytes=0)
    _within([net], lambda: net.eval()(X), affordable_bytes=0)


def test_a_loss_beside_another_error_is_a_note_on_it() -> None:
    """The error of the user's function comes first, and says what was changed."""
    net, optimizer = _trained()
    with pytest.raises(ZeroDivisionError) as caught:
        _within([net], lambda: (_trains(net, optimizer), _fails()))
    assert "first.weight" in caught.value.__notes__[0]


def test_parameters_that_are_nan_have_not_changed() -> None:
    """A model whose training diverged can be evaluated."""
    net, _ = _trained()
    with torch.no_grad():
        net.first.weight.fill_(float("nan"))
    with isolated([net]):
        net.eval()(X)


def test_a_model_without_shapes_is_refused() -> None:
    """Its first batch would initialise it with the evaluation's random numbers."""
    with pytest.raises(EvaluationError, match=r"no 0\.weight yet.*let one batch pass"):
        _within([nn.Sequential(nn.LazyLinear(3))])


def test_a_compiled_model_is_kept() -> None:
    """Modes and statistics of what torch.compile wraps are put back."""
    plain = Net()
    net = torch.compile(plain, backend="eager")
    before = _seen(plain)
    with isolated([net]):
        net.eval()
        assert not plain.training
        net.train()
        with torch.no_grad():
            net(X)
    same(before, _seen(plain))
    assert net.training


def test_a_parallel_model_is_kept() -> None:
    """A model within DistributedDataParallel is put back through its wrapper."""
    # No network: what is asked here is the wrapper, not the collectives.
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=1)
    try:
        plain, _ = _trained()
        net = nn.parallel.DistributedDataParallel(plain)
        before = _seen(plain)
        with isolated([net]):
            net.eval()
            with torch.no_grad():
                net.train()(X)
        same(before, _seen(plain))
    finally:
        dist.destroy_process_group()


def test_what_is_no_module_is_passed_over() -> None:
    """Functions among the signals, and models of other kinds, need nothing."""
    with isolated([object(), None], [len, lambda preds, targets: 0]):
        pass


# -- metrics ------------------------------------------------------------------------------


def _collection() -> MetricCollection:
    return MetricCollection([MulticlassPrecision(3), MulticlassRecall(3)])


def _means() -> MeanMetric:
    return MeanMetric(nan_strategy="ignore")


@pytest.mark.parametrize("make", [lambda: MulticlassAccuracy(3), _collection])
@pytest.mark.parametrize("updates", [0, 1, 3])
def test_a_metric_begins_anew_and_goes_on_afterwards(make: Callable[[], Any], updates: int) -> None:
    """Within, it knows nothing; afterwards it has gathered what it had, bit for bit."""
    draw = torch.Generator().manual_seed(1)
    batches = [
        (torch.randn(9, 3, generator=draw), torch.randint(3, (9,), generator=draw))
        for _ in range(6)
    ]
    metric, alone, inside = make(), make(), make()
    for batch in batches[:updates]:
        metric.update(*batch)
        alone.update(*batch)
    with isolated([], [metric]):
        for batch in batches[4:]:
            metric(*batch)
            inside(*batch)
        same(_plain(metric.compute()), _plain(inside.compute()))
    for batch in batches[updates:4]:
        metric.update(*batch)
        alone.update(*batch)
    same(_plain(metric.compute()), _plain(alone.compute()))


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, dict) else value


def test_a_metric_with_lists_keeps_the_very_same_ones() -> None:
    """What a metric gathers in lists is not copied, cleared or moved."""
    metric = MulticlassAccuracy(3, average=None, multidim_average="samplewise")
    metric.update(torch.tensor([[0], [1]]), torch.tensor([[0], [2]]))
    gathered = metric.tp
    held = list(gathered)
    with isolated([nn.ModuleList([metric])]):
        metric.reset()
        metric.update(torch.tensor([[2]]), torch.tensor([[2]]))
        metric.reset()
    assert metric.tp is gathered and len(gathered) == len(held) == 1
    assert gathered[0] is held[0]


def test_a_metric_of_the_training_keeps_its_tensors() -> None:
    """States are the very same tensors afterwards, and the count of updates is as before."""
    metric = _means()
    metric.update(3.0)
    state = metric.mean_value
    with isolated([], [metric]):
        metric.update(torch.tensor([1.0, 2.0]))
        assert float(metric.compute()) == 1.5
    assert metric.mean_value is state and metric._update_count == 1
    assert float(metric.compute()) == 3.0


# -- switches -----------------------------------------------------------------------------


def test_switches_are_put_back() -> None:
    """Grad mode, autocast, default dtype and device, determinism, threads and cudnn's flags."""

    def seen() -> list[Any]:
        return [
            torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"),
            torch.get_autocast_dtype("cpu"), torch.is_autocast_cache_enabled(),
            torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(), torch.is_anomaly_enabled(),
            torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark,
        ]  # fmt: skip

    def flip() -> None:
        torch.set_grad_enabled(False)
        torch.set_autocast_enabled("cpu", True)
        torch.set_autocast_dtype("cpu", torch.float16)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_num_threads(torch.get_num_threads() + 1)
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.enabled = False
        torch.backends.cudnn.benchmark = True
        _fails()

    before = seen()
    with pytest.raises(ZeroDivisionError):
        _within([Net()], flip)
    assert seen() == before


def test_casts_without_a_graph_do_not_come_back_to_training() -> None:
    """In one autocast region, an evaluation before a forward leaves weights their gradients."""
    layer = nn.Linear(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        with isolated([layer]), torch.no_grad():
            layer(X)
        layer(X).sum().backward()
    assert layer.weight.grad is not None


def test_casts_of_the_training_stay_in_its_cache() -> None:
    """Two forwards around an evaluation share one cast, so that gradients add up as ever."""
    gradients = []
    for evaluates in (False, True):
        torch.manual_seed(0)
        layer = nn.Linear(4, 3)
        with torch.autocast("cpu", torch.bfloat16):
            first = layer(X * 1.3).pow(2).sum()
            if evaluates:
                with isolated([layer]), torch.no_grad():
                    layer(X)
            (first + layer(X * 0.7).pow(3).sum()).backward()
        gradients.append(layer.weight.grad)
    same(gradients[0], gradients[1])
