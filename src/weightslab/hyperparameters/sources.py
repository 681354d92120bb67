"""YAML text of hyperparameters: read with errors that name the file, the line and what to do.

The text is read as OmegaConf reads it: `1e-4` is a float, a date is text, a key that stands
twice is refused. What a file may be is bounded, since it is read while a training runs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from weightslab.errors import InputError
from weightslab.hyperparameters.changes import dotted
from weightslab.hyperparameters.handle import raw_tree

__all__ = ["Signature", "read_bytes", "signature", "tree_of_yaml"]

_LARGEST_BYTES = 1 << 20
_MOST_VALUES = 100_000
_NULL = "tag:yaml.org,2002:null"


class Signature(NamedTuple):
    """What tells one state of a file from the next, links followed."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int


def signature(path: Path) -> Signature | None:
    """The state of a file; None where there is none, or none that can be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Signature(
        found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    )


def read_bytes(path: Path) -> bytes:
    """What stands in a file.

    Raises:
        FileNotFoundError: there is none.
        InputError: it is no file, cannot be read, or is too large for hyperparameters.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # before it is opened: a pipe would wait for its writer
            kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise InputError(f"{path} is {kind}: expected a YAML file of hyperparameters")
        with path.open("rb") as stream:
            data = stream.read(_LARGEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(str(path)) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {os.strerror(error.errno or 0)}") from error
    if len(data) > _LARGEST_BYTES:
        raise InputError(
            f"{path} is larger than {_LARGEST_BYTES:,} bytes: expected hyperparameters; keep "
            f"data in a file of its own, and its path here"
        )
    return data


def tree_of_yaml(data: bytes, name: str) -> dict[Any, Any] | None:
    """The mapping that a YAML file holds, as plain containers; None for an empty one.

    Interpolations stay as they are written.

    Raises:
        InputError: it is no YAML, or no mapping; `name` and the line stand in the message.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    root = None
    try:
        text = data.decode("utf-8-sig")
        root = yaml.compose(text, yaml.SafeLoader)
        if root is None or (isinstance(root, yaml.ScalarNode) and root.tag == _NULL):
            return None
        if not isinstance(root, yaml.MappingNode):
            raise InputError(
                f"{name}:{root.start_mark.line + 1}: expected `key: value` lines at the top, "
                f"got a {root.id}"
            )
        if _values(root, {}) > _MOST_VALUES:
            raise InputError(f"{name} holds more than {_MOST_VALUES:,} values, aliases followed")
        config = OmegaConf.create(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{name}:{line}: expected UTF-8 text: {error.reason}") from error
    except yaml.YAMLError as error:
        raise InputError(_said(error, name)) from error
    except RecursionError as error:
        raise InputError(f"{name}: nested too deeply, or an alias that holds itself") from error
    except (OmegaConfBaseException, ValueError, AssertionError) as error:
        if isinstance(error, InputError):
            raise
        key = getattr(error, "full_key", None)
        line = dict(_lines(root, ())).get(key or "", 1)
        raise InputError(f"{name}:{line}: {key}: {str(error).partition(chr(10))[0]}") from error
    assert OmegaConf.is_dict(config)
    return raw_tree(config)


def _said(error: yaml.YAMLError, name: str) -> str:
    problem = str(getattr(error, "problem", None) or str(error).partition("\n")[0])
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = name if mark is None else f"{name}:{mark.line + 1}"
    if "'\\t'" in problem:
        problem += "; indent with spaces"
    return f"{place}: expected YAML: {problem}"


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of values under a node, each alias counted as what it stands for."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        inner = node.value
        if isinstance(node, yaml.MappingNode):
            inner = [value for _, value in inner]
        known[id(node)] = 1 + sum(_values(value, known) for value in inner)
    return known[id(node)]


def _lines(node: Any, above: tuple[Any, ...]) -> Iterator[tuple[str, int]]:
    """The line of every key, from 1."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield dotted((*above, key.value)), key.start_mark.line + 1
            yield from _lines(value, (*above, key.value))
