"""Evaluations that several threads ask for, cancel and pause, while one trains."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import weightslab as wl
from tests.session.evaluated import SAMPLES, Training, ahead, curve, finished, journal, wait_until
from weightslab.errors import WeightsLabWarning
from weightslab.session import current
from weightslab.session.control import Control


@contextmanager
def trained(training: Training, *, call: bool = False, epochs: int = 10_000) -> Iterator[Any]:
    """A thread that trains until the block ends; gives what tells it to stop."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(epochs):
                training.epoch(call=call)
                if stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        wl.resume()
        thread.join(30)
        assert not thread.is_alive() and errors == []


def ask(loader_name: str = "val_loader") -> int:
    """What a client does."""
    return current().evaluations.request(loader_name, by="client")


def stands() -> bool:
    return bool(wl.status()["waiting"])


# -- pausing ----------------------------------------------------------------------------


@pytest.mark.parametrize("call", [False, True])
def test_a_script_goes_on_by_itself(*, call: bool) -> None:
    """Nobody resumes; the training steps on after the evaluation."""
    training = Training()
    with trained(training, call=call):
        outcome = finished(wl.request_evaluation("val_loader"))
        assert outcome.state == "done"
        seen = training.steps
        wait_until(lambda: training.steps > seen + 3)
        assert wl.status()["pause_reasons"] == []


@pytest.mark.parametrize("call", [False, True])
@pytest.mark.parametrize("ending", ["done", "failed", "cancelled"])
def test_a_clients_evaluation_leaves_training_paused_until_resume(
    *, call: bool, ending: str
) -> None:
    """Whatever came of it; then training goes on."""
    training = Training()

    @wl.eval_fn
    def evaluate(loader: Any) -> None:
        for inputs, targets, _ in loader:
            training.loss(training.model(inputs), targets)
            if ending == "failed":
                raise RuntimeError
            if ending == "cancelled":
                current().evaluations.cancel(request_id())

    def request_id() -> int:
        return int(wl.status()["evaluation"]["running"]["id"])

    with trained(training, call=call):
        wait_until(lambda: training.steps > 2)
        outcome = finished(ask())
        assert outcome.state == ending
        wait_until(stands)
        seen = training.steps
        assert wl.status()["pause_reasons"] == ["evaluation"]
        wl.keep_serving(timeout=0.3)
        assert training.steps == seen
        wl.resume()
        wait_until(lambda: training.steps > seen)


@pytest.mark.parametrize("call", [False, True])
@pytest.mark.parametrize("by", ["script", "client"])
def test_the_users_pause_outlives_an_evaluation(*, call: bool, by: Any) -> None:
    """Training that stands paused evaluates, and stands there still."""
    training = Training()
    with trained(training, call=call):
        wait_until(lambda: training.steps > 2)
        wl.pause()
        wait_until(stands)
        seen = training.steps
        outcome = finished(current().evaluations.request("val_loader", by=by))
        assert outcome.state == "done" and outcome.step == seen
        wait_until(stands)
        assert "user" in wl.status()["pause_reasons"]
        assert training.steps == seen
        wl.resume()
        wait_until(lambda: training.steps > seen)


def test_resume_while_a_clients_request_waits_lets_training_go_on_after_it() -> None:
    """The evaluation runs all the same."""
    training = Training()
    with trained(training):
        wait_until(lambda: training.steps > 2)
        request = ask()
        wl.resume()
        assert finished(request).state == "done"
        seen = training.steps
        wait_until(lambda: training.steps > seen + 3)


def test_cancelled_by_a_client_while_it_waits_training_stays_paused() -> None:
    """As after any other end of what a client asked for."""
    training = Training()
    training.epoch(call=True)
    request = ask()
    assert current().evaluations.cancel(request)
    assert wl.status()["pause_reasons"] == ["evaluation"]
    wl.resume()
    assert wl.status()["pause_reasons"] == []


# -- the worker and training ---------------------------------------------------------------


def test_training_that_begins_waits_for_the_worker() -> None:
    """The first safe point is passed when the worker's evaluation is through."""
    training = Training()
    current().evaluations.controller.underway.quiet_s = 0.05
    inside, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    @wl.eval_fn
    def evaluate(loader: Any) -> None:
        inside.set()
        assert go_on.wait(30)
        order.append(f"evaluated at {training.steps}")

    request = wl.request_evaluation("val_loader")
    assert inside.wait(30)
    thread = threading.Thread(
        target=training.epoch, args=(lambda batch: order.append(f"batch {batch}"),), daemon=True
    )
    thread.start()
    thread.join(0.3)
    assert order == [] and training.steps == 0
    go_on.set()
    thread.join(30)
    assert order == ["evaluated at 0", *(f"batch {n}" for n in range(5))]
    assert finished(request).state == "done"


@pytest.mark.parametrize(
    "step",
    [
        lambda training: training.model.train(),
        lambda training: training.model.eval(),
        lambda training: training.optimizer.step(),
        lambda training: wl.run_pending_evaluation(),
    ],
)
def test_whoever_works_with_the_model_waits_for_the_worker(
    step: Callable[[Training], object],
) -> None:
    """A switch of the mode, a step of a loop without a watched loader, a loop's call."""
    training = Training()
    current().registry.loaders.pop("train_loader")
    current().evaluations.controller.underway.quiet_s = 0.05
    inside, go_on = threading.Event(), threading.Event()

    @wl.eval_fn
    def evaluate(loader: Any) -> None:
        inside.set()
        assert go_on.wait(30)

    request = wl.request_evaluation("val_loader")
    assert inside.wait(30)
    thread = threading.Thread(target=step, args=(training,), daemon=True)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    go_on.set()
    thread.join(30)
    assert not thread.is_alive() and finished(request).state == "done"


def test_a_loop_that_begins_while_the_worker_evaluates_trains_in_train_mode() -> None:
    """`model.train()` comes after the mode was put back, and validation begins in eval mode."""
    training = Training()
    current().evaluations.controller.underway.quiet_s = 0.05
    for expected in (True, False):
        training.model.train(not expected)
        inside = threading.Event()

        @wl.eval_fn
        def evaluate(loader: Any, inside: Any = inside) -> None:
            inside.set()
            wl.keep_serving(timeout=0.1)

        request = wl.request_evaluation("val_loader")
        assert inside.wait(30)
        training.model.train() if expected else training.model.eval()
        assert finished(request).state == "done" and training.model.training is expected


def test_a_function_that_reads_ahead_on_a_thread_of_its_own_does_not_stand_still() -> None:
    """The batches of an evaluation wait for no evaluation, whichever thread takes them."""
    training = Training()
    current().evaluations.controller.underway.quiet_s = 0.05
    taken: list[Any] = []

    @wl.eval_fn
    def evaluate(loader: Any) -> None:
        thread = threading.Thread(target=lambda: taken.extend(loader), daemon=True)
        thread.start()
        thread.join(30)
        for inputs, targets, ids in taken:
            training.loss(training.model(inputs), targets, batch_ids=ids)

    outcome = finished(wl.request_evaluation("val_loader"))
    assert len(taken) == 5 and outcome.state == "done"
    assert outcome.results["loss"] == pytest.approx(training.mean_loss(), rel=1e-6)


@pytest.mark.parametrize("by", ["script", "client"])
def test_where_batches_are_drawn_ahead_the_training_thread_evaluates(by: Any) -> None:
    """Between two of its steps, and not on the thread that draws while it is in one."""
    training = Training()
    threads: list[int] = []

    @wl.eval_fn
    def evaluate(loader: Any) -> None:
        threads.append(threading.get_ident())
        for inputs, targets, ids in loader:
            training.loss(training.model(inputs), targets, batch_ids=ids)

    request = 0
    for epoch in range(4):
        for batch, (inputs, targets, ids) in enumerate(ahead(training.train)):
            training.optimizer.zero_grad()
            training.loss(training.model(inputs), targets, batch_ids=ids).mean().backward()
            training.optimizer.step()
            if epoch and batch in (0, 2):
                request = current().evaluations.request("val_loader", by=by)
                wl.resume()
    assert finished(request).state == "done"
    assert threads == [threading.get_ident()] * 6
    assert len(curve()) == 6 and not wl.status()["paused"]


def test_a_training_that_goes_on_in_another_thread_is_found_there() -> None:
    """The thread that steps is the one that trains, whichever did before."""
    training = Training()
    training.epoch()
    with trained(training):
        wait_until(lambda: training.steps > 7)
        assert finished(wl.request_evaluation("val_loader")).state == "done"
        seen = training.steps
        wait_until(lambda: training.steps > seen)
        assert not current().evaluations.where.reads_ahead


def test_the_worker_works_as_the_training_thread_is_set() -> None:
    """Autocast, default device and grad mode are those of the safe points."""
    training = Training()
    seen: list[Any] = []

    @wl.eval_fn
    def evaluate(loader: Any) -> None:
        seen.append(threading.current_thread().name)
        seen.append(torch.is_autocast_enabled("cpu"))
        seen.append(torch.get_autocast_dtype("cpu"))
        seen.append(nn.Linear(1, 1)(torch.zeros(1, 1)).dtype)

    with torch.autocast("cpu", dtype=torch.float16):
        training.epoch()
    current().evaluations.controller.underway.quiet_s = 0.05
    assert finished(wl.request_evaluation("val_loader")).state == "done"
    assert seen == ["weightslab-evaluation", True, torch.float16, torch.float16]


def test_the_worker_works_for_its_own_session(tmp_path: Path) -> None:
    """What its function saves by hand is the evaluation's, whichever session is current now."""
    with wl.Session(tmp_path / "a") as session:
        wl.watch_or_edit([(1.0, "a")], flag="data", loader_name="val")
        wl.eval_fn(lambda loader: [wl.save_signals({"a": [1.0]}, ["a"]) for _ in loader])
        session.evaluations.controller.underway.quiet_s = 0.2
        request = wl.request_evaluation("val")
        with wl.Session(tmp_path / "b"):
            wait_until(lambda: session.evaluations.controller.outcomes)
            assert wl.history().is_empty()
        assert finished(request).results == {"a": 1.0}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_nothing_ends_the_worker(error: type) -> None:
    """What would end a script has failed, and the next request is run."""
    Training()
    current().evaluations.controller.underway.quiet_s = 0.05

    @wl.eval_fn
    def ends(loader: Any) -> None:
        raise error

    outcome = finished(wl.request_evaluation("val_loader"))
    assert (outcome.state, outcome.error) == ("failed", error.__name__)
    current().evaluations.eval_fn = None
    assert finished(wl.request_evaluation("val_loader")).state == "done"


def test_a_session_that_is_closed_ends_what_the_worker_runs() -> None:
    """`wl.reset()` waits for the batch at hand; nothing is published after it."""
    Training()
    session = current()
    session.evaluations.controller.underway.quiet_s = 0.05
    inside, go_on = threading.Event(), threading.Event()

    @wl.eval_fn
    def evaluate(loader: Any) -> None:
        for _ in loader:
            inside.set()
            assert go_on.wait(30)

    request = wl.request_evaluation("val_loader")
    assert inside.wait(30)
    threading.Timer(0.1, go_on.set).start()
    wl.reset()
    outcome = session.evaluations.controller.find(request)
    assert outcome is not None and outcome.state == "cancelled"
    assert not session.evaluations.worker.is_alive


# -- many at once ----------------------------------------------------------------------------


@pytest.mark.parametrize("call", [False, True])
def test_every_request_of_many_threads_runs_once(*, call: bool) -> None:
    """Twelve threads ask while one trains: each request has one marker, each marker all rows."""
    training = Training()
    requests: list[int] = []

    def client(number: int) -> None:
        for _ in range(5):
            request = wl.request_evaluation(random.choice(["val", "val_loader"]))
            requests.append(request)
            if number % 3 == 0:
                finished(request)

    with trained(training, call=call):
        threads = [threading.Thread(target=client, args=(n,), daemon=True) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        outcomes = [finished(request) for request in requests]
    assert sorted(requests) == list(range(1, 61))
    assert [outcome.state for outcome in outcomes] == ["done"] * 60
    assert sorted(int(number) for number, _, _ in curve()) == list(range(1, 61))
    by_marker = wl.history("loss").filter(wl_marked()).group_by("experiment_hash").len()
    assert set(by_marker["len"].to_list()) == {SAMPLES}
    assert not wl.status()["paused"]
    steps = [step for _, step, _ in curve(marked=False)]
    assert steps == list(range(training.steps))


def wl_marked() -> Any:
    import polars as pl

    return pl.col("experiment_hash").str.contains("_")


class Late(Control):
    """Its pauses begin when the evaluation that asked for them is over."""

    def pause(self, reason: str = "user", *, actor: str = "user") -> bool:
        wl.run_pending_evaluation()
        return super().pause(reason, actor=actor)


@pytest.mark.parametrize("by", ["script", "client"])
def test_an_evaluation_may_be_over_before_its_request_returns(by: Any) -> None:
    """Then a script's pause is over, too, and a client's holds."""
    Training()
    current().control.__class__ = Late
    request = current().evaluations.request("val_loader", by=by)
    assert finished(request).state == "done"
    assert wl.status()["pause_reasons"] == ([] if by == "script" else ["evaluation"])


def test_requests_cancels_pauses_and_resumes_at_once() -> None:
    """Whatever comes between what: each request has one end, and training goes on."""
    training = Training()
    requests: list[int] = []
    rng = random.Random(0)

    def meddle() -> None:
        for _ in range(20):
            match rng.randrange(5):
                case 0:
                    requests.append(ask())
                    wl.resume()
                case 1:
                    wl.pause()
                    wl.resume()
                case 2:
                    request = wl.request_evaluation("val_loader")
                    requests.append(request)
                    current().evaluations.cancel(request)
                case _:
                    requests.append(wl.request_evaluation("val_loader"))

    with trained(training):
        threads = [threading.Thread(target=meddle, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        wl.resume()
        outcomes = [finished(request) for request in requests]
        seen = training.steps
        wait_until(lambda: training.steps > seen)
    done = sorted(one.marker.partition("_")[2] for one in outcomes if one.marker)
    assert {one.state for one in outcomes} <= {"done", "cancelled"}
    assert done == sorted(number for number, _, _ in curve())
    assert len(journal()) == len(requests)


def test_training_is_the_same_to_the_last_bit_with_evaluations_in_between() -> None:
    """Weights after two epochs, with a shuffled loader and dropout, whoever evaluates when."""

    def weights(evaluated: bool) -> list[torch.Tensor]:
        wl.reset()
        training = Training()
        training.model.register_forward_hook(lambda _m, _i, out: nn.functional.dropout(out, 0.3))
        torch.manual_seed(1)
        for _ in range(2):
            training.epoch(lambda _: evaluated and wl.request_evaluation("val_loader"))
        return [one.detach().clone() for one in training.model.parameters()]

    for one, other in zip(weights(False), weights(True), strict=True):
        assert torch.equal(one, other)
    assert len(curve()) == 10


def test_a_failing_evaluation_is_warned_of_once_and_counted() -> None:
    """The second time it is in the status and the journal alone."""
    training = Training()

    @wl.eval_fn
    def broken(loader: Any) -> None:
        raise RuntimeError("out of cheese")

    with pytest.warns(WeightsLabWarning) as caught:
        training.epoch(lambda _: wl.request_evaluation("val_loader"))
    assert len(caught) == 1
    counts = wl.status()["notices"]
    assert counts["('evaluation', 'val_loader', 'RuntimeError')"] == 5
    assert [one["state"] for one in journal()] == ["failed"] * 5
