"""Options that every flag of `watch_or_edit` takes alike: names and switches."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np

from weightslab.errors import InputError
from weightslab.types import check_text

__all__ = ["checked_flag", "checked_object_name"]


def checked_object_name(option: str, value: object) -> str:
    """The name of a watched object; raises `InputError` that names the option for any other."""
    if not isinstance(value, str) or not value.strip():
        raise InputError(
            f"{option}= takes a name, a text that is not empty, got {value!r} "
            f"({type(value).__name__})"
        )
    check_text(value, f"{option}=")
    return value


@overload
def checked_flag(option: str, value: Any, *, none: Literal[False] = ...) -> bool: ...
@overload
def checked_flag(option: str, value: Any, *, none: bool) -> bool | None: ...
def checked_flag(option: str, value: Any, *, none: bool = False) -> bool | None:
    """The switch that an option is; a text such as "no" would count as true, so it is refused.

    `none` says whether None, "decide for me", is allowed. Raises `InputError`.
    """
    if value is True or value is False or (none and value is None):
        return bool(value) if value is not None else None
    if isinstance(value, np.bool_):
        return bool(value)
    allowed = "True, False or None" if none else "True or False"
    raise InputError(f"{option} is {allowed}, not {value!r:.60} ({type(value).__name__})")
