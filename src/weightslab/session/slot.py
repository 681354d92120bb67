"""The one place of process state: which session is current, and which are to be closed at exit."""

from __future__ import annotations

import atexit
import threading
import weakref
from typing import Protocol

__all__ = ["Held", "close_at_exit", "held", "lock", "swap"]


class Held(Protocol):
    """What stands here."""

    def close(self) -> None:
        """Write everything out. A second call does nothing."""


lock = threading.RLock()
_current: Held | None = None
_open: weakref.WeakSet[Held] = weakref.WeakSet()
_closing = False


def held() -> Held | None:
    """The session that was put here last, also one of the process that forked this one."""
    return _current


def swap(session: Held | None) -> Held | None:
    """Make `session` the current one; gives the former."""
    global _current  # this module is what holds it
    with lock:
        former, _current = _current, session
    return former


def close_at_exit(session: Held) -> None:
    """Close `session` when the interpreter ends, if nobody did before."""
    global _closing  # noqa: PLW0603
    with lock:
        _open.add(session)
        if not _closing:
            _closing = True
            atexit.register(_close_all)


def _close_all() -> None:
    for session in list(_open):
        session.close()
