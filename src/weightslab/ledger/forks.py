"""Forks: DataLoader workers are forked while our threads live.

Before a fork every ledger is brought to rest (nobody holds a lock of ours, or
one of pyarrow's); the parent goes on; the child owns nothing of it.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Protocol

__all__ = ["Forkable", "guard_forks"]


class Forkable(Protocol):
    """What rests while its process forks."""

    @property
    def closed(self) -> bool:
        """Whether it has no threads any more."""

    def locks(self) -> tuple[Any, ...]:
        """What must be held so that nobody writes, in the order of taking."""

    def disown(self) -> None:
        """In the child: touch nothing that is the parent's."""


_ledgers: weakref.WeakSet[Forkable] = weakref.WeakSet()
_local = threading.local()
_registered = False


def guard_forks(ledger: Forkable) -> None:
    """Bring `ledger` to rest around every fork of this process."""
    global _registered  # noqa: PLW0603  # hooks cannot be taken back: they are set once
    _ledgers.add(ledger)
    if not _registered:
        _registered = True
        os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def _before() -> None:
    _local.held = []
    for ledger in list(_ledgers):
        for lock in () if ledger.closed else ledger.locks():
            lock.acquire()
            _local.held.append(lock)


def _release() -> None:
    held: list[Any] = getattr(_local, "held", [])
    while held:
        held.pop().release()


def _in_parent() -> None:
    _release()


def _in_child() -> None:
    _release()
    for ledger in list(_ledgers):
        if not ledger.closed:
            ledger.disown()
    _ledgers.clear()
