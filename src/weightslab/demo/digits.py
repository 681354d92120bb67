"""The handwritten digits that ship with scikit-learn, with label errors planted on purpose.

Shapes: N images of 8 x 8 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weightslab.errors import MissingPackageError

__all__ = ["CLASSES", "Digits", "load", "plant"]

CLASSES = 10


@dataclass(frozen=True, slots=True)
class Digits:
    """N digits, of which some carry a wrong label."""

    images: npt.NDArray[np.float32]
    """[N, 8, 8] in 0..1, 1 is ink."""
    given: npt.NDArray[np.int64]
    """[N] the label that the network trains on."""
    true: npt.NDArray[np.int64]
    """[N] the label as scikit-learn ships it."""

    @property
    def planted(self) -> npt.NDArray[np.bool_]:
        """[N] where the given label was flipped."""
        return np.not_equal(self.given, self.true)

    def __len__(self) -> int:
        return len(self.given)


def load(*, flipped: float = 0.05, seed: int = 0) -> Digits:
    """All 1,797 digits, a share `flipped` of them under a wrong label.

    Raises:
        MissingPackageError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingPackageError("scikit-learn", "the demo", "demo") from error
    bunch = load_digits()
    true = np.asarray(bunch.target, dtype=np.int64)
    images = np.asarray(bunch.images, dtype=np.float32) / np.float32(16)
    return Digits(images=images, given=plant(true, flipped=flipped, seed=seed), true=true)


def plant(true: npt.NDArray[np.int64], *, flipped: float, seed: int) -> npt.NDArray[np.int64]:
    """Labels [N] with `round(flipped * N)` of them moved to another class, evenly at random."""
    draw = np.random.default_rng(seed)
    count = round(flipped * len(true))
    where = draw.choice(len(true), size=count, replace=False)
    given = true.copy()
    given[where] = (true[where] + draw.integers(1, CLASSES, size=count)) % CLASSES
    return given
