"""`tags.json` and `signals.json`: what they hold, and what the files say they should."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from weightslab.ledger.layout import HIVE_NULL, folder_name
from weightslab.maintenance.tree import Entry

__all__ = ["Registries", "misplaced", "read_json"]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises OSError when it cannot be read, ValueError when it is none."""
    try:
        found = json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, expected an object")  # noqa: TRY004  # a damaged file
    return found


def misplaced(entry: Entry, footer: dict[str, Any]) -> str | None:
    """What is wrong with the folder of a segment, given its metadata; None when nothing is."""
    signal, digits = footer["signal"], footer.get("experiment_hash")
    _, _, key, folder, *_ = entry.parts
    names = {folder_name(signal), folder_name(signal, distinct=True)}
    if folder.removeprefix("signal=") not in names:
        return f"it holds the signal {signal!r}: move it to signal={folder_name(signal)}"
    expected = HIVE_NULL if digits is None else quote(str(digits), safe="")
    if key != f"experiment_hash={expected}":
        return f"it holds values of the experiment {digits}: move it to experiment_hash={expected}"
    return None


@dataclass(slots=True)
class Registries:
    """Signals and tags, as the metadata of files names them."""

    signals: dict[str, str] = field(default_factory=dict)
    """True name of a signal by its folder."""
    tags: set[str] = field(default_factory=set)
    categories: dict[str, dict[str, None]] = field(default_factory=dict)

    def take(self, entry: Entry, footer: dict[str, Any]) -> None:
        """Take in what a file's metadata says."""
        if entry.content in ("sample", "instance", "global"):
            self.signals[entry.parts[3].removeprefix("signal=")] = footer["signal"]
        elif entry.content == "tags":
            self.tags.update(map(str, footer["tags"]))
            for tag, names in footer["categories"].items():
                self.categories.setdefault(tag, {}).update(dict.fromkeys(names))

    def missing_signals(self, held: dict[str, Any]) -> list[str]:
        """Signals that `signals.json` lacks, or knows by another name."""
        return sorted(name for key, name in self.signals.items() if held.get(key) != name)

    def missing_tags(self, held: dict[str, Any]) -> list[str]:
        """Tags and categories that `tags.json` lacks."""
        categories = _categories_of(held)
        lacking = self.tags.difference(_tags_of(held))
        for tag, names in self.categories.items():
            if tag not in categories or not names.keys() <= set(categories[tag]):
                lacking.add(tag)
        return sorted(lacking)

    def all_signals(self, held: dict[str, Any]) -> dict[str, Any]:
        """`signals.json` with everything that files name."""
        return {**held, **self.signals}

    def all_tags(self, held: dict[str, Any]) -> dict[str, Any]:
        """`tags.json` with everything that files name."""
        categories = _categories_of(held)
        for tag, names in self.categories.items():
            categories[tag] = list(dict.fromkeys([*categories.get(tag, ()), *names]))
        return {"tags": sorted({*_tags_of(held), *self.tags}), "categories": categories}


def _tags_of(held: dict[str, Any]) -> list[str]:
    tags = held.get("tags")
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def _categories_of(held: dict[str, Any]) -> dict[str, list[str]]:
    found = held.get("categories")
    if not isinstance(found, dict):
        return {}
    return {
        tag: [name for name in names if isinstance(name, str)]
        for tag, names in found.items()
        if isinstance(names, list)
    }
