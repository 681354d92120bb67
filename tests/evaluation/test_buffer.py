from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightslab.evaluation.buffer import Buffer

number = st.floats(-1e6, 1e6, width=32)
batches = st.lists(st.lists(st.tuples(st.integers(0, 9), number), min_size=1), min_size=1)


def rows_of(*rows: int) -> npt.NDArray[np.int32]:
    return np.array(rows, np.int32)


def saved(buffer: Buffer, found: list[list[tuple[int, float]]], dtype: Any = np.float32) -> None:
    for batch in found:
        rows, values = zip(*batch, strict=True)
        buffer.samples({"loss": np.array(values, dtype)}, rows_of(*rows), step=0, log=True)


@given(batches)
def test_the_value_is_the_mean_over_samples(found: list[list[tuple[int, float]]]) -> None:
    """However the samples are cut into batches, each value counts once, a repeated one too."""
    buffer = Buffer()
    saved(buffer, found)
    values = [value for batch in found for _, value in batch]
    expected = math.fsum(values) / len(values)
    assert buffer.means()["loss"] == pytest.approx(expected, rel=1e-9, abs=1e-6)


@given(batches)
def test_every_row_is_kept_in_order(found: list[list[tuple[int, float]]]) -> None:
    """A sample that is recorded twice has two rows, the newer one behind the older."""
    buffer = Buffer()
    saved(buffer, found, np.float64)
    (piece,) = buffer.rowed()
    pairs = list(zip(piece.rows.tolist(), piece.values.tolist(), strict=True))
    assert pairs == [pair for batch in found for pair in batch]
    assert piece.annotations is None


def test_a_short_last_batch_weighs_what_it_holds() -> None:
    """Three zeros and a one are a quarter, not a half."""
    buffer = Buffer()
    saved(buffer, [[(0, 0.0), (1, 0.0), (2, 0.0)], [(3, 1.0)]])
    assert buffer.means() == {"loss": 0.25}


def test_many_small_values_are_added_in_double_precision() -> None:
    """A million float32 tenths are a tenth on average to eight digits."""
    buffer = Buffer()
    values = np.full(1_000_000, 0.1, np.float32)
    buffer.samples({"a": values}, np.arange(1_000_000, dtype=np.int32), step=0, log=True)
    assert buffer.means()["a"] == pytest.approx(float(np.float32(0.1)), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, math.nan], math.nan),
        ([1.0, math.inf], math.inf),
        ([math.inf, -math.inf], math.nan),
        ([1.7e308, 1.7e308], math.inf),
    ],
)
def test_what_is_no_number_makes_the_mean_what_a_mean_is(
    values: list[float], expected: float
) -> None:
    """NaN and infinities are kept, and no warning comes of them."""
    buffer = Buffer()
    buffer.samples({"a": np.array(values)}, rows_of(0, 1), step=0, log=True)
    assert buffer.means()["a"] == pytest.approx(expected, nan_ok=True)


def test_what_the_caller_overwrites_later_is_kept_as_it_was() -> None:
    """The arrays may be the memory of a tensor that the loop uses again."""
    buffer = Buffer()
    values, rows, numbers = np.array([1.0]), rows_of(4), rows_of(1)
    buffer.samples({"a": values}, rows, step=0, log=True)
    buffer.instances({"b": values}, rows, numbers, step=0, log=True)
    values[:], rows[:], numbers[:] = 9.0, 9, 9
    sample, instance = buffer.rowed()
    assert sample.values.tolist() == [1.0] and sample.rows.tolist() == [4]
    assert instance.annotations is not None and instance.annotations.tolist() == [1]
    assert buffer.means() == {"a": 1.0, "b": 1.0}


def test_instances_are_kept_beside_samples() -> None:
    """One name on both layers gives two pieces, and one mean over all its values."""
    buffer = Buffer()
    buffer.samples({"iou": np.array([1.0])}, rows_of(0), step=0, log=True)
    buffer.instances({"iou": np.array([0.0, 0.5])}, rows_of(0, 0), rows_of(1, 2), step=0, log=True)
    assert [piece.annotations is None for piece in buffer.rowed()] == [True, False]
    assert buffer.means() == {"iou": 0.5}


@given(st.lists(st.tuples(st.integers(1, 64), number), min_size=1))
def test_numbers_of_batches_are_weighted_by_their_samples(found: list[tuple[int, float]]) -> None:
    """The mean of each batch gives the mean over samples."""
    sizes = iter([size for size, _ in found])
    buffer = Buffer(lambda: next(sizes))
    for _, value in found:
        buffer.scalars({"accuracy": value}, step=0)
    total = math.fsum(size * value for size, value in found)
    expected = total / sum(size for size, _ in found)
    assert buffer.means()["accuracy"] == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_a_number_after_the_loop_is_the_last_word() -> None:
    """What a metric computes over the whole pass wins over its batches; the newest of them."""
    sizes: list[int | None] = [2, None, None]
    buffer = Buffer(lambda: sizes.pop(0))
    for value in (0.0, 0.5, 0.75):
        buffer.scalars({"accuracy": value}, step=0)
    assert buffer.means() == {"accuracy": 0.75}


def test_samples_decide_over_numbers_of_batches() -> None:
    """A batch whose samples are not known does not blur the mean over those that are."""
    buffer = Buffer(lambda: 8)
    buffer.scalars({"loss": 100.0}, step=0)
    saved(buffer, [[(0, 1.0)], [(1, 3.0)]])
    assert buffer.means() == {"loss": 2.0}


def test_log_false_keeps_off_the_curve() -> None:
    """Such a signal has a result, rows, and no point of a curve."""
    buffer = Buffer()
    buffer.samples({"hidden": np.array([1.0])}, rows_of(0), step=0, log=False)
    buffer.samples({"shown": np.array([2.0])}, rows_of(0), step=0, log=True)
    assert buffer.means() == {"hidden": 1.0, "shown": 2.0}
    assert buffer.curves() == {"shown": 2.0}


def test_nothing_recorded_is_nothing() -> None:
    """An evaluation without values has no results, and no piece to save."""
    assert Buffer().means() == {} and list(Buffer().rowed()) == []
