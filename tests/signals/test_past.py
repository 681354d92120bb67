"""Histories of a batch, from memory or as a whole."""

from __future__ import annotations

import numpy as np
import pytest

from weightslab.errors import InputError
from weightslab.signals.past import Past, SignalHistory, aligned

STEPS = np.array([0, 1, 2, 0, 1], np.int32)
VALUES = np.array([0.5, 1.5, 2.5, 7.5, 8.5], np.float32)
EARLIER = np.array([3, 0, 2])


def whole() -> SignalHistory:
    return aligned(STEPS, VALUES, np.array([0, 3, 3]), EARLIER)


def test_values_stand_at_the_left() -> None:
    """Each sample's own values, oldest first, and zeros beyond its count."""
    found = whole()
    assert found.steps.tolist() == [[0, 1, 2], [0, 0, 0], [0, 1, 0]]
    assert found.values.tolist() == [[0.5, 1.5, 2.5], [0, 0, 0], [7.5, 8.5, 0]]
    assert (found.steps.dtype, found.values.dtype) == (np.int64, np.float32)


def test_the_last_ones_of_a_whole() -> None:
    """Where memory lacks some, the whole is read once and the newest are taken of it."""
    reads = []

    def read() -> SignalHistory:
        reads.append(1)
        return whole()

    past = Past(EARLIER, lambda n: None, read)
    for _ in range(2):
        found = past.last(2)
        assert found.values.tolist() == [[1.5, 2.5], [0, 0], [7.5, 8.5]]
        assert found.counts.tolist() == [2, 0, 2]
    assert past.last().steps.tolist() == whole().steps.tolist()
    assert past.last(0).values.shape == (3, 0)
    assert reads == [1]


def test_a_short_history_never_reads() -> None:
    """As long as nobody has more than 32 values, all of them come from memory."""
    asked = []

    def recent(n: int) -> SignalHistory:
        asked.append(n)
        return whole()

    past = Past(EARLIER, recent, lambda: pytest.fail("it read"))
    assert past.last() is not None
    assert past.last(32) is not None
    assert past.last(1_000_000) is not None
    assert asked == [3, 3, 3]


def test_entries_are_those_of_the_page() -> None:
    """The seed's keys, as Python numbers."""
    past = Past(EARLIER, lambda n: whole(), whole)
    assert past.entries(2, metadata=False) == [{"signal_value": 7.5}, {"signal_value": 8.5}]
    assert past.entries(2, metadata=True)[1] == {"signal_value": 8.5, "model_age": 1}
    assert past.entries(1, metadata=True) == []
    assert type(past.entries(2, metadata=True)[0]["model_age"]) is int


@pytest.mark.parametrize("last", [-1, 1.5, "3", True])
def test_what_is_no_number_of_values(last: object) -> None:
    """The error says what it takes and what came."""
    with pytest.raises(InputError, match="last is None or a whole number"):
        Past(EARLIER, lambda n: whole(), whole).last(last)  # type: ignore[arg-type]
