"""The seed's section "signal": `include_history`, and what api.md says of `batched`."""

from __future__ import annotations

from typing import Any

import pytest

import weightslab as wl
from tests.spec.support import feed, said, series, triples

# -- history -------------------------------------------------------------------------


def test_history_is_what_came_before() -> None:
    """api.md: "earlier values of that sample in this run, oldest first, without the current …"."""
    got: list[list[dict[str, Any]]] = []

    @wl.signal(name="length", subscribe_to="loss", include_history=True)
    def length(ctx: Any) -> float:
        if ctx.sample_id == "a":
            got.append(ctx.subscribed_history)
        return float(len(ctx.subscribed_history))

    for step, value in enumerate((0.5, 0.25, 0.125)):
        wl.save_signals({"loss": [value, 9.0]}, ["a", "b"], step=step)
    assert [row[2] for row in triples("length")] == [0, 1, 2, 0, 1, 2]
    assert got == [
        [],
        [{"signal_value": 0.5}],
        [{"signal_value": 0.5}, {"signal_value": 0.25}],
    ]


def test_history_with_metadata() -> None:
    """Quoted: "model_age (int): training step when recorded (… include_history_metadata=True)"."""
    got: list[list[dict[str, Any]]] = []

    @wl.signal(name="x", subscribe_to="loss", include_history=True, include_history_metadata=True)
    def x(ctx: Any) -> None:
        got.append(ctx.subscribed_history)

    for step in (3, 8, 21):
        wl.save_signals({"loss": [step / 4]}, ["a"], step=step)
    wl.history()
    assert got[-1] == [
        {"signal_value": 0.75, "model_age": 3},
        {"signal_value": 2.0, "model_age": 8},
    ]
    assert all(type(entry["model_age"]) is int for entry in got[-1])
    assert all(type(entry["signal_value"]) is float for entry in got[-1])


def test_history_between_the_firings_counts() -> None:
    """The throttle spares calls, not history: it is every earlier value of the sample."""

    @wl.signal(name="sum", subscribe_to="loss", compute_every_n_steps=5, include_history=True)
    def total(ctx: Any) -> float:
        return sum(entry["signal_value"] for entry in ctx.subscribed_history)

    feed("loss", range(10), ("a",))
    assert triples("sum") == [("a", 4, 4.0), ("a", 9, 9.0)]


def test_a_long_history() -> None:
    """A history of any length is whole, and in order."""

    @wl.signal(
        name="sorted", subscribe_to="loss", include_history=True, include_history_metadata=True
    )
    def ordered(ctx: Any) -> float:
        ages = [entry["model_age"] for entry in ctx.subscribed_history]
        assert ages == list(range(len(ages)))
        return float(len(ages))

    feed("loss", range(120))
    for points in series("sorted").values():
        assert points == [(step, float(step)) for step in range(120)]


def test_history_of_a_signal_that_comes_late() -> None:
    """Values from before the signal was made belong to the run, and so to its history."""
    feed("loss", range(3), ("a",))

    @wl.signal(name="length", subscribe_to="loss", include_history=True)
    def length(ctx: Any) -> float:
        return float(len(ctx.subscribed_history))

    feed("loss", range(3, 5), ("a",))
    assert triples("length") == [("a", 3, 3.0), ("a", 4, 4.0)]


def test_history_is_of_this_launch() -> None:
    """api.md: "`subscribed_history` … look at this launch and those it resumed from"."""
    for first in (0, 10):
        with wl.Session("run"):

            @wl.signal(
                name="x",
                subscribe_to="loss",
                include_history=True,
                include_history_metadata=True,
            )
            def x(ctx: Any) -> float:
                return float(sum(entry["model_age"] for entry in ctx.subscribed_history))

            feed("loss", range(first, first + 2), ("a",))
            assert [row[1:] for row in triples("x")][-2:] == [(first, 0.0), (first + 1, first)]


# -- batched -------------------------------------------------------------------------


def test_batched() -> None:
    """api.md: "`@wl.signal(batched=True)` gets arrays of the batch and returns `[B]`"."""
    calls = []

    @wl.signal(name="centred", subscribe_to="loss", batched=True)
    def centred(ctx: Any) -> Any:
        calls.append(list(ctx.sample_ids))
        return ctx.subscribed_value - ctx.subscribed_value.mean()

    feed("loss", range(1), ("a", "b", "c"))
    assert triples("centred") == [("a", 0, -1.0), ("b", 0, 0.0), ("c", 0, 1.0)]
    assert calls == [["a", "b", "c"]]


def test_batched_history() -> None:
    """api.md: "the context then has `history()` for all of it in one read"."""
    got = []

    @wl.signal(name="x", subscribe_to="loss", batched=True, include_history=True)
    def x(ctx: Any) -> Any:
        past = ctx.history()
        got.append([v[:n].tolist() for v, n in zip(past.values, past.counts, strict=True)])
        return ctx.subscribed_value

    wl.save_signals({"loss": [1.0, 2.0]}, ["a", "b"], step=0)
    wl.save_signals({"loss": [3.0]}, ["b"], step=1)
    wl.save_signals({"loss": [4.0, 5.0]}, ["a", "b"], step=2)
    wl.history()
    assert got == [[[], []], [[2.0]], [[1.0], [2.0, 3.0]]]


def test_batched_of_another_length() -> None:
    """A result that is not one value for each sample is refused: said with both lengths, once."""

    @wl.signal(name="x", subscribe_to="loss", batched=True)
    def x(_: Any) -> Any:
        return [1.0, 2.0, 3.0]

    with wl.Session("run") as session:
        with pytest.warns(wl.WeightsLabWarning):
            feed("loss", range(2))
            assert wl.history("x").is_empty()
        assert "3" in said(session) and "2" in said(session) and "x" in said(session)
        assert len(session.notices.messages()) == 1
