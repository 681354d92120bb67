"""One saved value array on its way to the signals that it fires.

Shapes: B values, of samples or of instances; one for a value of the curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightslab.ledger.layout import Kind
from weightslab.ledger.log.records import Floats
from weightslab.signals.definition import Signal
from weightslab.types import Rows

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from weightslab.signals.layers import Layer

__all__ = ["Item", "kind_of"]


@dataclass(frozen=True, slots=True)
class Item:
    """Values of one signal at one step; the arrays are copies."""

    name: str
    values: Floats
    """[B]."""
    rows: Rows | None
    """[B] of their samples; None for a value of the curve."""
    annotations: Rows | None
    """[B] instances, from 1; None for values of whole samples."""
    step: int
    experiment_hash: str | None
    """What the values belong to, and so what is derived from them."""
    origin: str | None
    """Split of the batch that they were saved in."""
    fires: tuple[Signal, ...]
    """Nobody: then it is history alone."""
    layer: Layer | None
    """Keeps the values for whoever reads history; None where nobody does."""
    places: npt.NDArray[np.int32] | None
    """[B] where the layer keeps each; None without a layer."""
    earlier: npt.NDArray[np.int64] | None
    """[B] how many values each had before; None without a layer."""
    chain: tuple[str, ...]
    """The values that led to these, and these last."""

    @property
    def kind(self) -> Kind:
        """The layer that the values are of."""
        return kind_of(self.rows, self.annotations)

    @property
    def size_bytes(self) -> int:
        """Memory that the values take."""
        return self.values.nbytes + (0 if self.rows is None else 4 * len(self.rows))


def kind_of(rows: Rows | None, annotations: Rows | None) -> Kind:
    """The layer of values with these rows and annotations."""
    if rows is None:
        return "global"
    return "sample" if annotations is None else "instance"
