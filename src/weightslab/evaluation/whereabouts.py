"""On which thread a training is at work: from what it was last seen to do there."""

from __future__ import annotations

import threading

__all__ = ["Whereabouts"]


class Whereabouts:
    """Threads that step, that draw batches, and that save values.

    A safe point on a thread that only draws is none: whoever computes is in the middle of a
    step meanwhile. Safe for threads: each note is one assignment.
    """

    def __init__(self) -> None:
        self._stepping: threading.Thread | None = None
        self._saving: threading.Thread | None = None
        self._drawing: threading.Thread | None = None
        self._began: threading.Thread | None = None
        """The thread that drew two batches or more."""

    def stepped(self) -> None:
        """A watched optimizer stepped on this thread: that is where training is."""
        self._stepping = threading.current_thread()

    def saved(self) -> None:
        """A value came on this thread in a training whose optimizer nobody watches."""
        self._saving = threading.current_thread()

    def draws(self) -> None:
        """A batch of a training loader is drawn on this thread."""
        me = threading.current_thread()
        if self._drawing is me:
            self._began = me
        self._drawing = me

    @property
    def reads_ahead(self) -> bool:
        """Whether batches are drawn on a thread where no training stands still meanwhile."""
        stepping = _alive(self._stepping)
        return None not in (stepping, self._drawing) and stepping is not self._drawing

    @property
    def steps_elsewhere(self) -> bool:
        """Whether optimizers step on another thread than this one."""
        return _alive(self._stepping) not in (None, threading.current_thread())

    @property
    def may_only_draw(self) -> bool:
        """Whether batches are drawn here, and nothing shows that training is here as well.

        The main thread is taken to train. With its first batch no thread is in a step.
        """
        me = threading.current_thread()
        return (
            self._began is me
            and me is not threading.main_thread()
            and me not in (_alive(self._stepping), self._saving)
        )

    @property
    def is_elsewhere(self) -> bool:
        """Whether all that was seen of a training was on other threads that are alive."""
        seen = {_alive(one) for one in (self._stepping, self._saving, self._drawing)} - {None}
        return bool(seen) and threading.current_thread() not in seen


def _alive(thread: threading.Thread | None) -> threading.Thread | None:
    return thread if thread is not None and thread.is_alive() else None
