"""Earlier values of a batch, as signals read them.

Shapes: B values in a batch, T earlier ones of the sample that has most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.errors import InputError
from weightslab.ledger.history.recent import DEPTH

__all__ = ["Past", "SignalHistory", "aligned"]

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class SignalHistory:
    """Earlier values [B, T], oldest first, those of each sample at the left; copies."""

    steps: npt.NDArray[np.int64]
    """[B, T] training step of each value; 0 right of a sample's count."""
    values: npt.NDArray[Any]
    """[B, T] float32, or float64 where that is not exact; 0 right of a sample's count."""
    counts: Counts
    """[B] how many values each sample has."""


def aligned(
    steps: npt.NDArray[Any], values: npt.NDArray[Any], starts: Counts, counts: Counts
) -> SignalHistory:
    """Stretches of flat `steps` and `values`, from `starts` [B], `counts` [B] long, as rows."""
    width = int(counts.max(initial=0))
    columns = np.arange(width)
    held = columns < counts[:, None]
    places = np.where(held, starts[:, None] + columns, 0)
    return SignalHistory(
        np.where(held, steps[places], 0).astype(np.int64),
        np.where(held, values[places], np.zeros(1, values.dtype)),
        counts,
    )


class Past:
    """The history of one batch: the values that came before it, whenever it is looked at.

    Args:
        earlier: [B] how many values each sample had before.
        recent: the last n of each, at most `DEPTH`, from memory; None where it lacks some.
        whole: all of them.
    """

    def __init__(
        self,
        earlier: Counts,
        recent: Callable[[int], SignalHistory | None],
        whole: Callable[[], SignalHistory],
    ) -> None:
        self._longest = int(earlier.max(initial=0))
        self._recent = recent
        self._read = whole

    @cached_property
    def _whole(self) -> SignalHistory:
        return self._read()

    def last(self, n: int | None = None) -> SignalHistory:
        """The last `n` values of each sample; None: all of them.

        Raises:
            InputError: `n` is no whole number from 0.
        """
        if n is None:
            n = self._longest
        elif isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
            raise InputError(f"last is None or a whole number from 0, not {n!r}")
        wanted = min(int(n), self._longest)
        found = self._recent(wanted) if wanted <= DEPTH else None
        return _newest(self._whole, wanted) if found is None else found

    @cached_property
    def _lists(self) -> tuple[list[list[int]], list[list[float]], list[int]]:
        found = self.last()
        return found.steps.tolist(), found.values.tolist(), found.counts.tolist()

    def entries(self, at: int, metadata: bool) -> list[dict[str, Any]]:
        """All earlier values of one of the B samples, as the seed has them."""
        steps, values, counts = self._lists
        own = values[at][: counts[at]]
        if not metadata:
            return [{"signal_value": value} for value in own]
        return [
            {"signal_value": value, "model_age": step}
            for value, step in zip(own, steps[at], strict=False)
        ]


def _newest(history: SignalHistory, n: int) -> SignalHistory:
    """The last `n` values of each sample."""
    size, width = history.steps.shape
    if width <= n:
        return history
    counts = np.minimum(history.counts, n)
    starts = np.arange(size) * width + history.counts - counts
    return aligned(history.steps.reshape(-1), history.values.reshape(-1), starts, counts)
