"""Losses as training makes them: every epoch a permutation, every sample a decay with noise.

Shapes: B samples of a batch, S samples, E epochs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BATCH", "Batch", "Shape", "batches"]

BATCH = 4096


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a run is."""

    samples: int
    epochs: int

    @classmethod
    def of_rows(cls, rows: int) -> Shape:
        """About `rows` rows: 100 epochs of a million samples at 100 million, fewer of both below.

        Raises ValueError for less than 20 epochs of one batch.
        """
        epochs = max(20, min(100, rows // 100_000))
        if rows // epochs < BATCH:
            raise ValueError(f"expected at least {20 * BATCH} rows, got {rows}")
        return cls(rows // epochs, epochs)

    @property
    def rows(self) -> int:
        """Rows of one signal."""
        return self.samples * self.epochs

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-self.samples // BATCH)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step saves."""

    epoch: int
    step: int
    samples: npt.NDArray[np.int32]
    """[B], distinct"""
    losses: npt.NDArray[np.float32]
    """[B]"""


def batches(shape: Shape, seed: int = 0) -> Iterator[Batch]:
    """Every batch of a run; the same ones for the same seed."""
    draw = np.random.default_rng(seed)
    start = draw.gamma(2.0, 0.5, shape.samples).astype(np.float32)
    decay = draw.uniform(0.02, 0.2, shape.samples).astype(np.float32)
    for epoch in range(shape.epochs):
        order = draw.permutation(shape.samples).astype(np.int32)
        losses = (start * np.exp(-decay * np.float32(epoch)))[order]
        losses *= 1 + np.float32(0.1) * draw.standard_normal(shape.samples, dtype=np.float32)
        for number in range(shape.steps):
            part = slice(number * BATCH, (number + 1) * BATCH)
            yield Batch(epoch, epoch * shape.steps + number, order[part], losses[part])
