"""From the thread that saves a value to the one that computes signals of it.

The thread that saves only copies, and goes on. One daemon thread does the rest, item by item
in the order in which values were saved.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from weightslab.ledger import Ledger
from weightslab.ledger.log.records import Floats
from weightslab.notices import Notices
from weightslab.signals.call import Results
from weightslab.signals.failures import Failures
from weightslab.signals.inbox import Inbox
from weightslab.signals.item import Item
from weightslab.signals.runner import Runner
from weightslab.signals.subscriptions import Subscription
from weightslab.types import Rows

__all__ = ["Dispatch"]


class Dispatch:
    """Hears of values, and lets the signals be computed that they fire.

    Args:
        ledger: where values are; called on either thread.
        origin: the split of the batch that the calling thread works on.
        acting: within it, verbs that this thread calls act on the session of the signals.
        most: firings that may wait.
    """

    def __init__(
        self,
        ledger: Callable[[], Ledger],
        notices: Notices,
        *,
        origin: Callable[[], str | None],
        acting: Callable[[], AbstractContextManager[object]],
        most: int,
    ) -> None:
        self._ledger = ledger
        self._notices = notices
        self._origin = origin
        self._acting = acting
        self.inbox = Inbox(most)
        self.failures = Failures(notices)
        self.subscriptions: Mapping[str, Subscription] = {}
        """By the name that is subscribed to; replaced as a whole."""
        self.idle_s = 30.0
        """A thread that had nothing to do for so long ends; the next firing starts another one."""
        self._runner = Runner(ledger, self._derived, self.failures)
        self._thread: threading.Thread | None = None
        self._turn = threading.Lock()
        """Held by whoever takes items."""
        self._worker: int | None = None
        """The thread that works on an item now."""

    # -- on the thread that saves -------------------------------------------------

    def heard(
        self,
        signals: Mapping[str, Floats],
        rows: Rows | None,
        annotations: Rows | None,
        step: int,
    ) -> None:
        """Values were saved: those that somebody listens to are copied, and wait in line."""
        subscriptions = self.subscriptions
        for name in signals:
            if name in subscriptions:
                try:
                    self._take(subscriptions[name], signals[name], rows, annotations, step)
                except Exception as error:  # noqa: BLE001  # a training thread saved this
                    self._notices.warn_once(
                        ("signals of", name),
                        f"the signals that subscribe to {name!r} did not fire: "
                        f"{type(error).__name__}: {error}",
                    )

    def _take(
        self,
        subscription: Subscription,
        values: Floats,
        rows: Rows | None,
        annotations: Rows | None,
        step: int,
    ) -> None:
        running = self._runner.running if self.on_signal_thread else None
        chain = () if running is None else running.chain
        if subscription.name in chain:
            self._say_circle(chain, subscription.name)
            return
        # Before the lock: the ledger has one of its own.
        experiment_hash = self._ledger().experiment_hash
        with self.inbox.lock:
            item = subscription.heard(
                values,
                rows,
                annotations,
                step=step,
                experiment_hash=experiment_hash,
                origin=self._origin(),
                chain=(*chain, subscription.name),
            )
            if item is None:
                return
            if running is not None:
                self._runner.also(item)
                return
            fits = self.inbox.put(item)
            if item.fires:
                self._ensure_thread()
        if not fits:
            self._say_dropped(item)

    def _derived(self, name: str, item: Item, results: Results) -> Item | None:
        subscription = self.subscriptions.get(name)
        if subscription is None:
            return None
        positions, values = results
        with self.inbox.lock:
            return subscription.heard(
                values,
                None if item.rows is None else item.rows[positions],
                None if item.annotations is None else item.annotations[positions],
                step=item.step,
                experiment_hash=item.experiment_hash,
                origin=item.origin,
                chain=(*item.chain, name),
            )

    def _say_circle(self, chain: tuple[str, ...], name: str) -> None:
        self._notices.warn_once(
            ("signals in a circle", name),
            f"a signal saves {name!r} itself, and is fired by it ({' -> '.join((*chain, name))}): "
            f"what it saved is kept and fires nothing; save it under another name",
        )

    def _say_dropped(self, item: Item) -> None:
        names = ", ".join(signal.name for signal in item.fires)
        self._notices.warn_once(
            "signals dropped",
            f"signals are slower than the training: {self.inbox.waiting} batches wait for them, "
            f"and this one was dropped and counted for {names}. Let them compute a batch at once "
            f"(batched=True), or less often (compute_every_n_steps=10)",
            count=len(item.fires),
        )

    def _ensure_thread(self) -> None:
        """Have a signal thread. Holding the inbox's lock."""
        if self._thread is not None and self._thread.is_alive():
            return
        thread = threading.Thread(target=self._work, name="weightslab-signals", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter ends, or there are too many: whoever waits works
            self._thread = None
        else:
            self._thread = thread

    # -- on the signal thread -------------------------------------------------------

    @property
    def on_signal_thread(self) -> bool:
        """Whether this thread is at work on an item."""
        return self._worker == threading.get_ident()

    def _work(self) -> None:
        with self._turn, self._acting():
            while True:
                item = self.inbox.take(self.idle_s)
                if item is not None:
                    self._run(item)
                    continue
                with self.inbox.lock:
                    if self.inbox.closed or not self.inbox.is_due():
                        self._thread = None
                        return

    def _run(self, item: Item) -> None:
        self._worker = threading.get_ident()
        try:
            self._runner.run(item)
        finally:
            self._worker = None
            self.inbox.done(item)

    # -- on a thread that waits ------------------------------------------------------

    def work_here(self) -> bool:
        """Work on an item on this thread if there can be no signal thread; whether it did."""
        with self.inbox.lock:
            self._ensure_thread()
            if self._thread is not None:
                return False
        if not self._turn.acquire(blocking=False):
            return False
        try:
            item = self.inbox.take(0)
            if item is not None:
                with self._acting():
                    self._run(item)
            return item is not None
        finally:
            self._turn.release()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end, once nothing more is to come."""
        thread = self._thread
        if thread is not None and not self.on_signal_thread:
            thread.join(timeout_s)
