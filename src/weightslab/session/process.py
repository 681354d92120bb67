"""Which session the module-level verbs act on, in this process."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING

from weightslab.errors import WorkerProcessError

if TYPE_CHECKING:
    from weightslab.session.session import Session

__all__ = ["close_at_exit", "current", "current_or_none", "guard_worker", "reset", "swap"]

_lock = threading.RLock()
_current: Session | None = None
_open: weakref.WeakSet[Session] = weakref.WeakSet()
_closing = False


def current() -> Session:
    """The session of this process, made when there is none.

    A forked child that trains starts one of its own: its parent's stays the parent's.
    """
    global _current  # noqa: PLW0603  # the one place of process state
    session = _current
    if session is not None and session.process_id == os.getpid():
        return session
    from weightslab.session.session import Session

    with _lock:
        if _current is None or _current.process_id != os.getpid():
            _current = Session(None if _current is None else _current.explicit_root)
        return _current


def current_or_none() -> Session | None:
    """The session of this process, or None when no verb was called yet."""
    session = _current
    return session if session is not None and session.process_id == os.getpid() else None


def swap(session: Session | None) -> Session | None:
    """Make `session` the current one; gives the former."""
    global _current
    with _lock:
        former, _current = _current, session
    return former


def reset() -> None:
    """Close the current session; the next verb starts afresh."""
    former = swap(None)
    if former is not None:
        former.close()


def close_at_exit(session: Session) -> None:
    """Close `session` when the interpreter ends, if nobody did before."""
    global _closing  # noqa: PLW0603
    with _lock:
        _open.add(session)
        if not _closing:
            _closing = True
            atexit.register(_close_all)


def _close_all() -> None:
    for session in list(_open):
        session.close()


def guard_worker(verb: str) -> None:
    """Refuse a verb inside a DataLoader worker, where there is no session.

    Raises:
        WorkerProcessError: this process is a DataLoader worker.
    """
    data = sys.modules.get("torch.utils.data")
    if data is not None and data.get_worker_info() is not None:
        raise WorkerProcessError(
            f"wl.{verb} was called inside a DataLoader worker, which has no session: "
            f"call it in the training process (return what you need from __getitem__)"
        )
