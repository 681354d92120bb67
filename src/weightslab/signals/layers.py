"""What is kept of a subscribed signal so that its history can be read: by layer.

The thread that saves a value numbers it (`note`); the signal thread keeps the last ones
(`feed`) and reads them (`past`).

Shapes: B values in a batch.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Protocol

import numpy as np
import numpy.typing as npt

from weightslab.ledger import Ledger
from weightslab.ledger.history.segments import Chunk
from weightslab.ledger.layout import Kind
from weightslab.ledger.log.records import Floats
from weightslab.signals.item import Item
from weightslab.signals.past import Past, SignalHistory, aligned
from weightslab.signals.reading import earlier_values, key_of, pieces, scalars
from weightslab.signals.trail import Numbers, Places, Trail
from weightslab.types import Rows

__all__ = ["CurveLayer", "InstanceLayer", "Layer", "SampleLayer", "layer_of"]

Noted = tuple[Places, npt.NDArray[np.int64]]
"""Places [B], and how many values each had before [B]."""


class Layer(Protocol):
    """Values of one signal at one layer."""

    begun: bool
    """Whether values that fire nobody are wanted as well."""

    @property
    def size_bytes(self) -> int:
        """Memory that it takes."""

    def note(self, values: Floats, rows: Rows | None, annotations: Rows | None, step: int) -> Noted:
        """Number values that were just saved. One thread at a time."""

    def feed(self, item: Item) -> None:
        """Keep values, in the order of the queue. On the signal thread."""

    def past(self, ledger: Ledger, item: Item) -> Past:
        """What came before the values of an item. On the signal thread."""


class SampleLayer:
    """Values of samples: a place is a row."""

    kind: Kind = "sample"

    def __init__(self, ledger: Ledger | None, signal: str) -> None:
        self._signal = signal
        self._numbers = Numbers()
        self._trail: Trail | None = None
        self.begun = False
        for _, piece in self._pieces(ledger) if ledger is not None else ():
            self._numbers.take(piece.columns["sample"])

    def _places(self, rows: Rows, annotations: Rows | None) -> Places:
        return rows

    def _pieces(self, ledger: Ledger) -> Iterator[tuple[str | None, Chunk]]:
        """What was saved so far, with places for samples."""
        return pieces(ledger, self.kind, self._signal)

    @property
    def size_bytes(self) -> int:
        """Memory that the last values take."""
        return 0 if self._trail is None else self._trail.size_bytes

    def note(self, values: Floats, rows: Rows | None, annotations: Rows | None, step: int) -> Noted:
        """Number values that were just saved."""
        assert rows is not None
        places = self._places(rows, annotations)
        return places, self._numbers.take(places)

    def feed(self, item: Item) -> None:
        """Keep the last values."""
        if self._trail is not None and item.places is not None and item.earlier is not None:
            self._trail.feed(item.places, item.earlier, item.step, item.values)

    def past(self, ledger: Ledger, item: Item) -> Past:
        """What came before."""
        rows, annotations, places, earlier = item.rows, item.annotations, item.places, item.earlier
        assert rows is not None
        assert places is not None
        assert earlier is not None

        def recent(n: int) -> SignalHistory | None:
            if self._trail is None:
                self._trail = Trail(self._pieces(ledger), ledger.launch)
                self.begun = True
            return self._trail.last(places, earlier, n)

        whole = partial(earlier_values, ledger, self.kind, self._signal, rows, annotations, earlier)
        return Past(earlier, recent, whole)


class InstanceLayer(SampleLayer):
    """Values of instances: each gets a place when it first appears."""

    kind: Kind = "instance"

    def __init__(self, ledger: Ledger | None, signal: str) -> None:
        self._known: dict[int, int] = {}
        self._next = count()
        super().__init__(ledger, signal)

    def _places(self, rows: Rows, annotations: Rows | None) -> Places:
        found = [self._place(key) for key in key_of(rows, annotations).tolist()]
        return np.array(found, np.int32)

    def _place(self, key: int) -> int:
        known = self._known.get(key)
        # Two threads may be here at once: each number is given once, and the first one stays.
        return self._known.setdefault(key, next(self._next)) if known is None else known

    def _pieces(self, ledger: Ledger) -> Iterator[tuple[str | None, Chunk]]:
        for experiment, piece in super()._pieces(ledger):
            columns = piece.columns
            places = self._places(columns["sample"], columns["annotation_id"])
            yield experiment, Chunk(piece.kind, {**columns, "sample": places})


class CurveLayer:
    """Plain numbers of a curve: all of them stay, 16 bytes each."""

    def __init__(self, ledger: Ledger | None, signal: str) -> None:
        self._steps = array("q")
        self._values = array("d")
        self.begun = False
        if ledger is not None:
            steps, values = scalars(ledger, signal)
            self._steps.extend(steps)
            self._values.extend(values)

    @property
    def size_bytes(self) -> int:
        """Memory of the values."""
        return 16 * len(self._steps)

    def note(self, values: Floats, rows: Rows | None, annotations: Rows | None, step: int) -> Noted:
        """Keep a value that was just saved."""
        before = np.array([len(self._steps)])
        self._steps.append(step)
        self._values.append(float(values[0]))
        return np.zeros(1, np.int32), before

    def feed(self, item: Item) -> None:
        """It has it already."""

    def past(self, ledger: Ledger, item: Item) -> Past:
        """What came before."""
        assert item.earlier is not None
        earlier = item.earlier

        def last(n: int) -> SignalHistory:
            end = int(earlier[0])
            start = max(0, end - n)
            # A slice is a copy, made in one go: other threads append meanwhile.
            steps, values = self._steps[start:end], self._values[start:end]
            counts = np.array([len(steps)])
            return aligned(np.array(steps, np.int64), np.array(values), np.zeros(1, int), counts)

        return Past(earlier, last, lambda: last(int(earlier[0])))


_LAYERS: dict[Kind, Callable[[Ledger | None, str], Layer]] = {
    "sample": SampleLayer,
    "instance": InstanceLayer,
    "global": CurveLayer,
}


def layer_of(kind: Kind, ledger: Ledger | None, signal: str) -> Layer:
    """A layer that begins with what the ledger holds of this launch; None: with nothing."""
    return _LAYERS[kind](ledger, signal)
