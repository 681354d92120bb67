from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightslab.evaluation.controller import Controller, Taker
from weightslab.evaluation.request import Outcome, Request


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def controller(clock: Clock | None = None) -> Controller:
    return Controller(now=clock or Clock())


def asked(queue: Controller, name: str = "val") -> Request:
    request = queue.ask(name)
    assert request is not None
    return request


def done(queue: Controller, request: Request) -> Outcome:
    return queue.finish(Outcome(request, "done"))


def test_requests_are_taken_in_order_one_at_a_time() -> None:
    """The next one is not given out while one runs."""
    queue = controller()
    first, second = asked(queue), asked(queue)
    assert queue.take("safe point") == first
    assert queue.take("safe point") is None and queue.take("serving") is None
    done(queue, first)
    assert queue.take("safe point") == second
    assert (first.id, second.id) == (1, 2)


def test_once_a_loop_has_called_it_alone_takes() -> None:
    """A safe point leaves requests to the loop; whoever serves takes them all the same."""
    queue = controller()
    queue.loop_calls()
    request = asked(queue)
    assert queue.take("safe point") is None and queue.only_a_loop_takes
    assert queue.take("loop") == request and not queue.only_a_loop_takes
    done(queue, request)
    asked(queue)
    assert queue.take("serving") is not None


@pytest.mark.parametrize("calls", [False, True])
def test_the_worker_takes_when_no_training_is_under_way(calls: bool) -> None:
    """A safe point, or a loop's call, keeps it away for the quiet time."""
    clock = Clock()
    queue = controller(clock)
    asked(queue)
    clock.now += 2
    if calls:
        queue.loop_calls()
    else:
        queue.stand_aside()
    clock.now += 1.9
    assert queue.take("worker") is None
    clock.now += 0.2
    assert queue.take("worker") is not None


def test_the_worker_leaves_a_new_request_to_a_training_that_begins() -> None:
    """It takes what has waited for the quiet time, though nothing was seen of a training."""
    clock = Clock()
    queue = controller(clock)
    asked(queue)
    assert queue.take("worker") is None
    clock.now += 2
    assert queue.take("worker") is not None


def test_training_waits_while_another_thread_evaluates() -> None:
    """A safe point is passed when the worker is through, not before."""
    queue = controller()
    request = asked(queue)
    assert queue.take("serving") == request
    thread = threading.Thread(target=queue.stand_aside, daemon=True)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    done(queue, request)
    thread.join(20)
    assert not thread.is_alive()


def test_the_thread_that_evaluates_passes_its_own_safe_points() -> None:
    """Otherwise it would wait for itself."""
    queue = controller()
    asked(queue)
    queue.take("safe point")
    queue.stand_aside()


def test_cancel_takes_a_waiting_request_out() -> None:
    """It never runs; its outcome says why."""
    queue = controller()
    request = asked(queue)
    outcome = queue.cancel(request.id, "not today")
    assert outcome == Outcome(request, "cancelled", error="not today") == queue.find(request.id)
    assert queue.take("safe point") is None and not queue.holds


def test_cancel_lets_a_running_request_stop() -> None:
    """Whoever runs it is told at its next look; the first reason stays."""
    queue = controller()
    request = asked(queue)
    queue.take("safe point")
    assert queue.should_stop() is None
    outcome = queue.cancel(request.id, "not today")
    queue.cancel(request.id, "nor tomorrow")
    assert outcome is not None and outcome.state == "running"
    assert queue.should_stop() == "not today" == queue.publishes()


def test_what_is_being_published_cannot_be_cancelled() -> None:
    """Nobody is told that an evaluation was cancelled whose markers appear."""
    queue = controller()
    request = asked(queue)
    queue.take("safe point")
    assert queue.publishes() is None
    assert queue.cancel(request.id) is None and queue.should_stop() is None


def test_cancel_of_what_is_over_or_unknown_changes_nothing() -> None:
    """It says so by None."""
    queue = controller()
    request = asked(queue)
    queue.take("safe point")
    done(queue, request)
    assert queue.cancel(request.id) is None and queue.cancel(99) is None


def test_close_cancels_everything_and_takes_no_more() -> None:
    """What waits is given back, what runs is told, and a request finds the queue closed."""
    queue = controller()
    asked(queue)
    waiting = asked(queue)
    queue.take("safe point")
    assert [one.request for one in queue.close("the end")] == [waiting]
    assert queue.should_stop() == "the end"
    assert queue.ask("val") is None


def test_a_clients_request_holds_until_somebody_resumes() -> None:
    """A script's holds until its outcome."""
    queue = controller()
    request = asked(queue)
    assert queue.holds
    queue.take("safe point")
    assert queue.holds
    done(queue, request)
    assert not queue.holds
    request = queue.ask("val", by="client")
    assert request is not None
    queue.take("safe point")
    done(queue, request)
    assert queue.holds
    queue.resumed()
    assert not queue.holds


def test_a_request_is_overdue_when_nobody_takes_any() -> None:
    """It counts from the request, or from when the last one was through."""
    clock = Clock()
    queue = controller(clock)
    first, second = asked(queue), asked(queue)
    clock.now += 29
    assert queue.overdue(30) is None
    clock.now += 1
    assert queue.overdue(30) == first
    queue.take("safe point")
    clock.now += 100
    assert queue.overdue(30) is None
    done(queue, first)
    assert queue.overdue(30) is None
    clock.now += 30
    assert queue.overdue(30) == second


def test_the_status_shows_what_waits_what_runs_and_what_was_last() -> None:
    """Plain values, with how far the pass is."""
    queue = controller()
    assert queue.status() == {"pending": [], "running": None, "last": None}
    first, second = asked(queue), queue.ask("test", ("hard",), by="client")
    queue.take("safe point")
    extent = SimpleNamespace(done=3, total=10)
    queue.begin(1200, extent)
    extent.done = 4
    status = queue.status()
    assert [one["loader"] for one in status["pending"]] == ["test"]
    assert status["pending"][0]["tags"] == ["hard"] and status["pending"][0]["by"] == "client"
    running = status["running"]
    assert (running["done"], running["total"], running["step"]) == (4, 10, 1200)
    done(queue, first)
    last = queue.status()["last"]
    assert (last["state"], last["done"], last["total"], last["step"]) == ("done", 4, 10, 1200)
    assert second is not None and queue.status()["running"] is None


def test_a_hundred_outcomes_are_kept() -> None:
    """The oldest ones go."""
    queue = controller()
    for _ in range(103):
        request = asked(queue)
        queue.take("safe point")
        done(queue, request)
    assert [one.request.id for one in queue.outcomes] == list(range(4, 104))


takers: tuple[Taker, ...] = ("loop", "safe point", "serving", "worker")
moves = st.lists(
    st.one_of(
        st.just("ask"),
        st.just("sign"),
        st.just("finish"),
        st.sampled_from(takers),
        st.tuples(st.just("cancel"), st.integers(1, 20)),
        st.tuples(st.just("later"), st.floats(0, 5)),
    ),
    max_size=60,
)


@given(moves)
def test_whatever_happens_every_request_has_one_end(
    found: list[str | tuple[str, int | float]],
) -> None:
    """It waits, runs, or is over, and is never in two of these; nothing runs twice."""
    clock = Clock()
    queue = controller(clock)
    taken: list[int] = []
    running: Request | None = None
    count = 0
    for move in found:
        match move:
            case "ask":
                asked(queue)
                count += 1
            case "sign":
                queue.stand_aside()
            case "finish" if running is not None:
                done(queue, running)
                running = None
            case ("cancel", number):
                queue.cancel(int(number))
            case ("later", seconds):
                clock.now += seconds
            case "loop" | "safe point" | "serving" | "worker":
                if move == "loop":
                    queue.loop_calls()
                request = queue.take(move)
                if request is not None:
                    assert running is None
                    running = request
                    taken.append(request.id)
    assert taken == sorted(set(taken))
    status = queue.status()
    waiting = [one["id"] for one in status["pending"]]
    over = [one.request.id for one in queue.outcomes]
    runs = [] if status["running"] is None else [status["running"]["id"]]
    assert sorted([*waiting, *over, *runs]) == list(range(1, count + 1))
    assert (running is not None) == bool(runs)
