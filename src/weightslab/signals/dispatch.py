"""The signal thread: takes items in order, calls the functions that they fire, saves the results.

The thread that saves a value only copies it and goes on. One daemon thread does the rest:
item by item in the order in which they were saved; for an item its subscribers in order of
registration; and what a result fires in turn, breadth first, before the next item.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from weightslab.ledger import Ledger
from weightslab.ledger.log.records import Floats
from weightslab.notices import Notices
from weightslab.signals.call import Results, Scene, call
from weightslab.signals.definition import Signal
from weightslab.signals.failures import Failures
from weightslab.signals.firing import Firing
from weightslab.signals.inbox import Inbox
from weightslab.signals.item import Item
from weightslab.signals.past import Past
from weightslab.signals.subscriptions import Subscription
from weightslab.types import Rows

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Dispatch"]

_IDLE_S = 30.0
"""A thread that had nothing to do for so long ends; the next firing starts another one."""

_NO_ROWS: Rows = np.empty(0, np.int32)


class Dispatch:
    """Hears of values, and runs what they fire.

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
        self._thread: threading.Thread | None = None
        self._worker: int | None = None
        """The thread that works on an item now."""
        self._running: Item | None = None
        self._next: deque[Item] = deque()
        """What the item at work has fired in turn."""

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
                    self._take(name, signals[name], rows, annotations, step)
                except Exception as error:  # noqa: BLE001  # a training thread saved this
                    self._notices.warn_once(
                        ("signals of", name),
                        f"the signals that subscribe to {name!r} did not fire: "
                        f"{type(error).__name__}: {error}",
                    )

    def _take(
        self, name: str, values: Floats, rows: Rows | None, annotations: Rows | None, step: int
    ) -> None:
        running = self._running if self.on_signal_thread else None
        if running is not None and name in running.chain:
            self._say_circle(running, name)
            return
        experiment_hash = self._ledger().experiment_hash
        origin = self._origin()
        with self.inbox.lock:
            item = self.subscriptions[name].heard(
                values,
                rows,
                annotations,
                step=step,
                experiment_hash=experiment_hash,
                origin=origin,
                chain=(*(() if running is None else running.chain), name),
            )
            if item is None:
                return
            if running is not None:
                self._next.append(item)
                return
            fits = self.inbox.put(item)
            if item.fires:
                self._ensure_thread()
        if not fits:
            self._say_dropped(item)

    def _say_circle(self, running: Item, name: str) -> None:
        chain = " -> ".join((*running.chain, name))
        self._notices.warn_once(
            ("signals in a circle", name),
            f"a signal saves {name!r} itself, and is fired by it ({chain}): what it saved is kept "
            f"and fires nothing; save it under another name",
        )

    def _say_dropped(self, item: Item) -> None:
        names = ", ".join(signal.name for signal in item.fires)
        self._notices.warn_once(
            "signals dropped",
            f"signals are slower than the training: {self.inbox.most} batches wait for them, and "
            f"this one was dropped and counted for {names}. Let them compute a batch at once "
            f"(batched=True), or less often (compute_every_n_steps=10)",
            count=len(item.fires),
        )

    def _ensure_thread(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        thread = threading.Thread(target=self._work, name="weightslab-signals", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter ends, or there are too many: whoever waits works
            return
        self._thread = thread

    # -- on the signal thread -------------------------------------------------------

    @property
    def on_signal_thread(self) -> bool:
        """Whether this thread is at work on an item."""
        return self._worker == threading.get_ident()

    def _work(self) -> None:
        with self._acting():
            while True:
                item = self.inbox.take(_IDLE_S)
                if item is not None:
                    self._run(item)
                    continue
                with self.inbox.lock:
                    if self.inbox.closed or not self.inbox.is_due():
                        self._thread = None
                        return

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end, once there is nothing more to come."""
        thread = self._thread
        if thread is not None and not self.on_signal_thread:
            thread.join(timeout_s)

    def work_here(self) -> bool:
        """Work on an item on this thread, where no signal thread can be; whether there was one."""
        with self.inbox.lock:
            self._ensure_thread()
            if self._thread is not None and self._thread.is_alive():
                return False
        item = self.inbox.take(0)
        if item is not None:
            with self._acting():
                self._run(item)
        return item is not None

    def _run(self, item: Item) -> None:
        self._worker = threading.get_ident()
        try:
            self._next.append(item)
            while self._next:
                self._fire(self._next.popleft())
        except BaseException as error:  # noqa: BLE001  # the thread stays, whatever went wrong
            self._next.clear()
            if not self.inbox.closed:
                for signal in item.fires:
                    self.failures.add(signal.name, error, count=len(item.values))
        finally:
            self._worker = self._running = None
            self.inbox.done(item)

    def _fire(self, item: Item) -> None:
        """Run the signals of an item, then let what was heard of it be history."""
        self._running = item
        ledger = self._ledger()
        layers = self.subscriptions[item.name].layers if item.name in self.subscriptions else {}
        layer = layers.get(item.kind) if item.places is not None else None
        past = None if layer is None or not item.fires else layer.past(ledger, item)
        table = _Table(ledger)
        for signal in item.fires:
            try:
                self._run_one(ledger, signal, item, past, table)
            except Exception as error:  # noqa: BLE001  # it costs this signal's values alone
                if not self.inbox.closed:
                    self.failures.add(signal.name, error, count=len(item.values))
        if layer is not None:
            layer.feed(item)

    def _run_one(
        self, ledger: Ledger, signal: Signal, item: Item, past: Past | None, table: _Table
    ) -> None:
        rows = _NO_ROWS if item.rows is None else item.rows
        with Firing(ledger, rows, item.step) as firing:
            scene = Scene(ledger, firing.ids, past, partial(table.seen_by, firing))
            results = call(signal, item, scene, self.failures)
        if len(results.positions):
            self._save(ledger, signal, item, results)

    def _save(self, ledger: Ledger, signal: Signal, item: Item, results: Results) -> None:
        """Save results beside the values that they came from, and fire what listens to them."""
        name, step = signal.name, item.step
        rows = None if item.rows is None else item.rows[results.positions]
        annotations = None if item.annotations is None else item.annotations[results.positions]
        values = {name: results.values}
        with ledger.under(item.experiment_hash):
            if rows is None:
                if signal.log:
                    ledger.append_scalars({name: float(results.values[0])}, step=step)
            elif annotations is None:
                ledger.append_samples(values, rows, step=step, log=signal.log)
            else:
                ledger.append_instances(values, rows, annotations, step=step, log=signal.log)
        subscription = self.subscriptions.get(name)
        if subscription is not None:
            with self.inbox.lock:
                derived = subscription.heard(
                    results.values,
                    rows,
                    annotations,
                    step=step,
                    experiment_hash=item.experiment_hash,
                    origin=item.origin,
                    chain=(*item.chain, name),
                )
            if derived is not None:
                self._next.append(derived)


class _Table:
    """The sample table of one item: read when the first function looks at it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @cached_property
    def _frame(self) -> pl.DataFrame:
        from weightslab.queries.samples import samples_frame

        return samples_frame(self._ledger)

    def seen_by(self, firing: Firing) -> pl.DataFrame:
        """The table, with what this firing has edited before it was read."""
        firing.apply()
        return self._frame
