"""What happens to one item: the functions that it fires are called, and their results saved.

Shapes: B values of the item.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from weightslab.ledger import Ledger
from weightslab.signals.call import Results, Scene, call
from weightslab.signals.definition import Signal
from weightslab.signals.failures import Failures
from weightslab.signals.firing import Firing
from weightslab.signals.item import Item
from weightslab.types import Rows

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Runner"]

_NO_ROWS: Rows = np.empty(0, np.int32)


class Runner:
    """Works on one item at a time: its subscribers in order, then what they fired in turn.

    Args:
        ledger: where values are.
        derived: what has to be done about values that were saved for an item, the signal's
            name with them; None: nothing.
    """

    def __init__(
        self,
        ledger: Callable[[], Ledger],
        derived: Callable[[str, Item, Results], Item | None],
        failures: Failures,
    ) -> None:
        self._ledger = ledger
        self._derived = derived
        self._failures = failures
        self._next: deque[Item] = deque()
        self.running: Item | None = None
        """The item whose signals are called now."""

    def run(self, item: Item) -> None:
        """Fire everything that an item fires, breadth first. Never raises."""
        self._next.append(item)
        try:
            while self._next:
                self._fire(self._next.popleft())
        except BaseException as error:  # noqa: BLE001  # the thread stays, whatever went wrong
            self._next.clear()
            for signal in item.fires:
                self._failures.add(signal.name, error, count=len(item.values))
        finally:
            self.running = None

    def also(self, item: Item) -> None:
        """Values that the item at work has brought about: they come after it, and before others."""
        self._next.append(item)

    def _fire(self, item: Item) -> None:
        """Call the signals of an item, then let its values be history."""
        self.running = item
        ledger = self._ledger()
        table = _Table(ledger)
        layer = item.layer
        past = None if layer is None or not item.fires else layer.past(ledger, item)
        rows = _NO_ROWS if item.rows is None else item.rows
        for signal in item.fires:
            try:
                with Firing(ledger, rows, item.step) as firing:
                    scene = Scene(ledger, firing.ids, past, partial(table.seen_by, firing))
                    results = call(signal, item, scene, self._failures)
                self._save(ledger, signal, item, results)
            except Exception as error:  # noqa: BLE001  # it costs this signal's values alone
                self._failures.add(signal.name, error, count=len(item.values))
        if layer is not None:
            layer.feed(item)

    def _save(self, ledger: Ledger, signal: Signal, item: Item, results: Results) -> None:
        """Save results beside the values that they came from, and let them fire others."""
        if not len(results.values):
            return
        positions, values = results
        with ledger.under(item.experiment_hash):
            if item.rows is None:
                if signal.log:
                    ledger.append_scalars({signal.name: float(values[0])}, step=item.step)
            elif item.annotations is None:
                ledger.append_samples(
                    {signal.name: values}, item.rows[positions], step=item.step, log=signal.log
                )
            else:
                ledger.append_instances(
                    {signal.name: values},
                    item.rows[positions],
                    item.annotations[positions],
                    step=item.step,
                    log=signal.log,
                )
        derived = self._derived(signal.name, item, results)
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
