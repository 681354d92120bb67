"""An evaluation from its request to its markers, where one thread trains."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from tests.session.evaluated import SAMPLES, Training, curve, finished, journal, wait_until
from weightslab.errors import (
    InputError,
    ReadOnlyError,
    StateError,
    UnknownOptionError,
    WeightsLabWarning,
)
from weightslab.session import current


def state() -> Any:
    return current().evaluations.status()


# -- results ---------------------------------------------------------------------------


def test_it_runs_at_the_next_safe_point(capsys: pytest.CaptureFixture[str]) -> None:
    """Asked for in a step, it is through before the next batch; the line is the seed's."""
    training = Training()
    expected: list[float] = []

    def on_batch(batch: int) -> None:
        if batch == 1:
            expected.append(training.mean_loss())
            wl.request_evaluation("val_loader")
        if batch == 2:
            assert state()["last"]["state"] == "done" and not state()["pending"]

    training.epoch(on_batch)
    ((number, step, value),) = curve()
    assert (number, step) == ("1", 2)
    assert value == pytest.approx(expected[0], rel=1e-6)
    line = f"[WeightsLab] Evaluation 'val_loader' @ step 2 — loss={value:.4f}\n"
    assert capsys.readouterr().out == line


def test_the_value_is_the_mean_over_samples_with_a_short_last_batch() -> None:
    """Every sample is there once, per sample under the marker, and their mean is the value."""
    training = Training()
    wl.request_evaluation("val")
    assert wl.run_pending_evaluation()
    rows = wl.history("loss").filter(pl.col("experiment_hash").str.ends_with("_1"))
    assert rows["sample_id"].to_list() == [f"val_loader/{i}" for i in range(SAMPLES)]
    ((_, _, value),) = curve()
    assert value == pytest.approx(training.mean_loss(), rel=1e-6)
    assert value == pytest.approx(rows["value"].mean(), rel=1e-12)


def test_the_training_keeps_its_curve_its_steps_and_its_hash() -> None:
    """What an evaluation records stands under its marker, and nowhere else."""
    wl.watch_or_edit({"lr": 0.1}, flag="hp")
    training = Training()
    training.epoch()
    plain = wl.get_current_experiment_hash()
    before = curve(marked=False)
    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    assert wl.get_current_experiment_hash() == plain
    assert curve(marked=False) == before and len(before) == 5
    assert state()["last"]["marker"] == f"{plain}_1"
    training.epoch()
    assert [step for _, step, _ in curve(marked=False)] == list(range(10))
    assert {name for (name,) in wl.history("loss").select("experiment_hash").rows()} == {
        plain,
        f"{plain}_1",
    }


def test_the_sample_table_follows() -> None:
    """The latest value of a sample is that of the evaluation."""
    Training()
    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    frame = wl.samples(origin="val_loader", columns="signals")
    latest = dict(frame.select("sample_id", "signals//loss").rows())
    rows = wl.history("loss").select("sample_id", "value").rows()
    assert latest == dict(rows) and len(rows) == SAMPLES


def test_exports_of_the_current_hash_leave_markers_out(tmp_path: Path) -> None:
    """`experiment_hash=None` means the plain hash; "all" has them."""
    training = Training()
    wl.watch_or_edit({"lr": 0.1}, flag="hp")
    training.epoch(lambda batch: batch == 0 and wl.request_evaluation("val_loader"))
    plain = pl.read_csv(wl.write_history(tmp_path / "plain.csv", format="csv"))
    everything = pl.read_csv(
        wl.write_history(tmp_path / "all.csv", format="csv", experiment_hash="all")
    )
    hashes = set(plain["experiment_hash"].to_list())
    assert hashes == {wl.get_current_experiment_hash()}
    assert set(everything["experiment_hash"].to_list()) - hashes == {
        f"{wl.get_current_experiment_hash()}_1"
    }


def test_values_saved_by_hand_count() -> None:
    """Per sample, per instance and single numbers: each is under the marker."""
    training = Training()

    @wl.eval_fn
    def scored(loader: Any) -> None:
        hits = 0
        for inputs, targets, ids in loader:
            hit = training.model(inputs).argmax(1) == targets
            wl.save_signals({"hit": hit}, ids)
            wl.save_instance_signals({"iou": [0.5] * len(ids)}, ids, range(len(ids)))
            hits += int(hit.sum())
        wl.save_signals({"accuracy": torch.tensor(hits / SAMPLES)}, None)

    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    results = state()["last"]["results"]
    assert results["hit"] == pytest.approx(results["accuracy"])
    assert results["iou"] == 0.5
    assert [curve(name)[0][0] for name in ("hit", "iou", "accuracy")] == ["1", "1", "1"]
    instances = wl.history("iou", kind="instance")
    assert instances.height == SAMPLES
    assert set(instances["experiment_hash"].str.slice(24).to_list()) == {"_1"}


def test_a_loop_without_an_optimizer_keeps_counting_where_it_was() -> None:
    """Calls of an evaluation are no steps of a training whose calls are counted."""
    model, loss = nn.Linear(4, 3), nn.CrossEntropyLoss(reduction="none")
    data = TensorDataset(torch.randn(6, 4), torch.zeros(6, dtype=torch.long))
    model = wl.watch_or_edit(model, flag="model")
    loss = wl.watch_or_edit(loss, flag="loss", signal_name="loss")
    train = wl.watch_or_edit(DataLoader(data, batch_size=2), flag="data", loader_name="train")
    wl.watch_or_edit(DataLoader(data, batch_size=2), flag="data", loader_name="val")
    for batch, (inputs, targets, _) in enumerate(train):
        loss(model(inputs), targets)
        if batch == 1:
            wl.request_evaluation("val")
    assert [step for _, step, _ in curve(marked=False)] == [0, 1, 2]
    assert [step for _, step, _ in curve()] == [1]


def test_the_step_of_a_loop_by_hand_is_that_of_its_last_value() -> None:
    """Where nothing counts updates, the step that was saved last is the step of the moment."""
    wl.watch_or_edit([(1.0, "a")], flag="data", loader_name="val")
    wl.save_signals({"loss": [0.5]}, ["x"], step=1200)
    wl.eval_fn(lambda loader: [wl.save_signals({"a": x}, ids) for x, _, ids in loader])
    wl.request_evaluation("val")
    wl.run_pending_evaluation()
    assert [step for _, step, _ in curve("a")] == [1200]


def test_a_signal_off_the_curve_stays_off_it() -> None:
    """`log=False`: rows and a result, and no point of a curve."""
    wl.watch_or_edit([(1.0, "a")], flag="data", loader_name="val")
    wl.eval_fn(lambda loader: [wl.save_signals({"a": x}, ids, log=False) for x, _, ids in loader])
    wl.request_evaluation("val")
    wl.run_pending_evaluation()
    assert state()["last"]["results"] == {"a": 1.0}
    assert curve("a") == [] and wl.history("a").height == 1


def test_a_loss_that_no_sample_owns_is_weighted_by_its_batches() -> None:
    """A function that returns one number for a batch: the short last one weighs what it holds."""
    training = Training()

    def margin(preds: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.stack([p[t] - p.max() for p, t in zip(preds, targets, strict=True)]).mean()

    wl.watch_or_edit(margin, flag="metric", signal_name="margin")
    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    with torch.no_grad():
        expected = margin(training.model(training.inputs), training.targets)
    assert curve("margin")[0][2] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.filterwarnings("ignore:pkg_resources:DeprecationWarning")
def test_a_metric_of_torchmetrics_has_the_value_that_it_computes() -> None:
    """What `compute()` gives after the last batch, and not a mean of its batches."""
    torchmetrics = pytest.importorskip("torchmetrics")
    training = Training()
    wl.watch_or_edit(
        torchmetrics.classification.MulticlassF1Score(num_classes=3),
        flag="metric",
        signal_name="f1",
    )
    fresh = torchmetrics.classification.MulticlassF1Score(num_classes=3)
    with torch.no_grad():
        expected = fresh(training.model(training.inputs), training.targets)
    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    assert curve("f1")[0][2] == pytest.approx(float(expected), rel=1e-6)


def test_no_values_are_an_evaluation_without_a_marker(capsys: pytest.CaptureFixture[str]) -> None:
    """It is done, says so, and the next one with values has the first number."""
    wl.watch_or_edit([(1.0, "a")], flag="data", loader_name="val")
    wl.eval_fn(lambda loader: None)
    wl.request_evaluation("val")
    assert wl.run_pending_evaluation()
    assert state()["last"]["state"] == "done" and state()["last"]["marker"] is None
    assert "no values were recorded" in capsys.readouterr().out


def test_a_result_that_is_no_number_is_null_in_the_journal() -> None:
    """NaN is kept in the history; the journal is strict JSON."""
    wl.watch_or_edit([(1.0, "a")], flag="data", loader_name="val")
    wl.eval_fn(lambda loader: [wl.save_signals({"a": [math.nan]}, ["a"]) for _ in loader])
    wl.request_evaluation("val")
    wl.run_pending_evaluation()
    ((_, _, value),) = curve("a")
    assert math.isnan(value)
    assert journal()[0]["results"] == {"a": None}


def test_the_journal_tells_of_every_evaluation() -> None:
    """Loader, tags, marker, results, state and error; who asked is the actor."""
    Training()
    wl.tag_samples([f"val_loader/{i}" for i in range(3)], "hard")
    wl.request_evaluation("val", tags=["hard"])
    wl.run_pending_evaluation()
    current().evaluations.cancel(current().evaluations.request("val_loader", by="client"))
    done, cancelled = journal()
    assert done["name"] == done["loader"] == "val_loader" and done["tags"] == ["hard"]
    assert done["state"] == "done" and done["actor"] == "script" and done["error"] is None
    assert done["marker"].endswith("_1") and set(done["results"]) == {"loss"}
    assert (cancelled["state"], cancelled["actor"]) == ("cancelled", "client")
    assert cancelled["marker"] is None and cancelled["error"] == "it was cancelled"


def test_tags_choose_the_samples() -> None:
    """Only samples with one of the tags have a row."""
    Training()
    wl.tag_samples(["val_loader/1", "val_loader/4"], "hard")
    wl.tag_samples(["val_loader/4", "val_loader/7"], "odd")
    wl.request_evaluation("val_loader", tags=["hard", "odd"])
    wl.run_pending_evaluation()
    rows = wl.history("loss")["sample_id"].to_list()
    assert rows == ["val_loader/1", "val_loader/4", "val_loader/7"]


# -- hashes and markers ------------------------------------------------------------------


def test_markers_are_numbered_by_hash() -> None:
    """Another evaluation has the next number, another experiment begins with 1 again."""
    wl.watch_or_edit({"lr": 0.1}, flag="hp")
    training = Training()
    first = wl.get_current_experiment_hash()

    def on_batch(batch: int) -> None:
        if batch == 2:
            wl.discard_samples(["train_loader/0"])
        else:
            wl.request_evaluation("val_loader")

    training.epoch(on_batch)
    second = wl.get_current_experiment_hash()
    markers = [one.marker for one in current().evaluations.controller.outcomes]
    assert second != first
    assert markers == [f"{first}_1", f"{first}_2", f"{second}_1", f"{second}_2"]


def test_the_number_goes_on_in_the_next_launch(tmp_path: Path) -> None:
    """The folder knows how many there were."""
    for _ in range(3):
        with wl.Session(tmp_path / "run"):
            Training()
            wl.request_evaluation("val_loader")
            wl.run_pending_evaluation()
    with wl.Session(tmp_path / "run", mode="r"):
        assert [number for number, _, _ in curve()] == ["1", "2", "3"]


def test_where_nothing_names_an_experiment_the_evaluation_does() -> None:
    """Its results need a hash; the session keeps that up to date, and so does the next launch."""
    training = Training()
    assert wl.get_current_experiment_hash() is None
    training.epoch(lambda batch: batch == 1 and wl.request_evaluation("val_loader"))
    plain = wl.get_current_experiment_hash()
    assert plain is not None and state()["last"]["marker"] == f"{plain}_1"
    hashes = wl.history("loss", kind="global")["experiment_hash"].to_list()
    assert hashes.count(None) == 2 and hashes.count(plain) == 3
    wl.reset()
    training = Training()
    training.epoch(lambda batch: batch == 1 and wl.request_evaluation("val_loader"))
    assert wl.get_current_experiment_hash() == plain
    assert [number for number, _, _ in curve()] == ["1", "2"]


# -- when ---------------------------------------------------------------------------------


def test_before_the_first_step() -> None:
    """The first safe point runs what was asked for before the loop."""
    training = Training()
    wl.request_evaluation("val_loader")
    training.epoch()
    assert [step for _, step, _ in curve()] == [0]


def test_between_two_epochs() -> None:
    """The next epoch's first safe point runs it."""
    training = Training()
    training.epoch()
    wl.request_evaluation("val_loader")
    training.epoch()
    assert [step for _, step, _ in curve()] == [5]


@pytest.mark.parametrize("is_first", [False, True])
def test_where_no_training_is_under_way_the_worker_runs_it(*, is_first: bool) -> None:
    """Before the first step and after the last: nobody has to call anything."""
    training = Training()
    current().evaluations.controller.underway.quiet_s = 0.05
    if not is_first:
        training.epoch()
    outcome = finished(wl.request_evaluation("val_loader"))
    assert outcome.state == "done" and outcome.step == training.steps
    assert outcome.results["loss"] == pytest.approx(training.mean_loss(), rel=1e-6)
    wait_until(lambda: not wl.status()["paused"])


def test_keep_serving_runs_it_also_where_a_loop_took_before() -> None:
    """The loop is over: whoever serves runs what waits."""
    training = Training()
    training.epoch(call=True)
    wl.request_evaluation("val_loader")
    wl.keep_serving(timeout=0)
    assert [step for _, step, _ in curve()] == [5]


def test_an_optimizers_step_is_a_safe_point_where_no_training_loader_is_watched() -> None:
    """The loop of somebody who watches no training loader."""
    training = Training()
    current().registry.loaders.pop("train_loader")
    for _ in range(3):
        wl.request_evaluation("val_loader")
        training.optimizer.step()
    assert [step for _, step, _ in curve()] == [1, 2, 3]


# -- the loop's own call --------------------------------------------------------------------


def test_a_loop_that_calls_skips_the_batch() -> None:
    """The first safe point may take what came before the first call; then the loop does."""
    training = Training()

    def on_batch(batch: int) -> None:
        if batch == 1:
            wl.request_evaluation("val_loader")

    assert training.epoch(on_batch, call=True) == [2]
    assert not wl.run_pending_evaluation()
    assert [step for _, step, _ in curve()] == [2]
    assert training.steps == 4


def test_one_call_runs_one_evaluation() -> None:
    """Three that wait take three batches of the loop."""
    training = Training()
    training.epoch(call=True)
    for _ in range(3):
        wl.request_evaluation("val_loader")
    assert training.epoch(call=True) == [0, 1, 2]


def test_the_arguments_take_the_place_of_what_is_watched() -> None:
    """Loaders by name, a model, a function: those given here are used."""
    training = Training()
    other = nn.Linear(4, 3)
    plain = DataLoader(TensorDataset(training.inputs[:5], training.targets[:5]), batch_size=2)
    seen: list[Any] = []

    def scored(loader: Any) -> None:
        seen.extend(len(batch[0]) for batch in loader)
        wl.save_signals({"n": [1.0]}, ["x"])

    wl.request_evaluation("val_loader")
    assert wl.run_pending_evaluation(loaders={"val": plain}, eval_fn=scored)
    wl.request_evaluation("val_loader")
    assert wl.run_pending_evaluation(loaders=plain, eval_fn=scored)
    assert seen == [2, 2, 1, 2, 2, 1]
    wl.request_evaluation("val_loader")
    assert wl.run_pending_evaluation(model=other, device="cpu")
    with torch.no_grad():
        expected = nn.functional.cross_entropy(other(training.inputs), training.targets)
    assert curve()[-1][2] == pytest.approx(float(expected), rel=1e-5)


def test_a_loader_that_a_loop_brings_along_may_be_asked_for() -> None:
    """It need not be watched."""
    wl.eval_fn(lambda loader: [wl.save_signals({"a": [x]}, ["x"]) for x in loader])
    assert not wl.run_pending_evaluation({"extra": [1.0, 3.0]})
    wl.request_evaluation("extra")
    assert wl.run_pending_evaluation({"extra": [1.0, 3.0]})
    assert state()["last"]["results"] == {"a": 2.0}
    wl.request_evaluation("extra", tags="hard")
    assert wl.run_pending_evaluation({"extra": [1.0, 3.0]})
    assert state()["last"]["state"] == "failed" and "is not watched" in state()["last"]["error"]


def test_a_call_within_an_evaluation_runs_nothing() -> None:
    """A function that calls it does not evaluate in itself."""
    wl.watch_or_edit([(1.0, "a")], flag="data", loader_name="val")
    answers: list[bool] = []

    @wl.eval_fn
    def nested(loader: Any) -> None:
        wl.request_evaluation("val")
        answers.append(wl.run_pending_evaluation())

    wl.request_evaluation("val")
    assert wl.run_pending_evaluation()
    assert answers == [False] and len(state()["pending"]) == 1


# -- the function ---------------------------------------------------------------------------


def test_a_function_decorated_later_replaces_the_former() -> None:
    """Only one counts; the decorator gives the function back."""
    wl.watch_or_edit([(1.0, "a")], flag="data", loader_name="val")

    @wl.eval_fn
    def evaluate(loader: Any) -> None:
        wl.save_signals({"first": [1.0]}, ["a"])

    first = evaluate

    @wl.eval_fn
    def evaluate(loader: Any) -> None:
        wl.save_signals({"second": [1.0]}, ["a"])

    wl.request_evaluation("val")
    wl.run_pending_evaluation()
    assert set(state()["last"]["results"]) == {"second"}
    assert first is not evaluate and callable(first)


def test_a_session_takes_the_function_over_and_reset_forgets_it(tmp_path: Path) -> None:
    """Decorated at the top of the file, used in `with wl.Session(...)`."""

    @wl.eval_fn
    def evaluate(loader: Any) -> None:
        pass

    with wl.Session(tmp_path / "a") as session:
        assert session.evaluations.eval_fn is evaluate
        assert session.heir().evaluations.eval_fn is evaluate
    assert current().evaluations.eval_fn is evaluate
    wl.reset()
    assert current().evaluations.eval_fn is None


# -- what goes wrong --------------------------------------------------------------------------


def test_a_function_that_raises_is_reported_and_training_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Printed, warned of with the place, in the status and the journal; no marker."""
    training = Training()

    @wl.eval_fn
    def broken(loader: Any) -> None:
        for inputs, targets, _ in loader:
            training.loss(training.model(inputs), targets)
            raise RuntimeError("out of cheese")

    with pytest.warns(WeightsLabWarning) as caught:
        training.epoch(lambda batch: batch == 1 and wl.request_evaluation("val_loader"))
    (warning,) = caught
    assert "out of cheese" in str(warning.message) and "in broken" in str(warning.message)
    assert training.steps == 5 and curve() == [] and len(curve(marked=False)) == 5
    assert capsys.readouterr().out == (
        "[WeightsLab] Evaluation 'val_loader' @ step 2 failed — RuntimeError: out of cheese\n"
    )
    assert state()["last"]["state"] == "failed" and journal()[0]["state"] == "failed"
    assert not wl.status()["paused"] and training.model.training


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_script_passes_through_and_leaves_all_in_order(error: type) -> None:
    """Ctrl-C in an evaluation is the user's; the next one works."""
    training = Training()
    fails = [True]

    @wl.eval_fn
    def evaluate(loader: Any) -> None:
        for inputs, targets, _ in loader:
            training.loss(training.model(inputs), targets)
            if fails:
                raise error

    wl.request_evaluation("val_loader")
    with pytest.raises(error):
        training.epoch()
    assert state()["last"]["state"] == "failed" and state()["running"] is None
    assert not current().recording.is_diverted and not wl.status()["paused"]
    assert torch.is_grad_enabled() and training.model.training
    fails.clear()
    wl.request_evaluation("val_loader")
    training.epoch()
    assert [number for number, _, _ in curve()] == ["1"]
    assert len(curve(marked=False)) == 5


def test_a_pass_that_takes_too_long_has_failed() -> None:
    """The timeout ends the loop of the function, and is no cancellation."""
    Training()
    wl.request_evaluation("val_loader", timeout=1e-9)
    assert wl.run_pending_evaluation()
    assert state()["last"]["state"] == "failed" and "EvaluationTimeout" in state()["last"]["error"]
    assert curve() == []


def test_cancelled_while_it_waits_it_never_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is recorded; the pause that it made is over."""
    training = Training()
    evaluations = current().evaluations
    request = wl.request_evaluation("val_loader")
    assert wl.status()["paused"] and evaluations.cancel(request)
    assert not evaluations.cancel(request) and not wl.status()["paused"]
    training.epoch()
    assert curve() == []
    assert capsys.readouterr().out == (
        "[WeightsLab] Evaluation 'val_loader' cancelled — it was cancelled\n"
    )


@pytest.mark.parametrize("swallows", [False, True])
def test_cancelled_while_it_runs_it_ends_at_the_next_batch(*, swallows: bool) -> None:
    """It publishes nothing, also where the function catches what ends it."""
    training = Training()
    seen: list[int] = []

    @wl.eval_fn
    def evaluate(loader: Any) -> None:
        try:
            for inputs, targets, _ in loader:
                training.loss(training.model(inputs), targets)
                seen.append(len(inputs))
                assert current().evaluations.cancel(state()["running"]["id"])
        except Exception:
            if not swallows:
                raise

    wl.request_evaluation("val_loader")
    assert wl.run_pending_evaluation()
    last = state()["last"]
    assert seen == [4] and curve() == [] and last["state"] == "cancelled"
    assert (last["done"], last["total"]) == (1, 5)


def test_a_loader_that_nobody_watches_is_refused_at_the_call() -> None:
    """The error names those that are watched, and the nearest."""
    Training()
    with pytest.raises(UnknownOptionError, match=r"'vol_loader'; did you mean 'val_loader'\?"):
        wl.request_evaluation("vol_loader")
    assert state()["pending"] == [] and not wl.status()["paused"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"loader_name": 3}, "loader_name"),
        ({"loader_name": "val_loader", "tags": []}, "tags"),
        ({"loader_name": "val_loader", "tags": [""]}, "tags"),
        ({"loader_name": "val_loader", "timeout": 0}, "timeout"),
        ({"loader_name": "val_loader", "timeout": "1"}, "timeout"),
    ],
)
def test_a_request_that_means_nothing_is_refused(arguments: Any, said: str) -> None:
    """The message names the argument, and nothing waits."""
    Training()
    with pytest.raises(InputError, match=said):
        wl.request_evaluation(**arguments)
    assert state()["pending"] == []


def _yields(loader: Any) -> Any:
    yield from loader


async def _later(loader: Any) -> None:
    list(loader)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: wl.run_pending_evaluation(loaders=3), "loaders"),
        (lambda: wl.run_pending_evaluation(loaders={"val": 3}), "loaders"),
        (lambda: wl.run_pending_evaluation(loaders={3: []}), "loaders"),
        (lambda: wl.run_pending_evaluation(eval_fn=3), "function"),  # type: ignore[arg-type]
        (lambda: wl.eval_fn(3), "function"),  # type: ignore[type-var]
        (lambda: wl.eval_fn(int), "function"),
        (lambda: wl.eval_fn(_yields), "without yield or async"),
        (lambda: wl.eval_fn(_later), "without yield or async"),
        (lambda: wl.eval_fn(lambda: None), "one argument, the loader"),
        (lambda: wl.eval_fn()(lambda loader, model: None), "one argument, the loader"),
        (lambda: wl.run_pending_evaluation(model=nn.Linear), "model"),
    ],
)
def test_what_cannot_evaluate_is_refused(call: Callable[[], object], said: str) -> None:
    """At the call, where the user is."""
    with pytest.raises(InputError, match=said):
        call()


def test_a_function_may_be_decorated_with_brackets() -> None:
    """Both spellings mean the same, as those of wl.signal do."""

    @wl.eval_fn()
    def evaluate(loader: Any) -> None:
        pass

    assert current().evaluations.eval_fn is evaluate


def test_a_session_that_only_looks_refuses_at_the_call(tmp_path: Path) -> None:
    """It has nowhere to record what an evaluation finds; nothing waits."""
    with wl.Session(tmp_path):
        wl.save_signals({"loss": [1.0]}, ["a"], step=0)
    with wl.Session(tmp_path, mode="r"):
        wl.watch_or_edit([(1.0, "a")], flag="data", loader_name="val")
        with pytest.raises(ReadOnlyError, match='mode="w"'):
            wl.request_evaluation("val")
        assert state()["pending"] == []


@pytest.mark.parametrize(
    ("names", "said"), [([], "there is no model"), (["G", "D"], "'G', 'D'.*model=.*@wl.eval_fn")]
)
def test_where_no_model_is_the_one_the_error_says_what_to_do(names: list[str], said: str) -> None:
    """None is watched, or several with names of their own."""
    for name in names:
        wl.watch_or_edit(nn.Linear(4, 3), flag="model", obj_name=name)
    wl.watch_or_edit(nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="loss")
    wl.watch_or_edit([(torch.ones(4), 0)], flag="data", loader_name="val")
    request = wl.request_evaluation("val")
    with pytest.warns(WeightsLabWarning):
        assert wl.run_pending_evaluation()
    error = finished(request).error
    assert error is not None and re.search(said, error)


def test_a_closed_session_refuses_and_says_what_it_leaves_undone(tmp_path: Path) -> None:
    """A script that ends with a request in the queue is told how to have it run."""
    with pytest.warns(WeightsLabWarning) as caught, wl.Session(tmp_path / "run") as session:
        Training()
        session.evaluations.controller.underway.quiet_s = 1e9
        session.evaluations.controller.sign()
        wl.request_evaluation("val_loader")
    assert "keep_serving" in str(caught[0].message)
    (outcome,) = session.evaluations.controller.outcomes
    assert outcome.state == "cancelled"
    with pytest.raises(StateError, match="closed"):
        session.evaluations.request("val_loader")


def test_a_request_that_nobody_takes_is_said_with_a_way_out() -> None:
    """The loop that calls has stopped to do so, and its iterator is still open."""
    training = Training()
    evaluations = current().evaluations
    evaluations.worker.late_s = 0.05
    iterator = iter(training.train)
    next(iterator)
    with pytest.warns(WeightsLabWarning) as caught:
        request = wl.request_evaluation("val_loader")
        evaluations.worker._thread.join(1)  # type: ignore[union-attr]
    assert "wl.run_pending_evaluation()" in str(caught[0].message)
    evaluations.cancel(request)


def test_a_worker_process_is_no_place_for_the_verbs() -> None:
    """The error says where to call them."""

    class Calls(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> np.ndarray[Any, Any]:
            wl.run_pending_evaluation()
            return np.zeros(1)

    with pytest.raises(Exception, match="DataLoader worker"):
        list(DataLoader(Calls(), num_workers=1))
