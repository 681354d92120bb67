from __future__ import annotations

import threading
import time
from collections.abc import Callable

from weightslab.evaluation.controller import Controller
from weightslab.evaluation.request import Outcome, Request
from weightslab.evaluation.worker import Worker


def wait_until(true: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


class Room:
    """A controller with its worker, and what that did."""

    def __init__(self) -> None:
        self.queue = Controller(quiet_s=0.0)
        self.ran: list[tuple[int, str]] = []
        self.late: list[Request] = []
        self.worker = Worker(self.queue, self.run, self.late.append, late_s=0.05)

    def run(self) -> bool:
        request = self.queue.take("worker")
        if request is None:
            return False
        self.ran.append((request.id, threading.current_thread().name))
        self.queue.finish(Outcome(request, "done"))
        return True


def test_no_request_no_thread() -> None:
    """The thread starts with a request, runs it, and ends."""
    room = Room()
    assert not room.worker.is_alive
    room.queue.ask("val")
    room.worker.wake()
    wait_until(lambda: not room.worker.is_alive)
    assert room.ran == [(1, "weightslab-evaluation")]


def test_it_starts_anew_with_the_next_request() -> None:
    """Whenever a request comes, also as the thread is about to end: it is run."""
    room = Room()
    for number in range(200):
        room.queue.ask("val")
        room.worker.wake()
        wait_until(lambda number=number: len(room.ran) > number)  # type: ignore[misc]
    assert [number for number, _ in room.ran] == list(range(1, 201))


def test_a_request_that_nobody_takes_is_said_once() -> None:
    """A loop takes, and does not: it is said for the request, and not again and again."""
    room = Room()
    room.queue.underway.quiet_s = 1e9
    room.queue.stand_aside()
    request = room.queue.ask("val")
    room.worker.wake()
    wait_until(lambda: room.late)
    time.sleep(0.3)
    assert room.late == [request] and room.ran == []
    room.queue.close("the end")
    wait_until(lambda: not room.worker.is_alive)


def test_join_waits_for_the_thread_and_not_for_itself() -> None:
    """Also called on the worker's thread, as an evaluation that closes its session does."""
    room = Room()

    def run() -> bool:
        room.worker.join()
        return room.run()

    room.worker = Worker(room.queue, run, room.late.append)
    room.queue.ask("val")
    room.worker.wake()
    room.worker.join()
    assert room.ran == [(1, "weightslab-evaluation")]
