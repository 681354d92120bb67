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
    """YAML with values changed, and whether every comment still stands.

    A scalar, a list in brackets and the items of a list in lines are replaced where they
    stand; a new key gets a line of its own. What cannot be said so (text in lines, a list in
    lines that grows, an anchor that others use, a key that goes) is written anew as a whole.

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
    return anew, b"#" not in data


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
    """The text with one value changed; None where that needs more than its lines."""
    bom = _BOM if text.startswith(_BOM) else ""
    text = text.removeprefix(_BOM)
    node: Any = yaml.compose(text, yaml.SafeLoader)
    line: int | None = None
    for depth, key in enumerate(path):
        if node is not None and not isinstance(node, yaml.MappingNode):
            return None
        pairs = [] if node is None else node.value
        pair = next((pair for pair in pairs if pair[0].value == str(key)), None)
        if pair is None:
            lines = _new_lines(node, path[depth:], value)
            return None if lines is None else bom + _with_lines(text, line, lines)
        line, node = pair[0].end_mark.line + 1, pair[1]
    spans = _spans(node, value)
    if spans is None:
        return None
    for start, end, written in reversed(spans):
        text = text[:start] + (" " if start == end else "") + written + text[end:]
    return bom + text


def _new_lines(node: Any, keys: Path, value: Any) -> list[str] | None:
    """Lines for keys that are not there, of a mapping in lines; None where it is in brackets."""
    written = _inline(value)
    if written is None or (node is not None and node.flow_style):
        return None
    column = 0 if node is None else node.start_mark.column
    lines = [f"{' ' * (column + 2 * depth)}{key}:" for depth, key in enumerate(keys)]
    lines[-1] += f" {written}"
    return lines


def _spans(node: Any, value: Any) -> list[tuple[int, int, str]] | None:
    """Which parts of the text become what, in order; None where whole lines would have to."""
    in_lines = isinstance(node, yaml.SequenceNode) and not node.flow_style
    if in_lines and isinstance(value, (list, tuple)) and len(value) == len(node.value):
        parts = [_spans(item, one) for item, one in zip(node.value, value, strict=True)]
        return None if None in parts else [span for part in parts if part for span in part]
    written = _inline(value)
    is_text_in_lines = isinstance(node, yaml.ScalarNode) and node.style in {"|", ">"}
    is_lines = not isinstance(node, yaml.ScalarNode) and not node.flow_style
    if written is None or is_text_in_lines or is_lines:
        return None
    return [(node.start_mark.index, node.end_mark.index, written)]


def _with_lines(text: str, at: int | None, new: list[str]) -> str:
    """The text with new lines before the line `at`, or at its end."""
    ending = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    at = len(lines) if at is None else at
    if lines and at == len(lines) and not lines[-1].endswith("\n"):
        lines[-1] += ending
    lines[at:at] = [line + ending for line in new]
    return "".join(lines)
