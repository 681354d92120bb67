"""The ranking of the demo."""

from __future__ import annotations

import numpy as np

from weightslab.demo.report import Suspect, hits, rank


def test_the_highest_mean_loss_comes_first() -> None:
    """Ties keep their order, and a NaN, which no sound sample has, leads."""
    assert rank(np.array([0.5, 2.0, np.nan, 0.5, 3.0])).tolist() == [2, 4, 1, 0, 3]


def test_hits_counts_the_planted_among_the_first() -> None:
    """Only the first k count."""
    suspects = [Suspect(n, f"train/{n}", 1, 2, 1.0, planted=n in {0, 2, 3}) for n in range(5)]
    assert [hits(suspects, k) for k in range(6)] == [0, 1, 1, 2, 3, 3]
