"""Values written into YAML text: the lines of others, and their comments, stay as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from weightslab.errors import InputError
from weightslab.hyperparameters.changes import MISSING, Missing, same
from weightslab.hyperparameters.paths import put
from weightslab.hyperparameters.sources import tree_of_yaml

__all__ = ["changed_tree", "changed_yaml"]

Path = tuple[Any, ...]
_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


def changed_tree(tree: Mapping[Any, Any], changes: Mapping[Path, Any | Missing]) -> dict[Any, Any]:
    """A copy of `tree` with values put in by path, or taken out where they are `MISSING`.

    Raises:
        InputError: a path leads into something that is no dict.
    """
    changed = _unshared(tree)
    for path, value in changes.items():
        if value is MISSING:
            _take_out(changed, path)
    for path, value in changes.items():
        if value is not MISSING:
            put(changed, path, value)
    return changed


def _unshared(tree: Mapping[Any, Any]) -> dict[Any, Any]:
    return {k: _unshared(v) if isinstance(v, Mapping) else v for k, v in tree.items()}


def _take_out(tree: Any, path: Path) -> None:
    for key in path[:-1]:
        tree = tree.get(key) if isinstance(tree, dict) else None
    if isinstance(tree, dict):
        tree.pop(path[-1], None)


def changed_yaml(
    data: bytes, name: str, changes: Mapping[Path, Any | Missing]
) -> tuple[bytes, bool]:
    """YAML with values changed, and whether everything else stands as it stood.

    A scalar and a list in brackets are replaced where they stand; a new key gets a line of its
    own. What cannot be said so (a block of lines, an anchor that others use, a key that goes)
    is written anew as a whole: then comments are lost, and the second value is false.

    Raises:
        InputError: `data` is no YAML, or a value cannot be written as YAML.
    """
    wanted = changed_tree(tree_of_yaml(data, name) or {}, changes)
    text: str | None = data.decode()
    for path, value in changes.items():
        text = None if text is None or value is MISSING else _replaced(text, path, value)
    if text is not None:
        encoded = text.encode()
        if _says(encoded, name, wanted):
            return encoded, True
    anew = _written(wanted).encode()
    if not _says(anew, name, wanted):
        raise InputError(f"these values cannot be written as YAML: {sorted(map(str, changes))}")
    return anew, False


def _says(data: bytes, name: str, wanted: Mapping[Any, Any]) -> bool:
    try:
        return same(tree_of_yaml(data, name) or {}, wanted)
    except InputError:
        return False


def _written(tree: Mapping[Any, Any]) -> str:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.to_yaml(OmegaConf.create(dict(tree)))
    except (OmegaConfBaseException, ValueError, yaml.YAMLError) as error:
        raise InputError(
            f"a value cannot be written as YAML: {str(error).partition(chr(10))[0]}"
        ) from error


def _inline(value: Any) -> str | None:
    """A value on one line; None where it needs more."""
    if isinstance(value, Mapping):
        return None if value else "{}"
    if isinstance(value, (list, tuple)):
        items = [_inline(item) for item in value]
        return None if None in items else f"[{', '.join(item for item in items if item)}]"
    text = _written({"x": value}).removeprefix("x:").strip()
    if "\n" not in text:
        return text
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else None


def _replaced(text: str, path: Path, value: Any) -> str | None:
    """The text with one value changed; None where that needs more than a line."""
    written = _inline(value)
    bom = _BOM if text.startswith(_BOM) else ""
    text = text.removeprefix(_BOM)
    node: Any = yaml.compose(text, yaml.SafeLoader)
    if written is None:
        return None
    if node is None and len(path) == 1:
        return bom + _with_line(text, None, f"{path[0]}: {written}")
    line: int | None = None
    for depth, key in enumerate(path):
        if not isinstance(node, yaml.MappingNode):
            return None
        pair = next((p for p in node.value if p[0].value == str(key)), None)
        if pair is None:
            is_last = depth == len(path) - 1 and not node.flow_style
            column = node.start_mark.column
            return (
                bom + _with_line(text, line, f"{' ' * column}{key}: {written}") if is_last else None
            )
        line, node = pair[0].end_mark.line + 1, pair[1]
    if isinstance(node, yaml.ScalarNode) and node.style in {"|", ">"}:
        return None
    if not isinstance(node, yaml.ScalarNode) and not node.flow_style:
        return None
    start, end = node.start_mark.index, node.end_mark.index
    return bom + text[:start] + (" " if start == end else "") + written + text[end:]


def _with_line(text: str, at: int | None, line: str) -> str:
    """The text with a new line before the line `at`, or at its end."""
    ending = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    at = len(lines) if at is None else at
    if lines and at == len(lines) and not lines[-1].endswith("\n"):
        lines[-1] += ending
    lines.insert(at, line + ending)
    return "".join(lines)
