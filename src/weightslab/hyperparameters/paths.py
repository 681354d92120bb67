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
        elif key not in merged or value != "???":
            merged[key] = value
    return merged


def tree_of(known: Mapping[Any, Any], values: Mapping[str, Any]) -> dict[Any, Any]:
    """Values by dotted key as a tree with the keys of `known`.

    A dict as a value says something about the keys that it names, and nothing of others.

    Raises:
        UnknownOptionError: a key that is not in `known`; the nearest one is named.
        InputError: two of the keys contradict each other.
    """
    paths = dict(_paths(known, ()))
    tree: dict[Any, Any] = {}
    for key, value in values.items():
        if key not in paths:
            raise UnknownOptionError("hyperparameter", key, paths)
        for path, leaf in leaves(value, paths[key]):
            if dotted(path) not in paths:
                raise UnknownOptionError("hyperparameter", dotted(path), paths)
            put(tree, path, leaf)
    return tree


def _paths(tree: Mapping[Any, Any], above: Path) -> Iterator[tuple[str, Path]]:
    for key, value in tree.items():
        path = (*above, key)
        yield dotted(path), path
        if isinstance(value, Mapping):
            yield from _paths(value, path)


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
