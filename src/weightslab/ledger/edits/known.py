"""Which tags there are in a run folder, whoever made them."""

from __future__ import annotations

from collections.abc import Iterable

from weightslab.ledger.edits.merged import MergedEdits
from weightslab.ledger.store import Store

__all__ = ["category_values", "tag_names"]


def tag_names(stores: Iterable[Store], merged: MergedEdits | None) -> list[str]:
    """Names of the boolean tags, each once, in order of first appearance."""
    found = [tag for store in stores for tag in store.samples.tags]
    return list(dict.fromkeys([*found, *(merged.tags() if merged else ())]))


def category_values(stores: Iterable[Store], merged: MergedEdits | None) -> dict[str, list[str]]:
    """Categorical tags and their values, in order of first appearance."""
    found: dict[str, dict[str, None]] = {}
    for store in stores:
        for name, column in store.samples.categories.items():
            found.setdefault(name, {}).update(dict.fromkeys(column.categories))
    for name, known in merged.categories().items() if merged else ():
        found.setdefault(name, {}).update(dict.fromkeys(known))
    return {name: list(values) for name, values in found.items()}
