"""The seed's section "signal": its signature, its examples, what is stored."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch

import weightslab as wl
from tests.spec.support import Training, curve, feed, said, series, table, triples


def test_signature() -> None:
    """Quoted: "name, subscribe_to, compute_every_n_steps: int = 1, include_history: bool = …"."""
    parameters = inspect.signature(wl.signal).parameters
    expected = {
        "name": None,
        "subscribe_to": None,
        "compute_every_n_steps": 1,
        "include_history": False,
        "include_history_metadata": False,
        "log": True,
    }
    assert {name: parameters[name].default for name in expected} == expected
    assert list(parameters)[:5] == list(expected)[:5]


# -- the examples --------------------------------------------------------------------


def test_simple_example() -> None:
    """The seed's example, verbatim, on a real training: "Scale the loss value by …"."""

    @wl.signal(name="weighted_loss", subscribe_to="train_loss", compute_every_n_steps=1)
    def weighted_loss(ctx):  # type: ignore[no-untyped-def]
        """Scale the loss value by a fixed weight."""
        return 0.0 if ctx.subscribed_value is None else 0.5 * float(ctx.subscribed_value)

    Training("train_loss").run(epochs=2)
    losses = triples("train_loss")
    assert len(losses) == 64
    assert triples("weighted_loss") == [(name, step, 0.5 * loss) for name, step, loss in losses]
    latest = {key: row["signals//train_loss"] for key, row in table().items()}
    assert {k: r["signals//weighted_loss"] for k, r in table().items()} == {
        key: pytest.approx(0.5 * loss) for key, loss in latest.items()
    }


def cv(values: list[float]) -> float:
    """What the page's second example says of a trajectory, written again."""
    if len(values) < 2:
        return 0.0
    mean = sum(values) / len(values)
    return (sum((x - mean) ** 2 for x in values) / len(values)) ** 0.5 / abs(mean)


def test_advanced_example_with_history() -> None:
    """The seed's example, verbatim: "coefficient of variation (CV) of loss across training …"."""

    @wl.signal(
        name="loss_cv_over_time",
        subscribe_to="train_mlt_loss/CE",
        compute_every_n_steps=1,
        include_history=True,
        include_history_metadata=False,
    )
    def compute_loss_cv_over_time(ctx):  # type: ignore[no-untyped-def]
        loss = ctx.subscribed_value
        loss_history = ctx.subscribed_history

        # Extract signal values from history entries
        historical_values = [entry["signal_value"] for entry in loss_history]
        all_values = historical_values + [loss]  # noqa: RUF005  # as the page has it

        if len(all_values) < 2:
            return 0.0

        mean = sum(all_values) / len(all_values)
        if mean == 0:
            return 0.0

        variance = sum((x - mean) ** 2 for x in all_values) / len(all_values)
        std_dev = variance**0.5

        return std_dev / abs(mean)

    Training("train_mlt_loss/CE").run(epochs=5)
    losses, found = series("train_mlt_loss/CE"), series("loss_cv_over_time")
    assert len(losses) == 32
    for name, points in losses.items():
        values = [value for _, value in points]
        assert [step for step, _ in found[name]] == [step for step, _ in points]
        assert [value for _, value in found[name]] == pytest.approx(
            [cv(values[: n + 1]) for n in range(5)], rel=1e-5, abs=1e-7
        )
    assert max(value for points in found.values() for _, value in points) > 0


# -- what is stored ------------------------------------------------------------------


def test_one_context_in_one_number_out() -> None:
    """Quoted: "receives a single SignalContext ctx and returns one scalar value per sample"."""
    got = []

    @wl.signal(name="seen", subscribe_to="loss")
    def seen(*everything: Any) -> float:
        got.append(everything)
        return 7.0

    feed("loss", range(1))
    assert triples("seen") == [("a", 0, 7.0), ("b", 0, 7.0)]
    assert [len(arguments) for arguments in got] == [1, 1]
    assert all(isinstance(ctx, wl.SignalContext) for (ctx,) in got)


def test_the_decorated_function_stays_a_function() -> None:
    """A decorator that registers: the name still means the function."""

    def double(ctx: Any) -> float:
        return 2.0 * ctx.subscribed_value

    assert wl.signal(name="double", subscribe_to="loss")(double) is double


def test_name_defaults_to_the_functions_name() -> None:
    """Quoted: "name: signal name (defaults to the function name)"."""

    @wl.signal(subscribe_to="loss")
    def half(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    feed("loss", range(1))
    assert triples("half") == [("a", 0, 0.5), ("b", 0, 1.0)]


@pytest.mark.parametrize("name", ["half", "signals//half"])
def test_stored_as_a_column(name: str) -> None:
    """Quoted: "Stored as a signals//<name> column"; api.md: "never doubled"."""

    @wl.signal(name=name, subscribe_to="loss")
    def function(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    feed("loss", range(1))
    rows = table()
    assert {key[0]: row["signals//half"] for key, row in rows.items()} == {"a": 0.5, "b": 1.0}
    assert not [column for row in rows.values() for column in row if "signals//signals" in column]


def test_drivable_from_filters_tags_and_sorting() -> None:
    """Quoted: "(drivable from filters, tags, sorting and root-cause analysis in the studio)"."""

    @wl.signal(name="half", subscribe_to="loss")
    def half(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    feed("loss", range(1), ("a", "b", "c"))
    worst = wl.samples().sort("signals//half", descending=True)["sample_id"].head(2).to_list()
    assert worst == ["c", "b"]
    wl.tag_samples(worst, "hard")
    assert wl.get_samples_by_tag("hard") == ["b", "c"]


def test_the_mean_is_on_the_curve() -> None:
    """api.md: "`log=True` (the default) also puts the batch mean on the global curve"."""

    @wl.signal(name="half", subscribe_to="loss")
    def half(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    feed("loss", range(2))
    assert len(triples("half")) == 4
    assert curve("half") == [(0, 0.75), (1, 0.75)]


def test_log_false_keeps_the_column() -> None:
    """Quoted: "side-effecting signal: we tag, no aggregate curve needed"; api.md: "column kept"."""

    @wl.signal(name="half", subscribe_to="loss", log=False)
    def half(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    feed("loss", range(2))
    assert len(triples("half")) == 4
    assert table()["b", 0]["signals//half"] == 1.0
    assert curve("half") == []


def test_none_means_no_value() -> None:
    """api.md: "`None` means no value"."""

    @wl.signal(name="big", subscribe_to="loss")
    def big(ctx: Any) -> float | None:
        return ctx.subscribed_value if ctx.subscribed_value > 1 else None

    with wl.Session("run") as session:
        feed("loss", range(2))
        assert triples("big") == [("b", 0, 2.0), ("b", 1, 2.0)]
        assert table()["a", 0]["signals//big"] is None
        assert said(session) == ""


def test_the_step_is_that_of_the_subscribed_value() -> None:
    """A derived value stands beside the value that it came from: same step, same hash."""

    @wl.signal(name="half", subscribe_to="loss")
    def half(ctx: Any) -> float:
        return 0.5 * ctx.subscribed_value

    with wl.Session("run"):
        feed("loss", range(41, 42))
        wl.discard_samples(["b"])
        feed("loss", range(42, 43))
        losses, halves = wl.query_signal_history("loss"), wl.query_signal_history("half")
        assert [(row[0], row[1], row[3]) for row in halves] == [
            (row[0], row[1], row[3]) for row in losses
        ]
        assert len({row[3] for row in halves}) == 2


@pytest.mark.parametrize("value", [3, True, "numpy", "tensor"])
def test_what_counts_as_one_scalar(value: Any) -> None:
    """api.md: "any float, int or bool dtype … tensors, numpy"."""
    given = {"numpy": np.float32(3), "tensor": torch.tensor(3.0)}.get(value, value)

    @wl.signal(name="x", subscribe_to="loss")
    def x(_: Any) -> Any:
        return given

    with wl.Session("run") as session:
        feed("loss", range(1), ("a",))
        assert triples("x") == [("a", 0, float(given))]
        assert said(session) == ""
