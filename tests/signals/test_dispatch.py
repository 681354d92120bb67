"""Two threads: the one that saves goes on, the other one computes, and neither ends the other."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from tests.signals.support import Gate, feed, said, series
from weightslab.session import current


def signal_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "weightslab-signals" and t.is_alive()]


def test_no_thread_without_a_firing() -> None:
    """Neither a definition nor values that nobody listens to start one, nor is anybody told."""
    wl.signal(name="static")(lambda ctx: 1.0)
    feed("loss", [0])
    assert current().recording.listener is None
    wl.signal(name="x", subscribe_to="loss")(lambda ctx: 1.0)
    feed("other", [0])
    assert current().recording.listener is not None
    assert signal_threads() == []
    feed("loss", [1])
    assert series("x") == {"a": [(1, 1.0)], "b": [(1, 1.0)]}


def test_values_are_copied() -> None:
    """The caller may overwrite what it saved as soon as the call returns."""
    gate = Gate()
    seen: list[float] = []

    @wl.signal(name="x", subscribe_to="loss")
    def x(ctx: Any) -> float:
        gate()
        seen.append(ctx.subscribed_value)
        return ctx.subscribed_value

    values = np.array([1.0, 2.0], np.float32)
    tensor = torch.tensor([3.0, 4.0])
    wl.save_signals({"loss": values}, ["a", "b"], step=0)
    wl.save_signals({"loss": tensor}, ["a", "b"], step=1)
    values[:] = -1
    tensor[:] = -1
    gate.open.set()
    wl.history()
    assert seen == [1.0, 2.0, 3.0, 4.0]


def test_it_is_a_thread_of_its_own() -> None:
    """Functions run on one daemon thread, never on the one that saves."""
    seen: set[tuple[int, bool]] = set()

    @wl.signal(name="x", subscribe_to="loss")
    def x(_: Any) -> None:
        thread = threading.current_thread()
        seen.add((thread.ident or 0, thread.daemon))

    feed("loss", [0, 1, 2])
    wl.history()
    ((ident, daemon),) = seen
    assert daemon
    assert ident != threading.get_ident()


def test_what_does_not_fit_is_dropped_counted_and_said_once() -> None:
    """A training that runs ahead for long loses signals, not values; and says what helps."""
    gate = Gate()

    @wl.signal(name="slow", subscribe_to="loss")
    def slow(_: Any) -> float:
        gate()
        return 1.0

    feed("loss", [0], ["a"])
    assert gate.reached.wait(30)
    with pytest.warns(wl.WeightsLabWarning) as caught:
        feed("loss", range(1, 1011), ["a"])
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "batched=True" in message
    assert "compute_every_n_steps" in message
    state = wl.status()["signals"]
    assert (state["waiting"], state["dropped"]) == (1001, {"slow": 10})
    gate.open.set()
    assert [step for step, _ in series("slow")["a"]] == list(range(1001))
    assert len(series("loss")["a"]) == 1011
    feed("loss", [2000], ["a"])
    assert series("slow")["a"][-1] == (2000, 1.0)


@pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")
def test_history_has_what_was_dropped() -> None:
    """A firing that was dropped is a call that is missing, never a value of the history."""
    gate = Gate()
    lengths: list[int] = []

    @wl.signal(name="x", subscribe_to="loss", batched=True)
    def x(ctx: Any) -> None:
        gate()
        assert ctx.history(last=5).steps[0].tolist() == list(range(max(0, ctx.step - 5), ctx.step))
        lengths.append(ctx.history().counts.item())

    feed("loss", [0], ["a"])
    assert gate.reached.wait(30)
    feed("loss", range(1, 1050), ["a"])
    gate.open.set()
    wl.history()
    feed("loss", range(1050, 1055), ["a"])
    wl.history()
    assert lengths == [*range(1001), *range(1050, 1055)]
    assert current().signals.status()["failed"] == {}


def test_a_thread_that_ended_is_started_again() -> None:
    """After a while without work the thread ends; the next value has another one."""
    seen: list[int] = []
    wl.signal(name="x", subscribe_to="loss")(lambda ctx: seen.append(threading.get_ident()))
    current().signals._dispatch.idle_s = 0.01
    for step in range(2):
        feed("loss", [step], ["a"])
        wl.history()
        end = time.monotonic() + 30
        while signal_threads():
            assert time.monotonic() < end, "it stays"
            time.sleep(0.005)
    assert len(seen) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_started_again() -> None:
    """Whatever ended it from outside: the next value has another one, and nothing is missing."""
    import ctypes

    wl.signal(name="x", subscribe_to="loss")(lambda ctx: 1.0)
    feed("loss", [0], ["a"])
    wl.history()
    (thread,) = signal_threads()
    # Raised in it as soon as it runs, which is when the next value wakes it.
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
    )
    feed("loss", [1], ["a"])
    thread.join(30)
    feed("loss", [2], ["a"])
    assert [step for step, _ in series("x")["a"]] == [0, 1, 2]


def test_where_no_thread_can_be_started_whoever_waits_works() -> None:
    """The end of the interpreter, or a system without room for threads: nothing is lost."""
    seen: list[int] = []

    @wl.signal(name="x", subscribe_to="loss")
    def x(_: Any) -> float:
        seen.append(threading.get_ident())
        return 1.0

    wl.save_signals({"other": [1.0]}, ["a"])  # the ledger has its threads by now
    before = threading.stack_size(1 << 45)  # more than any machine has
    try:
        feed("loss", [0, 1], ["a"])
        current().signals.drain()
    finally:
        threading.stack_size(before)
    assert series("x") == {"a": [(0, 1.0), (1, 1.0)]}
    assert set(seen) == {threading.get_ident()}


def test_values_of_an_evaluation_fire_nothing() -> None:
    """A thread whose values go elsewhere is not heard."""
    calls: list[Any] = []
    wl.signal(name="x", subscribe_to="loss", include_history=True)(calls.append)

    class Sink:
        def samples(self, *_: Any, **__: Any) -> None: ...

        instances = scalars = samples

    feed("loss", [0], ["a"])
    with current().recording.diverted(Sink()):
        feed("loss", [1], ["a"])
    feed("loss", [2], ["a"])
    wl.history()
    assert [ctx.step for ctx in calls] == [0, 2]
    assert len(calls[1].subscribed_history) == 1


def test_values_of_several_threads() -> None:
    """Every value fires once, whichever thread saved it; a sample's own order stays."""

    @wl.signal(name="length", subscribe_to="loss", include_history=True)
    def length(ctx: Any) -> float:
        return float(len(ctx.subscribed_history))

    wl.save_signals({"other": [1.0]}, ["a"])

    def save(sample: str) -> None:
        for step in range(40):
            wl.save_signals({"loss": [1.0]}, [sample], step=step)

    threads = [threading.Thread(target=save, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert series("length") == {
        name: [(step, float(step)) for step in range(40)] for name in "abcd"
    }
    assert said() == ""


# -- beside a training ------------------------------------------------------------------


def trained(folder: str) -> list[torch.Tensor]:
    """Weights after a training with dropout, shuffling and a watched loss."""
    torch.manual_seed(0)
    with wl.Session(folder):
        model = wl.watch_or_edit(
            nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 3)), flag="model"
        )
        optimizer = wl.watch_or_edit(torch.optim.Adam(model.parameters()), flag="optimizer")
        loss = wl.watch_or_edit(nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="l")
        data = TensorDataset(torch.randn(64, 4), torch.randint(0, 3, (64,)))
        loader = wl.watch_or_edit(DataLoader(data, batch_size=8, shuffle=True), flag="data")
        for _ in range(3):
            for inputs, labels, _ids in loader:
                optimizer.zero_grad()
                loss(model(inputs), labels).mean().backward()
                optimizer.step()
        wl.history()
        return [weight.detach().clone() for weight in model.parameters()]


def test_training_is_bit_identical_with_signals() -> None:
    """Signals beside a training change no bit of it."""
    without = trained("without")
    calls = 0

    @wl.signal(name="cv", subscribe_to="l", include_history=True)
    def cv(ctx: Any) -> float:
        nonlocal calls
        calls += 1
        assert (ctx.data, ctx.image, ctx.points, ctx.origin) == (None, None, None, "train")
        return float(np.std([e["signal_value"] for e in ctx.subscribed_history] or [0.0]))

    @wl.signal(name="hard", subscribe_to="cv", compute_every_n_steps=2, log=False)
    def hard(ctx: Any) -> float:
        wl.tag_samples([ctx.sample_id], "hard")
        return float(ctx.dataframe.height)

    with_signals = trained("with")
    assert calls == 3 * 64
    assert all(torch.equal(a, b) for a, b in zip(without, with_signals, strict=True))
