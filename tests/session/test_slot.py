"""Whose session a thread acts on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import weightslab as wl
from weightslab.session import current, slot


def on_another_thread(work: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def test_a_thread_may_act_for_one_session() -> None:
    """Whichever is current elsewhere: to that thread its own is, and to others it is not."""
    session = wl.Session("own")

    def work() -> Any:
        with slot.acting(session):
            return current() is session, on_another_thread(current) is other

    with wl.Session("other") as other:
        assert on_another_thread(work) == (True, True)
        assert current() is other
    session.close()


def test_what_it_enters_is_its_own() -> None:
    """A session that such a thread enters, and leaves, is nobody else's."""
    session = wl.Session("own")

    def work() -> Any:
        with slot.acting(session):
            with wl.Session("inner") as inner:
                here, there = current() is inner, on_another_thread(current) is other
            return here, there, current() is session

    with wl.Session("other") as other:
        assert on_another_thread(work) == (True, True, True)
    session.close()


def test_what_it_enters_moves_nobody() -> None:
    """Also where its session is everybody's: who trains beside it writes where it did."""
    session = current()

    def work() -> Any:
        with slot.acting(session):
            with wl.Session("inner") as inner:
                here, there = current() is inner, on_another_thread(current) is session
            return here, there, current() is session, on_another_thread(current) is session

    assert on_another_thread(work) == (True, True, True, True)
    assert current() is session


def test_it_ends_the_session_of_all() -> None:
    """Where its session is everybody's, a fresh start is one for everybody."""
    session = current()

    def work() -> None:
        with slot.acting(session):
            wl.reset()

    on_another_thread(work)
    assert current() is not session
