"""What a signal's function may give back."""

from __future__ import annotations

import decimal
import math
from typing import Any

import numpy as np
import pytest
import torch

from weightslab.errors import InputError
from weightslab.signals.result import number, numbers


@pytest.mark.parametrize(
    "given",
    [
        2,
        2.0,
        np.float32(2),
        np.float64(2),
        np.int64(2),
        np.array(2.0),
        torch.tensor(2),
        torch.tensor(2.0, dtype=torch.bfloat16, requires_grad=True),
    ],
)
def test_one_number(given: Any) -> None:
    """Python's, numpy's and a tensor's numbers without dimensions become a float."""
    assert number(given) == 2.0
    assert type(number(given)) is float


def test_special_numbers() -> None:
    """NaN, infinities and truth are numbers, None is no value."""
    found = number(float("nan"))
    assert found is not None
    assert math.isnan(found)
    assert number(torch.tensor(float("inf"))) == math.inf
    assert (number(True), number(np.bool_(False))) == (1.0, 0.0)
    assert number(None) is None


@pytest.mark.parametrize(
    "given",
    ["2", [2.0], (2.0,), np.array([2.0]), torch.tensor([2.0]), 2j, np.complex64(2), b"2",
     decimal.Decimal(2), {}, object(), np.datetime64("2026-01-01")],
)  # fmt: skip
def test_what_is_no_number(given: Any) -> None:
    """Anything else is refused with its type."""
    with pytest.raises(InputError, match="must return one number, or None"):
        number(given)


@pytest.mark.parametrize(
    "given",
    [
        [1, 2.5, 3],
        (1.0, 2.5, 3.0),
        np.array([1, 2.5, 3], np.float32),
        torch.tensor([1, 2.5, 3], dtype=torch.bfloat16, requires_grad=True),
        [torch.tensor(1), np.float32(2.5), 3],
    ],
)
def test_a_batch_of_numbers(given: Any) -> None:
    """Lists, arrays and tensors with one value for each."""
    positions, values = numbers(given, 3)
    assert positions.tolist() == [0, 1, 2]
    assert values.tolist() == [1.0, 2.5, 3.0]


def test_values_that_are_none() -> None:
    """None within a list means no value there; None as a whole, nowhere."""
    positions, values = numbers([None, 2.0, None], 3)
    assert (positions.tolist(), values.tolist()) == ([1], [2.0])
    assert [len(part) for part in numbers(None, 3)] == [0, 0]


def test_precision_is_kept() -> None:
    """64 bits stay 64, integers up to 2^53 stay exact."""
    assert numbers(np.array([0.1]), 1)[1].tolist() == [0.1]
    assert numbers(torch.tensor([2**53 - 1]), 1)[1].tolist() == [2.0**53 - 1]


@pytest.mark.parametrize("given", [[1.0], torch.ones(3), np.ones((2, 1)), np.float32(1), []])
def test_another_length(given: Any) -> None:
    """One value too few or too many is refused with both shapes."""
    with pytest.raises(InputError, match=r"each of the 2 that it got, \[2\]; it returned \["):
        numbers(given, 2)


@pytest.mark.parametrize("given", [["1", 2.0], np.array(["a", "b"]), np.array([1j, 2j])])
def test_a_batch_of_something_else(given: Any) -> None:
    """What holds no numbers is refused."""
    with pytest.raises(InputError, match="must return"):
        numbers(given, 2)
