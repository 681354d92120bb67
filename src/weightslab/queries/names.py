"""How a user spells a signal or a split, and what it means."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["SIGNAL_PREFIX", "origin_spellings", "signal_name"]

SIGNAL_PREFIX = "signals//"


def signal_name(name: str) -> str:
    """A signal's name without the prefix of its column."""
    return name.removeprefix(SIGNAL_PREFIX)


def origin_spellings(origin: str) -> frozenset[str]:
    """Names that mean the same split: "train" and "train_loader"."""
    bare = origin.removesuffix("_loader")
    return frozenset((origin, bare, f"{bare}_loader")) if bare else frozenset((origin,))


def in_origin(origins: Iterable[str], wanted: str | None) -> bool:
    """Whether a sample of `origins` belongs to the split that was asked for."""
    return wanted is None or not origin_spellings(wanted).isdisjoint(origins)
