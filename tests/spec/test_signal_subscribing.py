"""The seed's section "signal": `subscribe_to`, `compute_every_n_steps`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

import weightslab as wl
from tests.spec.support import Training, curve, feed, said, series, triples
from weightslab.errors import InputError

# -- subscribe_to --------------------------------------------------------------------


def test_fires_whenever_the_named_signal_is_logged() -> None:
    """Quoted: "fires whenever the named metric/loss/signal is logged, receiving its value as …"."""
    got = []

    @wl.signal(name="seen", subscribe_to="loss")
    def seen(ctx: Any) -> None:
        got.append((ctx.sample_id, ctx.subscribed_value))

    feed("loss", range(2))
    feed("other", range(2))
    wl.history()
    assert got == [("a", 1.0), ("b", 2.0)] * 2


@pytest.mark.parametrize("spelling", ["loss", "signals//loss"])
@pytest.mark.parametrize("saved", ["loss", "signals//loss"])
def test_both_spellings_of_the_subscribed_signal(spelling: str, saved: str) -> None:
    """api.md: "both spellings are found"."""

    @wl.signal(name="half", subscribe_to=spelling)
    def half(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    feed(saved, range(1))
    assert len(triples("half")) == 2


def test_fires_on_other_signals() -> None:
    """api.md: "fires on watched and on hand-saved values and on other signals"."""

    @wl.signal(name="half", subscribe_to="loss")
    def half(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    @wl.signal(name="quarter", subscribe_to="half")
    def quarter(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    feed("loss", range(1))
    assert triples("quarter") == [("a", 0, 0.25), ("b", 0, 0.5)]


def test_a_subscriber_may_come_before_what_it_subscribes_to() -> None:
    """The name is looked up when values come, so the order of definitions is free."""

    @wl.signal(name="quarter", subscribe_to="half")
    def quarter(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    @wl.signal(name="half", subscribe_to="loss")
    def half(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    feed("loss", range(1))
    assert triples("quarter") == [("a", 0, 0.25), ("b", 0, 0.5)]


def test_one_that_comes_in_the_middle_of_a_training() -> None:
    """A signal hears what is saved after it was made."""
    feed("loss", range(2))

    @wl.signal(name="half", subscribe_to="loss")
    def half(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    feed("loss", range(2, 4))
    assert [row[1] for row in triples("half")] == [2, 3, 2, 3]


def test_cycles_are_refused_with_the_chain_named() -> None:
    """api.md: "(cycles are refused with the chain named)"."""
    wl.signal(name="second", subscribe_to="first")(lambda ctx: 1.0)
    wl.signal(name="third", subscribe_to="second")(lambda ctx: 1.0)
    with pytest.raises(InputError) as refused:
        wl.signal(name="first", subscribe_to="third")(lambda ctx: 1.0)
    assert all(name in str(refused.value) for name in ("first", "second", "third"))
    with pytest.raises(InputError, match="itself"):
        wl.signal(name="itself", subscribe_to="signals//itself")(lambda ctx: 1.0)


def test_a_refused_cycle_leaves_the_others_at_work() -> None:
    """What was refused was not registered."""
    wl.signal(name="second", subscribe_to="first")(lambda ctx: ctx.subscribed_value + 1)
    with pytest.raises(InputError):
        wl.signal(name="first", subscribe_to="second")(lambda ctx: 1.0)
    feed("first", range(1), ("a",))
    assert triples("second") == [("a", 0, 2.0)]


def test_a_name_that_is_decorated_again_is_replaced() -> None:
    """A notebook's cell that runs twice counts once, and the newer function is the one."""
    for factor in (2.0, 3.0):
        wl.signal(name="scaled", subscribe_to="loss")(
            lambda ctx, f=factor: f * ctx.subscribed_value
        )
    feed("loss", range(1), ("a",))
    assert triples("scaled") == [("a", 0, 3.0)]


def test_a_name_that_never_comes() -> None:
    """An empty answer says what the signal waits for, and the nearest name."""
    wl.signal(name="half", subscribe_to="los")(lambda ctx: 0.5 * ctx.subscribed_value)
    with wl.Session("run") as session:
        assert wl.query_signal_history("half") == []
        assert said(session) == ""  # a question before the first answer is no mistake
        feed("loss", range(1))
        with pytest.warns(wl.WeightsLabWarning) as caught:
            assert wl.query_signal_history("half") == []
        assert len(caught) == 1
        assert "'half' waits for, 'los': did you mean 'loss'?" in said(session)


@pytest.mark.parametrize("source", [["loss"], 3, print])
def test_what_is_no_name_to_subscribe_to(source: Any) -> None:
    """The error says which argument, what it takes and what came."""
    with pytest.raises(InputError, match="subscribe_to is the name of one signal"):
        wl.signal(name="x", subscribe_to=source)


def test_what_has_no_name_of_its_own() -> None:
    """Two lambdas without names would be one signal."""
    with pytest.raises(InputError, match="name="):
        wl.signal(subscribe_to="loss")(lambda ctx: ctx.subscribed_value)


def test_omitted_the_signal_is_static() -> None:
    """Quoted: "If omitted, the signal is static": nothing that is logged fires it."""
    got = []
    wl.signal(name="brightness")(got.append)
    feed("loss", range(3))
    wl.history()
    assert got == []


def test_a_signal_of_a_curve() -> None:
    """A plain number of the curve fires once, of no sample; the result is on the curve."""
    got = []

    @wl.signal(name="double", subscribe_to="lr")
    def double(ctx: Any) -> float:
        got.append(ctx.sample_id)
        return 2.0 * ctx.subscribed_value

    wl.save_signals({"lr": 0.25}, ["a", "b"], step=4)
    assert curve("double") == [(4, 0.5)]
    assert triples("double") == []
    assert got == [None]


def test_a_signal_of_instances() -> None:
    """Per-instance values fire once an instance, and the results stand beside them."""
    got = []

    @wl.signal(name="bad", subscribe_to="iou")
    def bad(ctx: Any) -> float:
        got.append((ctx.sample_id, ctx.annotation_id))
        return 1.0 - ctx.subscribed_value

    wl.save_instance_signals({"iou": [0.25, 0.5, 0.75]}, ["a", "b"], [0, 1, 1], step=3)
    assert [row[:3] for row in wl.query_instance_history("b", 2, "bad")] == [("bad", 3, 0.25)]
    rows = wl.history("bad", kind="instance").select("sample_id", "annotation_id", "value").rows()
    assert rows == [("a", 1, 0.75), ("b", 1, 0.5), ("b", 2, 0.25)]
    assert got == [("a", 1), ("b", 1), ("b", 2)]


# -- compute_every_n_steps -----------------------------------------------------------


@pytest.mark.parametrize(("every", "steps"), [(1, 30), (10, 3), (25, 1), (31, 0)])
def test_throttle(every: int, steps: int) -> None:
    """api.md: "every n-th distinct step …: 30 steps with n = 10 fire 3 times"."""

    @wl.signal(name="half", subscribe_to="loss", compute_every_n_steps=every)
    def half(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    feed("loss", range(30))
    expected = [step for number, step in enumerate(range(30), 1) if number % every == 0]
    assert len(expected) == steps
    assert series("half") == (
        {name: [(step, value) for step in expected] for name, value in (("a", 0.5), ("b", 1.0))}
        if expected
        else {}
    )


def test_throttle_counts_the_steps_at_which_the_signal_appears() -> None:
    """Quoted: "10 = compute on every 10th step the subscribed metric is produced"."""

    @wl.signal(name="half", subscribe_to="loss", compute_every_n_steps=3)
    def half(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    feed("loss", range(0, 600, 100), ("a",))
    assert [row[1] for row in triples("half")] == [200, 500]


def test_every_batch_of_a_step_that_fires() -> None:
    """Two batches of one step are one step: no sample of a firing step is left out."""

    @wl.signal(name="half", subscribe_to="loss", compute_every_n_steps=2)
    def half(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    for step in range(4):
        wl.save_signals({"loss": [1.0]}, ["a"], step=step)
        wl.save_signals({"loss": [2.0]}, ["b"], step=step)
    assert series("half") == {"a": [(1, 0.5), (3, 0.5)], "b": [(1, 1.0), (3, 1.0)]}


def test_once_per_sample_in_the_batch() -> None:
    """Quoted: "invoked once per sample in the batch, with ctx.sample_id and … set for that …"."""
    calls: Counter[str] = Counter()

    @wl.signal(name="count", subscribe_to="train/clsf_sample", compute_every_n_steps=4)
    def count(ctx: Any) -> float:
        calls[ctx.sample_id] += 1
        return ctx.subscribed_value

    Training("train/clsf_sample").run(epochs=3)  # 12 steps of 8 samples
    losses = {(name, step): value for name, step, value in triples("train/clsf_sample")}
    found = {(name, step): value for name, step, value in triples("count")}
    assert sorted({step for _, step in found}) == [3, 7, 11]
    assert found == {key: losses[key] for key in found}
    assert len(found) == sum(calls.values()) == 24


@pytest.mark.parametrize("every", [0, -1, 1.5, "10", None, True])
def test_what_is_no_throttle(every: Any) -> None:
    """The error says what it takes and what came."""
    with pytest.raises(InputError, match="compute_every_n_steps"):
        wl.signal(name="x", subscribe_to="loss", compute_every_n_steps=every)
