"""The signals of one session: their definitions, and the thread that computes the dynamic ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from weightslab.ledger import Ledger
from weightslab.ledger.log.records import Floats
from weightslab.notices import Notices
from weightslab.signals.definition import Signal
from weightslab.signals.dispatch import Dispatch
from weightslab.signals.failures import Failures
from weightslab.signals.registry import SignalRegistry
from weightslab.signals.subscriptions import Subscription
from weightslab.types import Rows

__all__ = ["Listener", "Signals"]

_MOST_WAITING = 1000
"""Batches of values that may wait for the signals which they fire."""
_LOOK_S = 1.0
"""How often whoever waits makes sure that somebody works."""
_SAY_S = 5.0
"""After how long of waiting the reason is said."""


class Listener(Protocol):
    """Hears of every value that went to the ledger, on the thread that saved it.

    It does not keep the arrays: they may be the caller's own memory, to be overwritten.
    """

    def heard(
        self, signals: Mapping[str, Floats], rows: Rows | None, annotations: Rows | None, step: int
    ) -> None:
        """Values were saved; `rows` None: scalars of the curve, arrays of length 1 or numbers."""


class Signals:
    """Definitions in order, and what the dynamic ones among them are doing.

    Args:
        ledger: where values are saved; opens it.
        opened: the same, None before it was opened.
        origin: the split of the batch that the calling thread works on.
        acting: within it, verbs that this thread calls act on this session.
        listen: takes whoever wants to hear of values that are saved.
    """

    def __init__(
        self,
        ledger: Callable[[], Ledger],
        opened: Callable[[], Ledger | None],
        notices: Notices,
        *,
        origin: Callable[[], str | None],
        acting: Callable[[], AbstractContextManager[object]],
        listen: Callable[[Listener | None], None],
    ) -> None:
        self._opened = opened
        self._notices = notices
        self._listen = listen
        self.registry = SignalRegistry()
        self.most_wait_s = 60.0
        """How long a query, or the end, waits for signals that are still to be computed."""
        self._dispatch = Dispatch(ledger, notices, origin=origin, acting=acting, most=_MOST_WAITING)

    @property
    def failures(self) -> Failures:
        """What functions raised, static ones too."""
        return self._dispatch.failures

    @property
    def computes_here(self) -> bool:
        """Whether it is a dynamic signal's function that the calling thread is in.

        Training goes on beside it: this is no place for what belongs between two of its steps.
        """
        return self._dispatch.on_signal_thread

    def define(self, signal: Signal) -> None:
        """Take up a definition, in place of the one that had its name.

        Raises:
            InputError: its values would fire itself; nothing was changed.
        """
        self.registry.add(signal)
        self._subscribe()

    def say_shared(self, name: str) -> None:
        """Say that a signal has the name of something that is watched."""
        self._notices.warn_once(
            ("signal of two", name),
            f"{name!r} is both a signal and something that is watched: what they record is one "
            f"history. Give one of them another name, @wl.signal(name=...) or signal_name=",
        )

    def inherit(self, former: Signals) -> None:
        """Take over the definitions of another session, beside those that are here."""
        for signal in former.registry:
            if signal.name not in self.registry:
                self.registry.add(signal)
        self._subscribe()

    def _subscribe(self) -> None:
        before, ledger = self._dispatch.subscriptions, self._opened()
        found: dict[str, Subscription] = {}
        for signal in self.registry:
            name = signal.subscribe_to
            if name is not None and name not in found:
                found[name] = before.get(name) or Subscription(name)
                found[name].follow(self.registry.subscribers(name), ledger)
        self._dispatch.subscriptions = found
        self._listen(self._dispatch if found else None)

    # -- waiting ------------------------------------------------------------------

    def drain(self) -> bool:
        """Wait until what was saved so far has fired all that it fires; whether it has.

        A signal that reads does not wait for itself. After `most_wait_s` it goes on without,
        and says so. Not to be called with a lock that a signal's function may need.
        """
        dispatch, inbox = self._dispatch, self._dispatch.inbox
        if not inbox.waiting or dispatch.on_signal_thread:
            return True
        target = inbox.target
        begun = time.monotonic()
        while not inbox.wait(0, target):
            waited_s = time.monotonic() - begun
            if waited_s >= self.most_wait_s:
                self._notices.warn_once(
                    "signals not drained",
                    f"{inbox.waiting} batches of values still wait for their signals after "
                    f"{self.most_wait_s:g} s: what was asked for goes on without. Let them compute "
                    f"a batch at once (batched=True), or less often (compute_every_n_steps=10)",
                )
                return False
            if waited_s >= _SAY_S:
                self._notices.warn_once(
                    "signals slow",
                    f"waiting for signals to be computed of {inbox.waiting} batches of values, "
                    f"{self.most_wait_s:g} s at most",
                )
            if not dispatch.work_here():
                inbox.wait(min(_LOOK_S, self.most_wait_s - waited_s), target)
        return True

    def close(self) -> None:
        """Compute what is left, within `most_wait_s`, and end the thread."""
        dispatch, inbox = self._dispatch, self._dispatch.inbox
        if inbox.closed:
            return
        try:
            self.drain()
        finally:  # Ctrl-C ends the waiting
            left = inbox.close()
            dispatch.failures.silent = True
            if left:
                self._notices.warn_once(
                    "signals given up",
                    f"{left} batches of values were given up before their signals were computed: "
                    f"they are counted in the status, and the values themselves are saved",
                    count=left,
                )
        dispatch.join(min(1.0, self.most_wait_s))

    def status(self) -> dict[str, Any]:
        """How many batches wait; by the name of the signal what was dropped and failed.

        `unheard` are those that have met no value yet of what they subscribe to.
        """
        dispatch = self._dispatch
        return {
            "waiting": dispatch.inbox.waiting,
            "dropped": dict(dispatch.inbox.dropped),
            "failed": dict(dispatch.failures.counts),
            "unheard": {
                signal.name: subscription.name
                for subscription in dispatch.subscriptions.values()
                if not subscription.has_heard
                for signal in subscription.signals
            },
            "history_bytes": sum(
                layer.size_bytes
                for subscription in dispatch.subscriptions.values()
                for layer in subscription.layers.values()
            ),
        }
