"""Items on their way to the signal thread, in order; bounded, and nobody waits to put one in."""

from __future__ import annotations

import threading
from collections import Counter, deque

from weightslab.signals.item import Item

__all__ = ["Inbox"]

_QUIET_TOGETHER = 256
"""Items that fire nobody and wait for one that does before the thread is woken for them."""
_QUIET = 10
"""How many of them may wait, for each firing that may."""
_MOST_BYTES = 256 << 20


class Inbox:
    """A queue with places for `most` firings. `lock` guards whoever wants to stay in order.

    Items that fire nobody are history alone. They have a bound of their own, and those that
    do not fit are left out: history is then read from the ledger instead.
    """

    def __init__(self, most: int) -> None:
        self.lock = threading.Condition()
        self.most = most
        self.dropped: Counter[str] = Counter()
        """Firings that did not fit or were given up, by the name of the signal."""
        self.closed = False
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._firings = 0
        self._taken = 0
        self._done = 0

    @property
    def waiting(self) -> int:
        """Firings that are not over yet."""
        return self._firings + self._taken - self._done

    def put(self, item: Item) -> bool:
        """Let the signal thread have an item; False if there is no place. Holding `lock`."""
        if self.closed:
            return True
        fits = self._bytes + item.size_bytes <= _MOST_BYTES
        if not item.fires:
            if fits and len(self._items) - self._firings < _QUIET * self.most:
                self._append(item)
            return True
        if not fits or self._firings >= self.most:
            self._drop(item)
            return False
        self._firings += 1
        self._append(item)
        return True

    def _append(self, item: Item) -> None:
        self._items.append(item)
        self._bytes += item.size_bytes
        if self.is_due():
            self.lock.notify_all()

    def _drop(self, item: Item) -> None:
        for signal in item.fires:
            self.dropped[signal.name] += 1

    def take(self, timeout_s: float) -> Item | None:
        """The next item; None when there was none for a while, or it is closed."""
        with self.lock:
            self.lock.wait_for(self.is_due, timeout_s)
            if self.closed or not self._items:
                return None
            item = self._items.popleft()
            self._bytes -= item.size_bytes
            if item.fires:
                self._firings -= 1
                self._taken += 1
            return item

    def is_due(self) -> bool:
        """Whether there is work. Holding `lock`."""
        return self.closed or self._firings > 0 or len(self._items) >= _QUIET_TOGETHER

    def done(self, item: Item) -> None:
        """An item that was taken is over."""
        if item.fires:
            with self.lock:
                self._done += 1
                self.lock.notify_all()

    def wait(self, timeout_s: float, target: int | None = None) -> bool:
        """Wait until the firings that are here now are over; whether they are."""
        with self.lock:
            if target is None:
                target = self.target
            return self.lock.wait_for(lambda: self._done >= target or self.closed, timeout_s)

    @property
    def target(self) -> int:
        """How many firings will be over when those that are here now are."""
        return self._taken + self._firings

    def close(self) -> int:
        """Take no more items, and give up those that are left; how many firings are not over."""
        with self.lock:
            self.closed = True
            left = self.waiting
            for item in self._items:
                self._drop(item)
            self._items.clear()
            self._bytes = self._firings = 0
            self.lock.notify_all()
            return left
