"""What one evaluation records, kept until it is over.

Shapes: B samples in a batch, N instances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from weightslab.ledger.log.records import Floats
from weightslab.types import Rows

__all__ = ["Buffer", "Rowed"]


class Rowed(NamedTuple):
    """Values [n] of one signal and whose they are."""

    signal: str
    values: Floats
    rows: Rows
    annotations: Rows | None
    """None for values of samples."""


@dataclass(slots=True)
class _Signal:
    """What was recorded of one signal, in order of arrival."""

    values: list[Floats] = field(default_factory=list)
    scalars: list[tuple[float, int]] = field(default_factory=list)
    """Single numbers, each with the number of samples that it speaks of."""
    last_word: float | None = None
    """A single number on the whole pass."""
    on_curve: bool = False


class Buffer:
    """Takes the place of the ledger for the thread that evaluates.

    The value of a signal is the mean of its values, each counted once, as the curve of a
    training is: a short last batch weighs what it holds. A sample that is recorded twice
    has two rows and counts twice; of the two, the sample table shows the newer. NaN makes
    the mean NaN.

    A signal with nothing but single numbers (a metric of a whole batch, a loss that no
    sample owns) has their mean, each weighted by the samples of the batch at hand. A single
    number that comes when no batch is at hand is the last word on the whole pass (the
    `compute()` of a metric after the loop): the newest of those is the value, whatever came
    before.

    Args:
        weight: samples of the batch at hand, of which a single number speaks; None: there
            is none.
    """

    def __init__(self, weight: Callable[[], int | None] = lambda: 1) -> None:
        self._weight = weight
        self._signals: dict[str, _Signal] = {}
        self._rowed: list[Rowed] = []

    def samples(self, signals: Mapping[str, Floats], rows: Rows, *, step: int, log: bool) -> None:
        """Keep one value [B] per sample of each signal. The step is that of the evaluation."""
        self._take(signals, rows, None, log)

    def instances(
        self, signals: Mapping[str, Floats], rows: Rows, annotations: Rows, *, step: int, log: bool
    ) -> None:
        """Keep one value [N] per instance of each signal."""
        self._take(signals, rows, annotations, log)

    def scalars(self, scalars: Mapping[str, float], *, step: int) -> None:
        """Keep single numbers."""
        for name, value in scalars.items():
            signal = self._signals.setdefault(name, _Signal())
            weight = self._weight()
            if weight is None:
                signal.last_word = float(value)
            else:
                signal.scalars.append((float(value), max(1, weight)))
            signal.on_curve = True

    def _take(
        self, signals: Mapping[str, Floats], rows: Rows, annotations: Rows | None, log: bool
    ) -> None:
        # Copies: the arrays may be the caller's own memory, to be overwritten.
        rows = rows.copy()
        annotations = None if annotations is None else annotations.copy()
        for name, values in signals.items():
            signal = self._signals.setdefault(name, _Signal())
            signal.on_curve |= log
            kept = values.copy()
            signal.values.append(kept)
            self._rowed.append(Rowed(name, kept, rows, annotations))

    def means(self) -> dict[str, float]:
        """The value of each signal, in order of first appearance."""
        return {name: _mean(signal) for name, signal in self._signals.items()}

    def curves(self) -> dict[str, float]:
        """The values of those signals that were recorded with `log`."""
        return {name: _mean(signal) for name, signal in self._signals.items() if signal.on_curve}

    def rowed(self) -> Iterator[Rowed]:
        """Everything that belongs to samples or instances, a piece for each signal and layer."""
        groups: dict[tuple[str, bool], list[Rowed]] = {}
        for piece in self._rowed:
            groups.setdefault((piece.signal, piece.annotations is None), []).append(piece)
        for (signal, _), pieces in groups.items():
            yield Rowed(
                signal,
                np.concatenate([piece.values for piece in pieces]),
                np.concatenate([piece.rows for piece in pieces]),
                None
                if pieces[0].annotations is None
                else np.concatenate([p.annotations for p in pieces if p.annotations is not None]),
            )


def _mean(signal: _Signal) -> float:
    if signal.last_word is not None:
        return signal.last_word
    values: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64] | None = None
    if signal.values:
        values = np.concatenate(signal.values).astype(np.float64)
    else:
        numbers = np.array(signal.scalars, np.float64)
        values, weights = numbers[:, 0], numbers[:, 1]
    if not len(values):
        return float("nan")
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.average(values, weights=weights))
