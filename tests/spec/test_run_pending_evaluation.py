"""The seed's sections "Training-loop integration" and "run_pending_evaluation"; "keep_serving"."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import weightslab as wl
from tests.spec.support import Evaluation, digits, markers, python, trained, wait_until
from weightslab.errors import InputError


def test_signature() -> None:
    """Quoted: "wl.run_pending_evaluation(loaders=None, model=None, eval_fn=None, device=None)"."""
    parameters = inspect.signature(wl.run_pending_evaluation).parameters.values()
    assert [(p.name, p.default) for p in parameters] == [
        ("loaders", None),
        ("model", None),
        ("eval_fn", None),
        ("device", None),
    ]


def test_false_when_nothing_is_pending() -> None:
    """Quoted: "Returns True when an evaluation ran …, False otherwise"; with no session, too."""
    assert wl.run_pending_evaluation() is False
    Evaluation()
    assert wl.run_pending_evaluation() is False
    wl.request_evaluation("val_loader")
    assert wl.run_pending_evaluation() is True
    assert wl.run_pending_evaluation() is False


def test_the_loop_of_the_page() -> None:
    """The seed's loop, verbatim: "executes eval if pending, then continues"."""
    run = Evaluation()
    steps, evaluated = [], []
    train_loader = run.loader

    for step, batch in enumerate(train_loader):
        if wl.run_pending_evaluation():  # executes eval if pending, then continues
            evaluated.append(step)
            continue
        # normal training step ...
        run.step(batch)
        steps.append(step)
        if step == 1:
            wl.request_evaluation("val_loader")

    assert evaluated == [2]
    assert steps == [0, 1, 3]
    assert len(markers("eval_loss")) == 1
    assert len(trained("train_loss")) == 24  # "the seed's own `continue` skips one batch"


def test_once_the_loop_takes_requests_it_alone_does() -> None:
    """api.md: "Once a loop calls `run_pending_evaluation`, it alone takes requests"."""
    run = Evaluation()
    seen = []
    for step, batch in enumerate(run.loader):
        if step in (0, 3):
            seen.append((step, wl.run_pending_evaluation(), len(markers("eval_loss"))))
        run.step(batch)
        if step == 0:
            wl.request_evaluation("val_loader")
    assert seen == [(0, False, 0), (3, True, 1)]


def test_both_approaches_together() -> None:
    """Quoted: "Both approaches are safe to use together": each request runs once."""
    run = Evaluation()
    ran = 0
    for epoch in range(4):
        for batch in run.loader:
            if epoch % 2 and wl.run_pending_evaluation():
                ran += 1
                continue
            run.step(batch)
        for _ in range(3):
            wl.request_evaluation("val_loader")
    while wl.run_pending_evaluation():
        ran += 1
    assert len(markers("eval_loss")) == 12
    assert ran <= 12


def test_requests_queue_up() -> None:
    """Several requests are several evaluations, in order."""
    run = Evaluation()
    wl.watch_or_edit(DataLoader(digits(6, start=1500)), flag="data", loader_name="test")
    order = []

    @wl.eval_fn
    def mine(loader: Any) -> None:
        order.append(sum(len(batch[0]) for batch in loader))

    for name in ("val_loader", "test", "val_loader"):
        wl.request_evaluation(name)
    while wl.run_pending_evaluation():
        pass
    assert order == [20, 6, 20]
    assert run.model.training


def test_it_never_blocks_a_paused_loop() -> None:
    """api.md: "never blocks a caller of `run_pending_evaluation`"."""
    run = Evaluation()
    trained = 0
    for step, batch in enumerate(run.loader):
        if wl.run_pending_evaluation():
            continue
        run.step(batch)
        trained += 1
        if step == 1:
            thread = threading.Thread(target=wl.request_evaluation, args=("val_loader",))
            thread.start()
            thread.join()
    assert trained == 3
    assert len(markers("eval_loss")) == 1


def test_without_registrations() -> None:
    """Quoted: "All arguments are optional when wl.watch_or_edit registrations are in place"."""
    wl.watch_or_edit({"experiment_name": "e"}, flag="hp")
    data = digits(10)
    model = nn.Linear(64, 10)
    wl.watch_or_edit(nn.CrossEntropyLoss(reduction="none"), flag="loss", name="eval_loss")
    arguments = {"loaders": {"mine": DataLoader(data, batch_size=4)}, "model": model}
    assert wl.run_pending_evaluation(**arguments) is False
    wl.request_evaluation("mine")
    assert wl.run_pending_evaluation(**arguments) is True
    loss = nn.functional.cross_entropy(model(data.tensors[0]), data.tensors[1]).item()
    assert list(markers("eval_loss").values()) == pytest.approx([loss], rel=1e-5)


def test_a_function_of_its_own() -> None:
    """`eval_fn=` wins over the decorated function and the default."""
    run = Evaluation()
    called = []
    wl.eval_fn(lambda loader: called.append("decorated"))

    def mine(loader: Any) -> None:
        called.append("given")
        for inputs, targets, ids in loader:
            run.eval_loss(run.model(inputs), targets, batch_ids=ids)

    wl.request_evaluation("val_loader")
    assert wl.run_pending_evaluation(eval_fn=mine)
    assert called == ["given"]
    assert len(markers("eval_loss")) == 1


def test_another_model() -> None:
    """`model=` is evaluated in place of the registered one: an average of weights, say."""
    run = Evaluation()
    other = nn.Linear(64, 10)
    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation(model=other)
    images, labels = run.held_out.tensors
    loss = nn.functional.cross_entropy(other(images), labels).item()
    assert list(markers("eval_loss").values()) == pytest.approx([loss], rel=1e-5)


def test_device() -> None:
    """`device=`: where inputs and targets go; the model stays where it is."""
    run = Evaluation()
    wl.request_evaluation("val_loader")
    assert wl.run_pending_evaluation(device="cpu")
    assert list(markers("eval_loss").values()) == pytest.approx([run.expected()["eval_loss"]])


@pytest.mark.parametrize(
    ("option", "value"), [("loaders", 3), ("model", "net"), ("eval_fn", 3), ("device", "gpuu")]
)
def test_what_is_refused(option: str, value: Any) -> None:
    """The error names the argument, at the first call and not at the first request."""
    with pytest.raises(InputError, match=option):
        wl.run_pending_evaluation(**{option: value})


def test_inside_an_evaluation() -> None:
    """A function that asks for the pending ones again does not run into itself."""
    run = Evaluation()
    found = []

    @wl.eval_fn
    def mine(loader: Any) -> None:
        for inputs, targets, ids in loader:
            found.append(wl.run_pending_evaluation())
            run.eval_loss(run.model(inputs), targets, batch_ids=ids)

    wl.request_evaluation("val_loader")
    wl.request_evaluation("val_loader")
    assert wl.run_pending_evaluation()
    assert found == [False] * 3
    assert len(markers("eval_loss")) == 1
    assert wl.run_pending_evaluation()


def test_a_batch_job_ends() -> None:
    """A script that requests and ends is not held up by what nobody took."""
    ended = python(BATCH_JOB)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("end\n")


BATCH_JOB = """
import torch, weightslab as wl
from torch.utils.data import DataLoader, TensorDataset
model = wl.watch_or_edit(torch.nn.Linear(2, 2), flag="model")
loss = wl.watch_or_edit(torch.nn.CrossEntropyLoss(), flag="loss", signal_name="eval_loss")
data = TensorDataset(torch.randn(8, 2), torch.zeros(8, dtype=torch.long))
wl.watch_or_edit(DataLoader(data, 4), flag="data", loader_name="val")
wl.run_pending_evaluation()
wl.request_evaluation("val")
print("end")
"""


# -- keep_serving --------------------------------------------------------------------


def test_keep_serving_signature() -> None:
    """Quoted: "wl.keep_serving(timeout=None)"."""
    parameters = inspect.signature(wl.keep_serving).parameters.values()
    assert [(p.name, p.default) for p in parameters] == [("timeout", None)]


def test_keep_serving_stops_by_itself() -> None:
    """Quoted: "Use timeout to stop automatically"."""
    start = time.monotonic()
    wl.keep_serving(timeout=0.2)
    assert time.monotonic() - start >= 0.2


def test_keep_serving_evaluates() -> None:
    """Quoted: "Keep the process alive so background services continue running"."""
    run = Evaluation()
    run.run()
    ran_on = []

    @wl.eval_fn
    def mine(loader: Any) -> None:
        ran_on.append(threading.current_thread())
        for inputs, targets, ids in loader:
            run.eval_loss(run.model(inputs), targets, batch_ids=ids)

    timer = threading.Timer(0.05, wl.request_evaluation, args=("val_loader",))
    timer.start()
    wait_until(lambda: wl.keep_serving(timeout=0.2) or markers("eval_loss"))
    timer.join()
    assert len(markers("eval_loss")) == 1
    assert ran_on == [threading.main_thread()]


def test_keep_serving_until_an_interruption() -> None:
    """Quoted: "If timeout=None, the call blocks until interruption"."""
    with subprocess.Popen(
        [sys.executable, "-c", FOREVER],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "before\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "after\n"
    assert process.returncode == 0


FOREVER = """
import weightslab as wl
wl.get_discarded_samples()
print("before", flush=True)
wl.keep_serving()
print("after", flush=True)
"""


def test_gradients_are_on_after_each_way() -> None:
    """Whatever ran, the next training step has its gradients."""
    run = Evaluation()
    wl.request_evaluation("val_loader")
    wl.keep_serving(timeout=0.01)
    assert torch.is_grad_enabled()
    run.run()
    assert all(parameter.grad is not None for parameter in run.model.parameters())
