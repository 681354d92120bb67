"""How a user spells a signal or a split, and what it means."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["SIGNAL_PREFIX", "in_origin", "origin_spellings", "signal_name", "tag_name"]

SIGNAL_PREFIX = "signals//"


def signal_name(name: str) -> str:
    """A signal's name without the prefix of its column."""
    return name.removeprefix(SIGNAL_PREFIX)


def tag_name(name: str, known: Iterable[str]) -> str:
    """A tag's name; "tag:hard", as its column is called, is "hard" unless a tag has that name."""
    return name if name in known else name.removeprefix("tag:")


def origin_spellings(origin: str) -> frozenset[str]:
    """Names that mean the same split: "train" and "train_loader"."""
    bare = origin.removesuffix("_loader")
    return frozenset((origin, bare, f"{bare}_loader")) if bare else frozenset((origin,))


def in_origin(origins: Iterable[str], wanted: str | None) -> bool:
    """Whether a sample of `origins` belongs to the split that was asked for."""
    return wanted is None or not origin_spellings(wanted).isdisjoint(origins)
