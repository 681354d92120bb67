"""The one place of process state: which session is current, and which are to be closed at exit."""

from __future__ import annotations

import atexit
import contextlib
import threading
import warnings
import weakref
from collections.abc import Iterator
from typing import Protocol

from weightslab.errors import WeightsLabWarning

__all__ = ["Held", "acting", "close_at_exit", "held", "lock", "swap"]


class Held(Protocol):
    """What stands here."""

    def close(self) -> None:
        """Write everything out. A second call does nothing."""


lock = threading.RLock()
_current: Held | None = None
_open: weakref.WeakSet[Held] = weakref.WeakSet()
_closing = False


class _Own(threading.local):
    """The session that one thread acts for, whichever is current elsewhere."""

    session: Held | None = None


_own = _Own()


def held() -> Held | None:
    """The session that was put here last, also one of the process that forked this one."""
    own = _own.session
    return _current if own is None else own


@contextlib.contextmanager
def acting(session: Held) -> Iterator[None]:
    """Within it, what this thread asks for is `session`: it works for that one alone."""
    before, _own.session = _own.session, session
    try:
        yield
    finally:
        _own.session = before


def swap(session: Held | None) -> Held | None:
    """Make `session` the current one; gives the former.

    A thread that acts for a session enters another one for itself: those that train beside it
    stay where they are. Only an end (None) is one for everybody.
    """
    global _current  # noqa: PLW0603  # this module is what holds it
    with lock:
        own = _own.session
        if own is not None:
            _own.session = session
            if session is None and _current is own:
                _current = None
            return own
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
    """Close what is open; one that cannot close keeps no other from closing."""
    for session in list(_open):
        try:
            session.close()
        except Exception as error:  # noqa: BLE001  # the others' values are still to be written
            with contextlib.suppress(WeightsLabWarning):  # a filter may turn it into an error
                warnings.warn(
                    f"a session could not be closed, what it still held may be lost: "
                    f"{type(error).__name__}: {error}",
                    WeightsLabWarning,
                    stacklevel=2,
                )
