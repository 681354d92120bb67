"""What a signal's function may give back, as numbers.

Shapes: B values that it was called for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.errors import InputError
from weightslab.ledger.log.records import Floats

__all__ = ["number", "numbers"]


def number(value: Any) -> float | None:
    """One value: a number, a numpy scalar or a tensor without dimensions; None for no value.

    Raises:
        InputError: anything else.
    """
    if type(value) is float or value is None:
        return value
    plain = value
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        plain = value.item()
    if isinstance(plain, (bool, int, float)):
        return float(plain)
    shape = getattr(value, "shape", None)
    came = type(value).__name__ if shape is None else f"{type(value).__name__} {tuple(shape)}"
    raise InputError(f"it must return one number, or None for no value; it returned a {came}")


def numbers(value: Any, count: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """The positions [k] that have a value, and the values [k]; None: no value at all.

    Raises:
        InputError: not one value for each of `count`, or something that is no number.
    """
    if value is None:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    if isinstance(value, (list, tuple)):
        found = [number(one) for one in value]
        _check_length((len(found),), count)
        held = [at for at, one in enumerate(found) if one is not None]
        return np.array(held, np.int64), np.array([found[at] for at in held], np.float64)
    array = _array(value)
    _check_length(array.shape, count)
    return np.arange(count), array


def _array(value: Any) -> Floats:
    """A tensor of any device and dtype, or whatever numpy takes, as float32 or float64."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # bfloat16, which numpy does not know, is exact in 32 bits.
        value = value.float().numpy() if "bfloat16" in str(value.dtype) else value.numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"it must return numbers [B], one for each value; it returned "
            f"{type(value).__name__} of {array.dtype}"
        )
    if array.dtype.kind == "f" and array.dtype.itemsize <= 4:
        return array.astype(np.float32)
    return array.astype(np.float64)


def _check_length(shape: tuple[int, ...], count: int) -> None:
    if shape != (count,):
        raise InputError(
            f"it must return one value for each of the {count} that it got, "
            f"[{count}]; it returned {list(shape)}"
        )
