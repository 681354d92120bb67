"""Earlier values of a batch of samples, as a batched signal reads them.

Shapes: B samples in a batch, T values of the sample that has most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["SignalHistory"]


@dataclass(frozen=True, slots=True, eq=False)
class SignalHistory:
    """Earlier values [B, T], oldest first, each sample's at the left; copies."""

    steps: npt.NDArray[np.int64]
    """[B, T] training step of each value; 0 right of a sample's count."""
    values: npt.NDArray[Any]
    """[B, T] float32, or float64 where that is not exact; NaN right of a sample's count."""
    counts: npt.NDArray[np.int64]
    """[B] how many values each sample has."""
