"""The queue: bounded, in order, and it knows what is not over."""

from __future__ import annotations

import numpy as np

from weightslab.signals.definition import Signal
from weightslab.signals.inbox import Inbox
from weightslab.signals.item import Item

SIGNAL = Signal("s", lambda ctx: None, "loss")


def item(step: int, *, fires: bool = True, size: int = 1) -> Item:
    values = np.broadcast_to(np.float32(0), (size,))
    rows = np.broadcast_to(np.int32(0), (size,))
    fired = (SIGNAL,) if fires else ()
    return Item(
        "loss", values, rows, None, step, None, None, fired, None, None, None, ("loss",)
    )  # fmt: skip


def put(inbox: Inbox, one: Item) -> bool:
    with inbox.lock:
        return inbox.put(one)


def test_what_does_not_fit_is_counted() -> None:
    """The newest is left out; as soon as one is over there is a place again."""
    inbox = Inbox(2)
    assert [put(inbox, item(step)) for step in range(4)] == [True, True, False, False]
    assert inbox.dropped == {"s": 2}
    assert inbox.waiting == 2
    taken = inbox.take(0)
    assert taken is not None
    assert taken.step == 0
    assert inbox.waiting == 2  # it is at work
    inbox.done(taken)
    assert inbox.waiting == 1
    assert put(inbox, item(4))
    assert [one.step for one in (inbox.take(0), inbox.take(0)) if one is not None] == [1, 4]


def test_what_is_history_alone_needs_no_place() -> None:
    """Items that fire nobody take no firing's place, are kept in order, and are not waited for."""
    inbox = Inbox(1)
    assert put(inbox, item(0, fires=False))
    assert put(inbox, item(1))
    assert inbox.waiting == 1
    assert [one.step for one in (inbox.take(0), inbox.take(0)) if one is not None] == [0, 1]


def test_history_alone_is_bounded_and_no_loss() -> None:
    """Where too many wait, the rest is left out and not counted: the ledger has it."""
    inbox = Inbox(1)
    assert all(put(inbox, item(step, fires=False)) for step in range(50))
    assert put(inbox, item(50))
    taken = []
    while (one := inbox.take(0)) is not None:
        taken.append(one.step)
    assert taken == [*range(10), 50]
    assert inbox.dropped == {}


def test_large_batches_are_bounded_by_their_memory() -> None:
    """A few huge batches fill the queue as many small ones do."""
    inbox = Inbox(1000)
    assert put(inbox, item(0, size=20 << 20))
    assert not put(inbox, item(1, size=20 << 20))
    assert put(inbox, item(2))
    assert inbox.dropped == {"s": 1}


def test_waiting_is_for_what_is_here_now() -> None:
    """Whoever waits is not held up by what comes later."""
    inbox = Inbox(10)
    put(inbox, item(0))
    target = inbox.target
    put(inbox, item(1))
    assert not inbox.wait(0, target)
    first = inbox.take(0)
    assert first is not None
    inbox.done(first)
    assert inbox.wait(0, target)
    assert inbox.waiting == 1


def test_a_closed_one_gives_up_what_is_left() -> None:
    """It is counted, what comes later is not taken, and nobody waits for it."""
    inbox = Inbox(10)
    for step in range(3):
        put(inbox, item(step))
    assert inbox.take(0) is not None
    assert inbox.close() == 3  # one of them is at work
    assert inbox.dropped == {"s": 2}
    put(inbox, item(3))
    assert inbox.take(0) is None
    assert inbox.wait(0)
