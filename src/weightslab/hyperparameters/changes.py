"""What differs between two states of hyperparameters, by dotted key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

__all__ = ["MISSING", "Change", "Missing", "differences", "differing", "dotted", "leaves", "same"]


class Missing(Enum):
    """The type of `MISSING`; an enum, so that copies and pickles of it are itself."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return self.name


MISSING: Final = Missing.MISSING
"""Stands where a key is not there; None is a value, and so is OmegaConf's `???`."""


@dataclass(frozen=True, slots=True)
class Change:
    """One hyperparameter before and after; `MISSING` where there was, or is, none."""

    before: Any
    after: Any


def differences(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> dict[str, Change]:
    """What changed, by dotted key: first what went or changed, in the order of `before`.

    Args:
        before: plain containers, as `OmegaConf.to_container` gives them.
        after: the same, later. Lists and empty dicts are values, not containers.

    Example:
        >>> from weightslab.hyperparameters.changes import differences
        >>> differences({"opt": {"lr": 0.1, "beta": 0.9}}, {"opt": {"lr": 0.2, "beta": 0.9}})
        {'opt.lr': Change(before=0.1, after=0.2)}
    """
    return {dotted(path): change for path, change in differing(before, after).items()}


def differing(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> dict[tuple[Any, ...], Change]:
    """What changed, by the path of keys; see `differences`."""
    old, new = dict(leaves(before)), dict(leaves(after))
    return {
        path: Change(old.get(path, MISSING), new.get(path, MISSING))
        for path in {**old, **new}
        if not same(old.get(path, MISSING), new.get(path, MISSING))
    }


def leaves(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value that is no dict, or an empty one, with its path."""
    if isinstance(value, Mapping) and (value or not above):
        for key, inner in value.items():
            yield from leaves(inner, (*above, key))
    else:
        yield above, value


def dotted(path: tuple[Any, ...]) -> str:
    """The path of a key as OmegaConf writes it: `a.b`; a key that holds a dot as `a[b.c]`."""
    text = ""
    for key in map(str, path):
        if not key or any(mark in key for mark in ".[]"):
            text += f"[{key}]"
        else:
            text += f".{key}" if text else key
    return text


def same(one: Any, other: Any) -> bool:
    """Whether two plain values are one: NaN is NaN, and 1, 1.0 and True are three things."""
    if one is other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return repr(one) == repr(other)
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001  # an array, or another object of the user's
        return False
