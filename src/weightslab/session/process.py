"""Which session the module-level verbs act on, in this process."""

from __future__ import annotations

import os
import sys

from weightslab.errors import WorkerProcessError
from weightslab.session import slot
from weightslab.session.session import Session

__all__ = ["current", "current_or_none", "guard_worker", "reset"]


def current() -> Session:
    """The session of this process, made when there is none.

    A forked child starts one of its own, as its parent's was made: that stays the parent's.
    """
    session = current_or_none()
    if session is not None:
        return session
    with slot.lock:
        session = current_or_none()
        if session is None:
            parents = slot.held()
            session = parents.heir() if isinstance(parents, Session) else Session()
            slot.swap(session)
        return session


def current_or_none() -> Session | None:
    """The session of this process, or None when no verb was called yet."""
    session = slot.held()
    if isinstance(session, Session) and session.process_id == os.getpid():
        return session
    return None


def reset() -> None:
    """Close the current session; the next verb starts afresh.

    Example:
        >>> import weightslab as wl
        >>> wl.reset()
    """
    former = slot.swap(None)
    if former is not None:
        former.close()


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
