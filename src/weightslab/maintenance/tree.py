"""Every file of a run folder, and what it is.

Nothing is followed out of the folder: a symbolic link is one more unknown file.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from weightslab.ledger.layout import FileRange

__all__ = ["Entry", "Tree", "walk"]

_CONTENTS = {"sample", "instance", "global", "ids", "journal", "tags", "signals", "arrays", "packs"}
_FLAT = {"ids": "ids", "journal": "journal", "arrays": "packs"}
_LAUNCH = re.compile(r"^\d+\.(json|rank-\d+)$")
_OF_A_WRITER = {"lock": "lock", "edits": "mark"}
"""Files beside a writer's logs: its lock, and what tells others that it edited."""
_WRITER = re.compile(r"^\d+-\d+$")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file."""

    path: Path
    relative: str
    """Inside the run folder, parts separated by "/"."""
    size_bytes: int
    role: str
    """What it is: "manifest", "registry", "launch", "lock", "log", "mark", "temporary",
    "aside", "parquet" or "unknown"."""
    content: str = ""
    """Of Parquet: "sample", "instance", "global", "ids", "journal", "tags", "signals",
    "arrays", "packs" (large arrays), or "" for a tree that this version does not know."""
    writer: str | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders and name."""
        return tuple(self.relative.split("/"))


@dataclass(slots=True)
class Tree:
    """What stands in a run folder."""

    root: Path
    entries: list[Entry] = field(default_factory=list)
    unreadable: list[tuple[str, OSError]] = field(default_factory=list)
    """Folders that could not be listed."""

    def of(self, role: str) -> list[Entry]:
        """The files of one role."""
        return [entry for entry in self.entries if entry.role == role]

    def writers(self) -> list[str]:
        """Every writer that a file or a log folder speaks of."""
        named = {entry.writer for entry in self.entries if entry.writer is not None}
        logs = self.root / "_wal"
        with contextlib.suppress(OSError):  # said by the walk, or there is none
            named |= {p.name for p in logs.iterdir() if p.is_dir() and _WRITER.match(p.name)}
        return sorted(named)


def walk(root: Path) -> Tree:
    """List a run folder. A folder that cannot be listed is noted, and the rest goes on."""
    tree = Tree(root)
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(root / inside) as found:
                items = sorted(found, key=lambda item: item.name)
        except FileNotFoundError:
            continue  # removed meanwhile
        except OSError as error:
            tree.unreadable.append((inside or ".", error))
            continue
        for item in items:
            relative = f"{inside}/{item.name}" if inside else item.name
            if item.is_dir(follow_symlinks=False):
                waiting.append(relative)
                continue
            try:
                size = item.stat(follow_symlinks=False).st_size
            except OSError:
                continue  # removed meanwhile
            regular = item.is_file(follow_symlinks=False)
            role, content, writer = _classify(relative.split("/")) if regular else ("unknown",) * 3
            tree.entries.append(
                Entry(root / relative, relative, size, role, content, writer if regular else None)
            )
    tree.entries.sort(key=lambda entry: entry.relative)
    return tree


def _classify(parts: list[str]) -> tuple[str, str, str | None]:
    """(role, content, writer) of a file by its place."""
    top, name = parts[0], parts[-1]
    if len(parts) == 1:
        roles = {"ledger.json": "manifest", "tags.json": "registry", "signals.json": "registry"}
        return roles.get(name, "unknown"), "", None
    if top == "_damaged" or (top == "_wal" and name.endswith(".damaged")):
        return "aside", "", None
    if top == "_tmp":
        return "temporary", "", None
    if top == "launches" and len(parts) == 2 and _LAUNCH.match(name):
        return "launch" if name.endswith(".json") else "mark", "", None
    if top == "_wal" and len(parts) == 3 and _WRITER.match(parts[1]):
        is_log = name.endswith(".wal") and name[:-4].isdigit()
        role = "log" if is_log else _OF_A_WRITER.get(name, "unknown")
        return role, "", parts[1] if role != "unknown" else None
    named = (p.removeprefix("writer=") for p in parts[:-1] if p.startswith("writer="))
    writer = next((name for name in named if _WRITER.match(name)), None)
    if writer is not None and FileRange.parse(Path(name)) is not None:
        return "parquet", _content(parts), writer
    return "unknown", "", None


def _content(parts: list[str]) -> str:
    """What a Parquet file holds by its place; "" where this version does not know it."""
    top = parts[0]
    found = ""
    if top == "history" and len(parts) == 6:
        found = parts[1].removeprefix("kind=")
    elif top == "samples" and len(parts) == 4:
        found = parts[1].removeprefix("family=")
    elif top in _FLAT and len(parts) == 3:
        found = _FLAT[top]
    return found if found in _CONTENTS else ""
