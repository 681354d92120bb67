"""What the verbs accept: checked before anything is done, each complaint naming its argument."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from weightslab.errors import InputError
from weightslab.types import check_text

__all__ = [
    "check_count",
    "check_flag",
    "check_launch",
    "check_limit",
    "check_name",
    "check_origin",
    "check_takes_one",
]


def check_name(name: Any, what: str) -> None:
    """Refuse what is no name: anything but text that is not empty and that UTF-8 can hold."""
    if not isinstance(name, str) or not name:
        raise InputError(f"{what} is a non-empty string, not {name!r}")
    check_text(name, what)


def check_origin(origin: Any) -> None:
    """Refuse what is neither None nor the name of a split."""
    if origin is not None:
        check_name(origin, "origin, the name of a split such as 'train',")


def check_flag(value: Any, name: str) -> bool:
    """A True or a False; "False" is text, and text that is not empty would count as true."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise InputError(f"{name} is True or False, not {value!r} ({type(value).__name__})")


def check_count(value: Any, name: str) -> int:
    """A whole number from 1."""
    return _whole(value, f"{name} is a whole number from 1", 1)


def check_takes_one(function: Callable[..., Any], what: str, argument: str) -> None:
    """Refuse what cannot be called with one argument, where it says what it takes."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some of what is written in C does not say
        return
    try:
        signature.bind(None)
    except TypeError as error:
        raise InputError(
            f"{what} is called with one argument, {argument}, and this one takes "
            f"{signature}: {error}"
        ) from None


def check_limit(limit: Any) -> int | None:
    """None, or a whole number from 0."""
    return None if limit is None else _whole(limit, "limit is None or a whole number from 0", 0)


def check_launch(launch: Any) -> int | None:
    """None, or the number of a launch, from 1."""
    return None if launch is None else _whole(launch, "launch is None or a whole number from 1", 1)


def _whole(value: Any, expected: str, least: int) -> int:
    try:
        number = least - 1 if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise InputError(f"{expected}, not {value!r}")
    return number
