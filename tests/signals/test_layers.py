"""History as signals see it: exactly what came earlier, though training ran ahead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weightslab as wl
from tests.signals.support import Gate, said, series
from weightslab.checkpoints.identity import marker


def save(steps: range, ids: list[str], signal: str = "loss") -> None:
    for step in steps:
        wl.save_signals({signal: np.full(len(ids), step, np.float32)}, ids, step=step)


@pytest.mark.parametrize("ahead", [5, 50])
@pytest.mark.parametrize("flush", [False, True])
def test_later_values_are_no_history(ahead: int, flush: bool) -> None:
    """A slow signal sees no value that came after the one that fired it, in memory or in files."""
    gate = Gate()
    lengths: list[list[int]] = []

    @wl.signal(name="x", subscribe_to="loss", include_history=True, include_history_metadata=True)
    def x(ctx: Any) -> float:
        gate()
        ages = [entry["model_age"] for entry in ctx.subscribed_history]
        assert ages == [round(entry["signal_value"]) for entry in ctx.subscribed_history]
        lengths.append(ages)
        return float(len(ages))

    with wl.Session("run") as session:
        save(range(1), ["a", "b"])
        assert gate.reached.wait(30)
        save(range(1, ahead), ["a", "b"])
        if flush:
            session.ledger.flush()
        gate.open.set()
        assert series("x") == {k: [(s, float(s)) for s in range(ahead)] for k in ("a", "b")}
        assert lengths == [list(range(step)) for step in range(ahead) for _ in range(2)]


def test_the_last_ones_of_a_batch() -> None:
    """`history(last=n)` is the end of `history()`, each sample's own, at the left."""
    checked: list[int] = []

    @wl.signal(name="x", subscribe_to="loss", batched=True)
    def x(ctx: Any) -> None:
        whole = ctx.history()
        for n in (0, 1, 7, 32, 50):
            last = ctx.history(last=n)
            assert last.counts.tolist() == np.minimum(whole.counts, n).tolist()
            for at, count in enumerate(last.counts):
                own = whole.counts[at]
                assert (
                    last.steps[at, :count].tolist() == whole.steps[at, own - count : own].tolist()
                )
                assert last.values[at, :count].tolist() == last.steps[at, :count].tolist()
        checked.append(int(whole.counts.max()))

    for step in range(60):
        save(range(step, step + 1), ["a", "b"] if step % 3 else ["b", "c"])
    wl.history()
    assert said() == ""
    assert checked[-1] == 59


def test_a_signal_that_comes_late_knows_the_run() -> None:
    """Values that were saved before it was defined are its history: samples, instances, curves."""

    def save_all(steps: range) -> None:
        for step in steps:
            wl.save_signals({"v": [float(step)], "lr": step / 2}, ["a"], step=step)
            wl.save_instance_signals({"iou": [float(step)] * 2}, ["a"], [0, 0], step=step)

    save_all(range(3))
    for source in ("v", "lr", "iou"):

        @wl.signal(name=f"of {source}", subscribe_to=source, include_history=True)
        def length(ctx: Any) -> float:
            return float(len(ctx.subscribed_history))

    save_all(range(3, 40))
    expected = [float(step) for step in range(3, 40)]
    assert [row[2] for row in wl.query_sample_history("a", "of v")] == expected
    assert wl.history("of lr", kind="global")["value"].to_list() == expected
    for annotation in (1, 2):
        rows = wl.query_instance_history("a", annotation, "of iou")
        assert [row[2] for row in rows] == expected


def test_history_goes_on_over_a_change_of_the_experiment() -> None:
    """An edit opens a new hash; the history of a sample goes on."""
    with wl.Session("run"):

        @wl.signal(name="length", subscribe_to="loss", include_history=True)
        def length(ctx: Any) -> float:
            values = [round(e["signal_value"]) for e in ctx.subscribed_history]
            assert values == list(range(len(values)))
            return float(len(values))

        save(range(20), ["a", "b"])
        wl.discard_samples(["b"])
        save(range(20, 45), ["a"])
        assert series("length")["a"] == [(step, float(step)) for step in range(45)]
        assert len(wl.history("loss")["experiment_hash"].unique()) == 2
        assert said() == ""


def test_only_this_launch_is_history() -> None:
    """A run that is started again in its folder begins with no history, and keeps its values."""
    for launch in range(2):
        with wl.Session("run"):

            @wl.signal(name="length", subscribe_to="loss", include_history=True)
            def length(ctx: Any) -> float:
                return float(len(ctx.subscribed_history))

            save(range(100 * launch, 100 * launch + 40), ["a"])
            found = [row[1] for row in series("length")["a"]]
            assert found == [float(n) for n in range(40)] * (launch + 1)


def test_no_history_is_kept_that_nobody_reads() -> None:
    """Without include_history nothing is held in memory for it."""
    wl.signal(name="plain", subscribe_to="loss")(lambda ctx: ctx.subscribed_value)
    save(range(3), ["a"])
    wl.history()
    assert wl.status()["signals"]["history_bytes"] == 0
    wl.signal(name="read", subscribe_to="loss", include_history=True)(
        lambda ctx: float(len(ctx.subscribed_history))
    )
    save(range(3, 5), ["a"])
    wl.history()
    assert wl.status()["signals"]["history_bytes"] > 0


def test_a_throttled_history_is_whole() -> None:
    """Between its firings values are kept, too, however rarely it fires."""

    @wl.signal(name="sum", subscribe_to="loss", compute_every_n_steps=7, include_history=True)
    def total(ctx: Any) -> float:
        return sum(entry["signal_value"] for entry in ctx.subscribed_history)

    save(range(70), ["a"])
    assert series("sum") == {"a": [(step, float(sum(range(step)))) for step in range(6, 70, 7)]}


def test_what_an_evaluation_published_is_no_history() -> None:
    """Values under the marker of an evaluation are of another pass over the same samples."""
    with wl.Session("run") as session:

        @wl.signal(name="length", subscribe_to="loss", include_history=True)
        def length(ctx: Any) -> float:
            assert all(entry["signal_value"] >= 0 for entry in ctx.subscribed_history)
            return float(len(ctx.subscribed_history))

        for step in range(45):
            save(range(step, step + 1), ["a"])
            experiment = session.ledger.experiment_hash
            assert experiment is not None
            rows = session.resolve(["a"], batch=None)
            with session.ledger.under(marker(experiment, step + 1)):
                session.ledger.append_samples({"loss": np.array([-1.0])}, rows, step=step)
        found = wl.history("length")
        assert found["value"].to_list() == [float(step) for step in range(45)]
        assert found["experiment_hash"].unique().to_list() == [experiment]
        assert wl.history("loss").height == 90
        assert said() == ""
