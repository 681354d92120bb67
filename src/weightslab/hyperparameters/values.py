"""Which values a setting takes; any other is refused before it reaches an object."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

from weightslab.hyperparameters.changes import MISSING
from weightslab.hyperparameters.names import Setting

__all__ = ["Refusal", "Value", "number", "text_of", "valid", "worded"]

Value = float | int | bool | tuple[float, float]
"""What a setting is given: a number, a switch, or both betas."""


class Refusal(Exception):  # noqa: N818  # an answer, told in words
    """A value that cannot be applied, and why."""


def valid(setting: Setting, value: Any) -> Value:
    """`value` as the object takes it.

    Raises:
        Refusal: it is none; the text says what was expected and what came.
    """
    if setting == "is_training":
        if isinstance(value, bool):
            return value
        raise _refusal("true or false", value)
    if setting == "batch_size":
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if whole and int(value) >= 1:
            return int(value)
        raise _refusal("a whole number of at least 1", value)
    if setting == "betas":
        return _betas(value)
    if setting in ("beta1", "beta2"):
        return _beta(value, value, "a number of at least 0 and below 1")
    found = number(value)
    if found is None or not (math.isfinite(found) and found >= 0):
        raise _refusal("a finite number of at least 0", value)
    return found


def _betas(value: Any) -> tuple[float, float]:
    expected = "two numbers of at least 0 and below 1"
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise _refusal(expected, value)
    first, second = (_beta(one, value, expected) for one in value)
    return first, second


def _beta(one: Any, value: Any, expected: str) -> float:
    found = number(one)
    if found is None or not 0 <= found < 1:
        raise _refusal(expected, value)
    return found


def number(value: Any) -> float | None:
    """`value` as a float; None for what is no real number, a switch or a text among it."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def text_of(value: Any) -> str:
    """What an object says of itself, and its class where it fails to."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  # an object of the user's
        return type(value).__qualname__


def worded(value: Any) -> str:
    """A value in a sentence."""
    return "nothing" if value is MISSING else f"{text_of(value):.60}"


def _refusal(expected: str, value: Any) -> Refusal:
    if value is MISSING:
        return Refusal("the key was removed: what it was stays")
    return Refusal(f"expected {expected}, got {worded(value)} ({type(value).__name__})")
