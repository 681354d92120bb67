"""What api.md says of signals that fail, of their order, and of whoever reads."""

from __future__ import annotations

import time
from typing import Any

import polars as pl
import pytest

import weightslab as wl
from tests.spec.support import Training, feed, said, series, triples

# -- errors, order, reading ----------------------------------------------------------


def test_one_failing_sample() -> None:
    """api.md: "one failing sample is counted and warned of once, and does not lose the others"."""

    @wl.signal(name="inverse", subscribe_to="loss")
    def inverse(ctx: Any) -> float:
        return 1.0 / (ctx.subscribed_value - 1.0)

    with wl.Session("run") as session:
        with pytest.warns(wl.WeightsLabWarning) as caught:
            feed("loss", range(3), ("a", "b", "c"))
            assert set(series("inverse")) == {"b", "c"}
        assert len(caught) == 1
        assert "inverse" in said(session)
        assert "ZeroDivisionError" in said(session)
        assert list(session.notices.counts().values()) == [3]


@pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")
def test_a_failing_signal_does_not_touch_the_training() -> None:
    """A signal that always fails costs its own values only: every loss is recorded."""

    @wl.signal(name="broken", subscribe_to="train_loss")
    def broken(_: Any) -> float:
        raise RuntimeError("mine")

    @wl.signal(name="fine", subscribe_to="train_loss")
    def fine(ctx: Any) -> float:
        return ctx.subscribed_value

    with wl.Session("run") as session:
        Training("train_loss").run()
        assert len(triples("train_loss")) == len(triples("fine")) == 32
        assert "mine" in said(session)
        assert len(session.notices.messages()) == 1
        assert triples("broken") == []


def test_order_is_that_of_the_values_and_of_registration() -> None:
    """Issue 4: "in a stable order": values as they came, subscribers as they were registered."""
    got: list[tuple[str, float]] = []
    for name in ("first", "second"):
        wl.signal(name=name, subscribe_to="loss")(
            lambda ctx, n=name: got.append((n, ctx.subscribed_value))
        )
    for step in range(4):
        wl.save_signals({"loss": [float(step)]}, ["a"], step=step)
    wl.history()
    assert got == [(name, float(step)) for step in range(4) for name in ("first", "second")]


READERS: dict[str, Any] = {
    "history": lambda: wl.history("half").height,
    "scan_history": lambda: wl.scan_history("half").collect().height,
    "samples": lambda: wl.samples().filter(pl.col("signals//half") == 0.5).height,
    "query_signal_history": lambda: len(wl.query_signal_history("half")),
    "query_sample_history": lambda: len(wl.query_sample_history("a", "half")),
    "get_samples_by_tag": lambda: len(wl.get_samples_by_tag("seen")),
    "get_discarded_samples": lambda: len(wl.get_discarded_samples()),
    "write_history": lambda: wl.write_history("h.csv", format="csv", graph_name="half",
                                              type_of_history="sample").read_text().count("half"),
    "write_dataframe": lambda: "signals//half" in wl.write_dataframe("d.json").read_text(),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_whoever_reads_waits_for_the_signals(reader: str) -> None:
    """api.md: "side effects in signals … drained before any query or export returns"."""

    @wl.signal(name="half", subscribe_to="loss")
    def half(ctx: Any) -> float:
        time.sleep(0.02)
        wl.tag_samples([ctx.sample_id], "seen")
        wl.discard_samples([ctx.sample_id])
        return 0.5 * ctx.subscribed_value

    feed("loss", range(1), ("a",))
    assert READERS[reader]() == 1


def test_reading_inside_a_signal() -> None:
    """Draining is no wait for oneself: a signal may query, export and tag."""

    @wl.signal(name="count", subscribe_to="loss")
    def count(ctx: Any) -> float:
        wl.samples()
        wl.write_dataframe("inside.json")
        return float(len(wl.query_sample_history(ctx.sample_id, signal_name="loss")))

    with wl.Session("run") as session:
        for step in range(3):
            feed("loss", range(step, step + 1), ("a",))
            assert triples("count")[-1] == ("a", step, step + 1.0)
        assert said(session) == ""


# -- sessions ------------------------------------------------------------------------


def test_signals_of_a_module_reach_the_session_that_is_entered() -> None:
    """A decorator at the top of a script holds for `with wl.Session(...)` below it."""

    @wl.signal(name="half", subscribe_to="loss")
    def half(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    with wl.Session("run"):
        feed("loss", range(1))
        assert len(triples("half")) == 2


def test_reset_forgets_them() -> None:
    """api.md: "`wl.reset()` starts afresh"."""
    wl.signal(name="half", subscribe_to="loss")(lambda ctx: 0.5 * ctx.subscribed_value)
    wl.reset()
    feed("loss", range(1))
    assert len(triples("loss")) == 2
    with wl.Session("run") as session:
        feed("loss", range(1))
        assert wl.history("half").is_empty()
        assert len(session.notices.messages()) == 1  # there is no such signal
