"""Training is bit for bit the same with and without evaluations in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import weightslab as wl
from tests.evaluation.passes import evaluate, seed_all
from tests.evaluation.trainings import (
    Augmented,
    Counting,
    OwnGenerators,
    Plain,
    convolutions,
    dropout,
    same,
    train,
)

TRAININGS: dict[str, dict[str, Any]] = {
    "dropout": {"model": dropout},
    "batch norm, a part of it frozen": {"model": convolutions},
    "a model that counts": {"model": Counting},
    "shuffle with a generator": {"own_generator": True},
    "in order": {"shuffle": False},
    "two workers": {"num_workers": 2},
    "two workers and a generator": {"num_workers": 2, "own_generator": True},
    "workers that read ahead and live on": {
        "num_workers": 2, "persistent_workers": True, "prefetch_factor": 4,
    },
    "augmentation by generators of its own": {"dataset": OwnGenerators},
    "no augmentation": {"dataset": Plain},
    "autocast": {"model": convolutions, "autocast": True},
}  # fmt: skip


@pytest.mark.parametrize("over", ["val", "loader"])
@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_does_not_see_evaluations(name: str, over: str, tmp_path: Path) -> None:
    """All that a training ends with is equal, whatever loader is evaluated, at whatever moment.

    Another loader, or that of the training while its iterator is alive; also between a
    forward and its backward, and between two batches whose gradients accumulate.
    """
    passes: list[int] = []

    def between(held: Mapping[str, Any]) -> None:
        kept = evaluate(held[over])
        passes.append(len(kept.values["loss"]))
        assert 0.0 <= kept.curve["accuracy"][0] <= 1.0

    alone = train(tmp_path / "alone", None, **TRAININGS[name])
    beside = train(tmp_path / "beside", between, **TRAININGS[name])
    same(alone, beside)
    assert len(passes) == 18 and set(passes) == {24}


def _leaves_train_mode_on(loader: Any, held: Mapping[str, Any]) -> None:
    held["model"].train()
    for x, y, ids in loader:
        held["loss"](held["model"](x), y, batch_ids=ids)


def _says_nothing_of_modes(loader: Any, held: Mapping[str, Any]) -> None:
    for x, y, _ in loader:
        held["metric"](held["model"](x), y)


def _seeds(loader: Any, held: Mapping[str, Any]) -> None:
    seed_all(99)
    for x, y, ids in loader:
        held["loss"](held["model"](x) + torch.rand(1), y, batch_ids=ids)


def _has_its_own_gradients(loader: Any, held: Mapping[str, Any]) -> None:
    for x, y, _ in loader:
        with torch.enable_grad():
            held["loss"](held["model"](x), y).mean().backward()
    held["model"].zero_grad(set_to_none=False)


def _flips_switches(loader: Any, held: Mapping[str, Any]) -> None:
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float64)
    torch.set_autocast_enabled("cpu", not torch.is_autocast_enabled("cpu"))
    torch.set_autocast_cache_enabled(True)
    torch.backends.cudnn.benchmark = True
    torch.use_deterministic_algorithms(True)
    next(iter(loader))


def _resets_the_metric(loader: Any, held: Mapping[str, Any]) -> None:
    held["metric"].reset()
    for x, y, _ in loader:
        held["metric"].update(held["model"](x), y)
    held["metric"].compute()
    held["metric"].reset()


def _uses_a_cached_autocast(loader: Any, held: Mapping[str, Any]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        for x, y, ids in loader:
            held["loss"](held["model"](x), y, batch_ids=ids)


def _raises(loader: Any, held: Mapping[str, Any]) -> None:
    _leaves_train_mode_on(loader, held)
    raise ZeroDivisionError


def _leaves_in_the_middle(loader: Any, held: Mapping[str, Any]) -> None:
    for x, y, _ in loader:
        held["loss"](held["model"](x), y)
        break


FUNCTIONS: list[Callable[[Any, Mapping[str, Any]], None]] = [
    _leaves_train_mode_on,
    _says_nothing_of_modes,
    _seeds,
    _has_its_own_gradients,
    _flips_switches,
    _resets_the_metric,
    _uses_a_cached_autocast,
    _raises,
    _leaves_in_the_middle,
]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_training_does_not_see_a_function_of_the_users(
    function: Callable[[Any, Mapping[str, Any]], None], autocast: bool, tmp_path: Path
) -> None:
    """Whatever a function of the user's does but train, training does not see it."""
    passes = []

    def between(held: Mapping[str, Any]) -> None:
        passes.append(1)
        try:
            evaluate(held["loader"], eval_fn=lambda loader: function(loader, held))
        except ZeroDivisionError:
            assert function is _raises

    options: dict[str, Any] = {"model": convolutions, "autocast": autocast, "dataset": Augmented}
    same(train(tmp_path / "alone", None, **options), train(tmp_path / "beside", between, **options))
    assert len(passes) == 18


@pytest.mark.parametrize("over", ["val", "train"])
@pytest.mark.parametrize("name", ["dropout", "workers that read ahead and live on", "autocast"])
def test_requests_at_safe_points_change_nothing(
    name: str, over: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `wl.request_evaluation` asks for runs before the next batch, and leaves no trace."""

    def between(held: Mapping[str, Any]) -> None:
        wl.request_evaluation(over)

    alone = train(tmp_path / "alone", None, **TRAININGS[name])
    assert "Evaluation" not in capsys.readouterr().out
    beside = train(tmp_path / "beside", between, **TRAININGS[name])
    same(alone, beside)
    assert capsys.readouterr().out.count(f"[WeightsLab] Evaluation '{over}' @ step") >= 16


@pytest.mark.parametrize("over", ["val", "train"])
@pytest.mark.parametrize("name", ["dropout", "two workers and a generator", "a model that counts"])
def test_evaluations_that_the_loop_runs_change_nothing(
    name: str, over: str, tmp_path: Path
) -> None:
    """`wl.run_pending_evaluation` anywhere in a step, also before a backward, leaves no trace."""
    ran: list[bool] = []

    def between(held: Mapping[str, Any]) -> None:
        wl.request_evaluation(over)
        ran.append(wl.run_pending_evaluation())

    alone = train(tmp_path / "alone", None, **TRAININGS[name])
    same(alone, train(tmp_path / "beside", between, **TRAININGS[name]))
    assert ran == [True] * 18


def test_the_oracle_sees_what_is_not_isolated(tmp_path: Path) -> None:
    """The comparison fails where somebody evaluates without isolation: it can tell."""

    def between(held: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for x, _, _ in held["val"]:
                held["model"](x)

    alone = train(tmp_path / "alone", None)
    with pytest.raises(AssertionError):
        same(alone, train(tmp_path / "beside", between))
