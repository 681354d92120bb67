from __future__ import annotations

import threading
import time

import pytest

import weightslab as wl
from weightslab.errors import InputError
from weightslab.session.control import Control


def wait_until(true: object, seconds: float = 20) -> None:
    """Let another thread get there."""
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def at_safe_point(control: Control, errands: list[int]) -> threading.Thread:
    """A thread that stands at a safe point."""
    thread = threading.Thread(target=lambda: control.stop(lambda: errands.append(1)), daemon=True)
    thread.start()
    return thread


def test_a_safe_point_of_a_training_that_goes_on_runs_errands_once() -> None:
    """Nothing is paused: the errands run, and the thread goes on."""
    control, errands = Control(), []
    control.stop(lambda: errands.append(1))
    assert errands == [1] and not control.waiting


def test_a_paused_thread_waits_until_every_reason_is_gone() -> None:
    """One reason's resume does not end another's pause."""
    control, errands = Control(), []
    assert control.pause("user") and control.pause("evaluation")
    assert not control.pause("user")
    thread = at_safe_point(control, errands)
    wait_until(lambda: control.waiting)
    assert control.resume("evaluation")
    thread.join(0.3)
    assert thread.is_alive() and control.reasons == ("user",)
    control.resume()
    thread.join(20)
    assert not thread.is_alive() and not control.paused and not control.waiting


def test_a_paused_thread_does_errands_when_it_is_woken() -> None:
    """Whoever waits at a safe point takes what comes meanwhile."""
    control, errands = Control(), []
    control.pause()
    thread = at_safe_point(control, errands)
    wait_until(lambda: control.waiting)
    before = len(errands)
    control.wake()
    wait_until(lambda: len(errands) > before)
    control.resume()
    thread.join(20)


def test_a_safe_point_is_not_entered_twice_by_one_thread() -> None:
    """What an errand does (iterate a loader, step an optimizer) is no safe point of its own."""
    control, errands = Control(), []

    def errand() -> None:
        errands.append("outer")
        control.stop(lambda: errands.append("inner"))

    control.stop(errand)
    assert errands == ["outer"]
    control.stop(lambda: errands.append("next"))
    assert errands == ["outer", "next"]


def test_a_raising_errand_leaves_the_safe_point() -> None:
    """The next safe point is one again."""
    control, errands = Control(), []
    with pytest.raises(ZeroDivisionError):
        control.stop(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    control.stop(lambda: errands.append(1))
    assert errands == [1]


def test_let_go_ends_the_wait_of_a_paused_thread() -> None:
    """A pause never keeps a loop from the call that it alone can make."""
    control = Control()
    control.pause()
    control.stop(lambda: None, lambda: True)
    assert control.paused


def test_the_verbs_pause_and_resume() -> None:
    """`wl.pause` and `wl.resume` are what `wl.status` says."""
    wl.pause()
    assert wl.status()["paused"] and wl.status()["pause_reasons"] == ["user"]
    wl.resume()
    assert not wl.status()["paused"]


def test_keep_serving_comes_back_after_its_timeout() -> None:
    """Paused or not, the call keeps its time."""
    wl.pause()
    wl.keep_serving(timeout=0.05)
    wl.resume()
    wl.keep_serving(timeout=0)


@pytest.mark.parametrize("timeout", [-1, "1", True])
def test_keep_serving_refuses_what_is_no_time(timeout: object) -> None:
    """A timeout is a number of seconds."""
    with pytest.raises(InputError, match="seconds"):
        wl.keep_serving(timeout)  # type: ignore[arg-type]
