"""What fires what, in which order, and where the results stand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weightslab as wl
from tests.signals.support import Gate, feed, said, series
from weightslab.session import current


def recorder(calls: list[str], name: str, value: float | None = 1.0) -> Callable[[Any], Any]:
    def function(ctx: Any) -> float | None:
        calls.append(f"{name}:{ctx.sample_id}")
        return value

    return function


# -- order ------------------------------------------------------------------------


def test_chains_fire_breadth_first() -> None:
    """All subscribers of a value come before those of its results, and these before the next."""
    calls: list[str] = []
    for name, source in [("a", "loss"), ("aa", "a"), ("b", "loss"), ("aaa", "aa"), ("bb", "b")]:
        wl.signal(name=name, subscribe_to=source)(recorder(calls, name))
    feed("loss", [0], ["x"])
    feed("loss", [1], ["y"])
    wl.history()
    once = ["a", "b", "aa", "bb", "aaa"]
    assert calls == [f"{name}:{sample}" for sample in ("x", "y") for name in once]


def test_signals_of_one_save_come_in_its_order() -> None:
    """Of several values that are saved together, the first fires first."""
    calls: list[str] = []
    for name, source in [("of_b", "b"), ("of_a", "a")]:
        wl.signal(name=name, subscribe_to=source)(recorder(calls, name))
    wl.save_signals({"a": [1.0], "b": [2.0]}, ["x"], step=0)
    wl.history()
    assert calls == ["of_a:x", "of_b:x"]


def test_a_result_that_is_none_fires_nobody() -> None:
    """Whoever subscribes to a signal gets the samples that have a value, and their own values."""
    calls: list[str] = []
    wl.signal(name="odd", subscribe_to="loss")(lambda ctx: 9.0 if ctx.sample_id == "b" else None)
    wl.signal(name="after", subscribe_to="odd")(
        lambda ctx: calls.append(f"{ctx.sample_id}={ctx.subscribed_value}")
    )
    feed("loss", [4])
    assert series("odd") == {"b": [(4, 9.0)]}
    assert calls == ["b=9.0"]


def test_the_same_run_twice_gives_the_same_values() -> None:
    """However the threads are scheduled: values, their order and their history are one."""

    def once(folder: str) -> list[Any]:
        with wl.Session(folder):

            @wl.signal(name="mean", subscribe_to="loss", include_history=True)
            def mean(ctx: Any) -> float:
                values = [entry["signal_value"] for entry in ctx.subscribed_history]
                return sum(values, ctx.subscribed_value) / (len(values) + 1)

            @wl.signal(name="rank", subscribe_to="mean", batched=True)
            def rank(ctx: Any) -> Any:
                return ctx.subscribed_value.argsort() + ctx.history(last=3).values.sum(1)

            rng = np.random.default_rng(3)
            for step in range(60):
                ids = [str(n) for n in rng.choice(40, 8, replace=False)]
                wl.save_signals({"loss": rng.random(8, np.float32)}, ids, step=step)
            return [row[:3] for name in ("mean", "rank") for row in wl.query_signal_history(name)]

    first = once("first")
    assert len(first) == 2 * 60 * 8
    assert once("second") == first


# -- where results stand ------------------------------------------------------------


def test_results_belong_to_the_hash_of_their_values() -> None:
    """A signal that lags behind a change of the experiment does not mix the two."""
    gate = Gate()
    with wl.Session("run") as session:

        @wl.signal(name="late", subscribe_to="loss")
        def late(ctx: Any) -> float:
            gate()
            return ctx.subscribed_value

        feed("loss", [0])
        before = wl.get_current_experiment_hash()
        assert gate.reached.wait(30)
        wl.discard_samples(["a"])
        feed("loss", [1], ["b"])
        after = wl.get_current_experiment_hash()
        gate.open.set()
        rows = wl.history("late").select("step", "sample_id", "experiment_hash").rows()
        assert before != after
        assert sorted(rows) == [(0, "a", before), (0, "b", before), (1, "b", after)]
        assert session.ledger.experiment_hash == after
        assert sorted(wl.history("loss")["experiment_hash"].unique()) == sorted([before, after])


def test_accumulated_batches_share_a_step() -> None:
    """Several batches of one step: each fires, the curve has their mean, history has them all."""

    @wl.signal(name="length", subscribe_to="loss", include_history=True)
    def length(ctx: Any) -> float:
        return float(len(ctx.subscribed_history))

    for step in range(3):
        for ids in (["a", "b"], ["a", "c"]):
            wl.save_signals({"loss": [1.0, 2.0]}, ids, step=step)
    assert series("length") == {
        "a": [(0, 0.0), (0, 1.0), (1, 2.0), (1, 3.0), (2, 4.0), (2, 5.0)],
        "b": [(0, 0.0), (1, 1.0), (2, 2.0)],
        "c": [(0, 0.0), (1, 1.0), (2, 2.0)],
    }
    assert wl.history("length", kind="global")["value"].to_list() == [0.25, 1.75, 3.25]


def test_an_id_twice_in_a_batch() -> None:
    """Two rows fire twice, in order; what came before is the same for both."""
    seen: list[tuple[float, list[float]]] = []

    @wl.signal(name="twice", subscribe_to="loss", include_history=True)
    def twice(ctx: Any) -> float:
        seen.append((ctx.subscribed_value, [e["signal_value"] for e in ctx.subscribed_history]))
        return ctx.subscribed_value

    for step in range(2):
        wl.save_signals({"loss": [step + 0.25, step + 0.5]}, ["a", "a"], step=step)
    assert series("twice") == {"a": [(0, 0.25), (0, 0.5), (1, 1.25), (1, 1.5)]}
    assert seen == [(0.25, []), (0.5, []), (1.25, [0.25, 0.5]), (1.5, [0.25, 0.5])]


def test_special_values_go_in_and_out() -> None:
    """NaN, infinities and 1e300 reach the function, its history and the run as they are."""
    given = [float("nan"), float("inf"), 1e300, -0.0]
    seen: list[float] = []

    @wl.signal(name="same", subscribe_to="loss", include_history=True)
    def same(ctx: Any) -> float:
        seen.extend(entry["signal_value"] for entry in ctx.subscribed_history[-1:])
        return ctx.subscribed_value

    for step in range(2):
        wl.save_signals({"loss": given}, ["a", "b", "c", "d"], step=step)
    found = [points[0][1] for points in series("same").values()]
    for values in (found, seen):
        assert math.isnan(values[0])
        assert values[1:] == given[1:]
        assert math.copysign(1, values[3]) == -1


def test_values_of_instances() -> None:
    """Each instance is called with its number and its own history, and keeps its own result."""

    @wl.signal(name="length", subscribe_to="iou", include_history=True)
    def length(ctx: Any) -> float | None:
        assert [e["signal_value"] for e in ctx.subscribed_history] == [
            float(ctx.annotation_id)
        ] * len(ctx.subscribed_history)
        return None if ctx.sample_id == "b" else float(len(ctx.subscribed_history))

    for step in range(40):
        wl.save_instance_signals({"iou": [1.0, 1.0, 2.0]}, ["a", "b"], [0, 1, 0], step=step)
    for annotation in (1, 2):
        rows = wl.query_instance_history("a", annotation, "length")
        assert [row[2] for row in rows] == [float(step) for step in range(40)]
    assert wl.query_instance_history("b", 1, "length") == []
    assert said() == ""


def test_values_of_a_curve() -> None:
    """A plain number fires once, without a sample, with its history; log=False keeps no curve."""
    seen: list[Any] = []

    @wl.signal(
        name="length", subscribe_to="lr", include_history=True, include_history_metadata=True
    )
    def length(ctx: Any) -> float:
        seen.append((ctx.sample_id, ctx.annotation_id, ctx.origin, ctx.step))
        assert [e["model_age"] for e in ctx.subscribed_history] == list(range(ctx.step))
        return float(len(ctx.subscribed_history))

    wl.signal(name="quiet", subscribe_to="lr", log=False)(lambda ctx: 1.0)
    for step in range(40):
        wl.save_signals({"lr": 0.5}, None, step=step)
    frame = wl.history("length", kind="global")
    assert frame["value"].to_list() == [float(step) for step in range(40)]
    assert seen == [(None, None, None, step) for step in range(40)]
    assert wl.history("quiet", kind="global").is_empty()
    assert said() == ""


# -- batched --------------------------------------------------------------------------


def test_a_batch_at_once() -> None:
    """Arrays in, one result for each out: None among them, and none at all, mean no value."""
    contexts: list[Any] = []

    @wl.signal(name="some", subscribe_to="loss", batched=True)
    def some(ctx: Any) -> Any:
        contexts.append(ctx)
        ctx.subscribed_value[:] = 7  # its own copy
        return [None, 2.0] if ctx.step == 0 else None

    wl.signal(name="after", subscribe_to="loss")(lambda ctx: ctx.subscribed_value)
    feed("loss", [0, 1])
    assert series("some") == {"b": [(0, 2.0)]}
    assert series("after") == series("loss")
    assert [(list(c.sample_ids), c.sample_id, c.annotation_id) for c in contexts] == [
        (["a", "b"], None, None)
    ] * 2
    assert isinstance(contexts[0], wl.SignalContext)
    assert contexts[0].is_dynamic


def test_a_batch_of_instances_and_of_a_curve() -> None:
    """The instances' numbers come as an array; a curve is a batch of one without samples."""
    seen: list[Any] = []

    @wl.signal(name="x", subscribe_to="loss", batched=True)
    def x(ctx: Any) -> Any:
        ids = None if ctx.annotation_ids is None else ctx.annotation_ids.tolist()
        seen.append((list(ctx.sample_ids), ids, ctx.history().counts.tolist()))
        return ctx.subscribed_value

    for step in range(2):
        wl.save_instance_signals({"loss": [1.0, 2.0]}, ["a"], [0, 0], step=step)
        wl.save_signals({"loss": 3.0}, None, step=step)
    wl.history()
    assert seen == [
        (["a", "a"], [1, 2], [0, 0]), ([], None, [0]), (["a", "a"], [1, 2], [1, 1]), ([], None, [1])
    ]  # fmt: skip
    assert wl.history("x", kind="global")["value"].to_list() == [3.0, 3.0]
    assert said() == ""


# -- what goes wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ValueError("mine"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()]
)
def test_what_a_function_raises_costs_its_own_value(error: BaseException) -> None:
    """Even what would end a thread: the other samples, signals and steps have their values."""

    @wl.signal(name="broken", subscribe_to="loss")
    def broken(ctx: Any) -> float:
        if ctx.sample_id == "a":
            raise error
        return 1.0

    wl.signal(name="fine", subscribe_to="loss")(lambda ctx: 2.0)
    with pytest.warns(wl.WeightsLabWarning) as caught:
        feed("loss", [0, 1])
        assert series("broken") == {"b": [(0, 1.0), (1, 1.0)]}
    assert series("fine") == {"a": [(0, 2.0), (1, 2.0)], "b": [(0, 2.0), (1, 2.0)]}
    (message,) = {str(one.message) for one in caught}
    assert len(caught) == 1
    assert "'broken' failed" in message
    assert type(error).__name__ in message
    assert "raise error" in message  # the line of the function
    assert "call.py" not in message  # and no frame of ours
    assert wl.status()["signals"]["failed"] == {"broken": 2}


@pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")
def test_a_batch_that_fails_costs_its_batch() -> None:
    """Counted once for each of its values."""

    @wl.signal(name="broken", subscribe_to="loss", batched=True)
    def broken(ctx: Any) -> Any:
        return [1.0] if ctx.step == 0 else np.zeros(2)

    feed("loss", [0, 1])
    assert series("broken") == {"a": [(1, 0.0)], "b": [(1, 0.0)]}
    assert wl.status()["signals"]["failed"] == {"broken": 2}
    assert "[2]; it returned [1]" in said()


@pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")
def test_a_result_that_is_no_number() -> None:
    """The error is the function's: counted, said once, and nothing is saved."""
    wl.signal(name="text", subscribe_to="loss")(lambda ctx: "high")
    feed("loss", [0])
    assert series("text") == {}
    assert wl.status()["signals"]["failed"] == {"text": 2}
    assert "it returned a str" in said()


@pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")
def test_a_signal_that_saves_what_fires_it_goes_in_no_circle() -> None:
    """What it saved is kept and fires nothing more; the chain is named."""

    @wl.signal(name="echo", subscribe_to="loss")
    def echo(ctx: Any) -> float:
        wl.save_signals({"loss": [ctx.subscribed_value / 2]}, [ctx.sample_id])
        return 1.0

    feed("loss", [3], ["a"])
    assert series("loss") == {"a": [(3, 3.0), (3, 1.5)]}
    assert series("echo") == {"a": [(3, 1.0)]}
    assert "loss -> loss" in said()


def test_what_a_signal_saves_itself_fires_its_subscribers() -> None:
    """Saved by hand within a signal: at the step of the firing, before the next value is taken."""
    calls: list[str] = []

    @wl.signal(name="pair", subscribe_to="loss")
    def pair(ctx: Any) -> None:
        calls.append(f"pair:{ctx.step}")
        wl.save_signals({"low": [0.0], "high": [1.0]}, [ctx.sample_id])

    wl.signal(name="top", subscribe_to="high")(lambda ctx: calls.append(f"top:{ctx.step}"))
    feed("loss", [5, 9], ["a"])
    assert series("high") == {"a": [(5, 1.0), (9, 1.0)]}
    assert calls == ["pair:5", "top:5", "pair:9", "top:9"]
    assert said() == ""


def test_the_session_is_that_of_the_values() -> None:
    """Verbs within a signal act on its own run, whichever session is entered meanwhile."""
    gate = Gate()
    with wl.Session("first") as first:

        @wl.signal(name="tagger", subscribe_to="loss")
        def tagger(ctx: Any) -> float:
            gate()
            wl.tag_samples([ctx.sample_id], "seen")
            return float(current() is first)

        feed("loss", [0], ["a"])
        assert gate.reached.wait(30)
        with wl.Session("second"):
            gate.open.set()
            first.settled()
            assert wl.get_samples_by_tag("seen", origin=None) == []
        assert series("tagger") == {"a": [(0, 1.0)]}
        assert wl.get_samples_by_tag("seen", origin=None) == ["a"]
