"""Who listens to a signal, and what of its values has been heard. One thread at a time.

Shapes: B values in a batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from weightslab.ledger import Ledger
from weightslab.ledger.layout import Kind
from weightslab.ledger.log.records import Floats
from weightslab.signals.definition import Signal
from weightslab.signals.item import Item, kind_of
from weightslab.signals.layers import Layer, layer_of
from weightslab.signals.throttle import StepCount
from weightslab.types import Rows

__all__ = ["Subscription"]

_KINDS: tuple[Kind, ...] = ("sample", "instance", "global")


class Subscription:
    """The dynamic signals of one subscribed name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.signals: tuple[Signal, ...] = ()
        self.layers: Mapping[Kind, Layer] = {}
        """Kept while somebody reads history."""
        self.has_heard = False
        """Whether any value of that name has come."""
        self._steps = StepCount()
        self._throttled = False

    def follow(self, signals: tuple[Signal, ...], ledger: Ledger | None) -> None:
        """These listen from now on, in this order; the history begins with the ledger's."""
        self._throttled = any(signal.every > 1 for signal in signals)
        wanted = any(signal.include_history or signal.batched for signal in signals)
        if not wanted:
            self.layers = {}
        elif not self.layers:
            self.layers = {kind: layer_of(kind, ledger, self.name) for kind in _KINDS}
        self.signals = signals

    def _firing(self, step: int) -> tuple[Signal, ...]:
        """Those that values of this step fire."""
        if not self._throttled:
            return self.signals
        number = self._steps.number(step)
        return tuple(signal for signal in self.signals if number % signal.every == 0)

    def heard(
        self,
        values: Floats | float,
        rows: Rows | None,
        annotations: Rows | None,
        *,
        step: int,
        experiment_hash: str | None,
        origin: str | None,
        chain: tuple[str, ...],
    ) -> Item | None:
        """What has to be done about values that were saved; None: nothing. Copies them."""
        self.has_heard = True
        fires = self._firing(step)
        layer = self.layers.get(kind_of(rows, annotations))
        if not fires and layer is None:
            return None
        own: Floats = np.array(values, np.float64) if rows is None else values.copy()  # type: ignore[union-attr]  # samples come as arrays
        own = own.reshape(-1)
        places = earlier = None
        if layer is not None:
            places, earlier = layer.note(own, rows, annotations, step)
            if not fires and not layer.begun:
                return None
        return Item(
            self.name,
            own,
            None if rows is None else rows.copy(),
            None if annotations is None else annotations.copy(),
            step,
            experiment_hash,
            origin,
            fires,
            layer,
            places,
            earlier,
            chain,
        )
