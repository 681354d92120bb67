"""Trees of plain containers: values put in by dotted key, and one tree laid over another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightslab.errors import InputError, UnknownOptionError
from weightslab.hyperparameters.changes import dotted, leaves

__all__ = ["laid_over", "put", "tree_of"]

Path = tuple[Any, ...]


def laid_over(under: Mapping[Any, Any], over: Mapping[Any, Any]) -> dict[Any, Any]:
    """`over` on top of `under`, as `OmegaConf.merge` does it: a `???` covers nothing."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = laid_over(below, value)
        elif key not in merged or not (isinstance(value, str) and value == "???"):
            merged[key] = value
    return merged


def tree_of(known: Mapping[Any, Any], values: Mapping[str, Any]) -> dict[Any, Any]:
    """Values by dotted key as a tree with the keys of `known`.

    A dict for what is a dict says something about the keys that it names, which must be
    there, and nothing of others; for anything else it is a value.

    Raises:
        UnknownOptionError: a key that is not in `known`; the nearest one is named.
        InputError: two of the keys contradict each other.
    """
    nodes = {dotted(path): (path, value) for path, value in _nodes(known, ())}
    tree: dict[Any, Any] = {}
    for key, value in values.items():
        if key not in nodes:
            raise UnknownOptionError("hyperparameter", key, nodes)
        path, there = nodes[key]
        if not (isinstance(there, Mapping) and there):
            put(tree, path, value)
            continue
        for inner, leaf in leaves(value, path):
            if dotted(inner) not in nodes:
                raise UnknownOptionError("hyperparameter", dotted(inner), nodes)
            put(tree, inner, leaf)
    return tree


def _nodes(tree: Mapping[Any, Any], above: Path) -> Iterator[tuple[Path, Any]]:
    for key, value in tree.items():
        yield (*above, key), value
        if isinstance(value, Mapping):
            yield from _nodes(value, (*above, key))


def put(tree: dict[Any, Any], path: Path, value: Any) -> None:
    """Put one value into a tree, in place; the dicts on the way are made.

    Raises:
        InputError: something on the way is no dict.
    """
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise InputError(f"{dotted(path)} lies in what is given another value beside it")
    tree[path[-1]] = value
