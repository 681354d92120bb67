"""Power that fails: what a disk is sure to hold, and what else it may hold.

A file holds what it held when it was last synced, a folder names what it named
when it was last synced. Everything since then may be there or not.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from weightslab.ledger.files import Files, Lock, MappedFile

SECTOR = 512
"""What a disk writes whole."""


class Killed(BaseException):
    """The process ends here: nothing may catch this."""


@dataclass(eq=False, slots=True)
class Node:
    """A file, whatever it is called."""

    paths: set[Path]
    grows: bool
    """Whether it goes on being written when it has been synced: a log."""
    synced: bytes | None = None
    last: bytes = b""
    """What it held when its last name went."""

    def content(self) -> bytes:
        """What it holds for the processes of a machine that is on."""
        if self.synced is not None and not self.grows:
            return self.synced
        return next(iter(self.paths)).read_bytes() if self.paths else self.last


Entry = Node | None
"""What a name stands for: a file, or None for a folder."""
Change = tuple[str, Entry, bool]
"""(name, what it stands for, whether it is there) of a change of a folder."""


@dataclass(slots=True)
class Image:
    """What a disk holds at one moment."""

    root: Path
    folders: dict[Path, dict[str, Entry]]
    changes: dict[Path, list[Change]]
    contents: dict[Node, tuple[bytes, bytes]]
    """What was synced of a file, and what it holds."""

    def restore(self, target: Path, dice: random.Random | None) -> None:
        """Make the folder that is there when the power is back.

        Without dice only what was synced; else of the rest what they say: of each folder's
        changes the first few, or any of them; of each file the old, the new, or a mixture
        of sectors.
        """
        self._restore(self.root, target, dice)

    def _restore(self, folder: Path, target: Path, dice: random.Random | None) -> None:
        target.mkdir()
        entries = dict(self.folders.get(folder, {}))
        for name, entry, there in self._persisted(folder, dice):
            if there:
                entries[name] = entry
            else:
                entries.pop(name, None)
        for name, entry in entries.items():
            if entry is None:
                self._restore(folder / name, target / name, dice)
            else:
                (target / name).write_bytes(_mixed(*self.contents[entry], dice))

    def _persisted(self, folder: Path, dice: random.Random | None) -> list[Change]:
        changes = self.changes.get(folder, [])
        if dice is None or not changes:
            return []
        if dice.random() < 0.5:
            return changes[: dice.randint(0, len(changes))]
        return [change for change in changes if dice.random() < 0.5]


def _mixed(old: bytes, new: bytes, dice: random.Random | None) -> bytes:
    if dice is None or old == new:
        return old
    # Where nothing was synced yet, room that was taken and not written reads as zeros.
    padded = old.ljust(len(new), b"\0")
    whole = dice.choice((old, padded, new, None))
    if whole is not None:
        return whole
    starts = range(0, len(new), SECTOR)
    return b"".join(dice.choice((padded, new))[at : at + SECTOR] for at in starts)


@dataclass(slots=True)
class Disk:
    """What the files of a run folder are, and what of that is durable."""

    root: Path
    folders: dict[Path, dict[str, Entry]] = field(default_factory=dict)
    changes: dict[Path, list[Change]] = field(default_factory=dict)
    nodes: dict[Path, Node] = field(default_factory=dict)
    serial: itertools.count[int] = field(default_factory=itertools.count)

    def name(self, path: Path, node: Entry) -> None:
        """`path` stands for a file or a folder now."""
        if node is not None:
            self.forget(path)
            node.paths.add(path)
            self.nodes[path] = node
        self.changes.setdefault(path.parent, []).append((path.name, node, True))

    def forget(self, path: Path) -> None:
        """The file at `path` is about to lose that name."""
        node = self.nodes.pop(path, None)
        if node is not None:
            if len(node.paths) == 1:
                node.last = node.content()
            node.paths.discard(path)

    def unname(self, path: Path) -> None:
        """The name is gone."""
        self.changes.setdefault(path.parent, []).append((path.name, None, False))

    def sync_folder(self, path: Path) -> None:
        """What the folder names now is durable."""
        entries = self.folders.setdefault(path, {})
        for name, entry, there in self.changes.pop(path, []):
            if there:
                entries[name] = entry
            else:
                entries.pop(name, None)

    def image(self) -> Image:
        """The disk at this moment."""
        folders = {folder: dict(entries) for folder, entries in self.folders.items()}
        changes = {folder: list(made) for folder, made in self.changes.items()}
        held = [e for entries in folders.values() for e in entries.values()]
        held += [entry for made in changes.values() for _, entry, _ in made]
        contents = {e: (e.synced or b"", e.content()) for e in held if e is not None}
        return Image(self.root, folders, changes, contents)


class PowerLossFiles(Files):
    """Keeps `disk` up to date; calls `reach` before each change that a power loss may part."""

    def __init__(self, disk: Disk, reach: Callable[[], None], *, mapped: bool = True) -> None:
        super().__init__()
        self._serial = disk.serial
        self._disk = disk
        self._reach = reach
        self._mapped = mapped

    def make_one_folder(self, path: Path) -> None:
        self._reach()
        there = path.is_dir()
        super().make_one_folder(path)
        if not there:
            self._disk.name(path, None)

    def lock(self, path: Path) -> Lock | None:
        there = path.exists()
        lock = super().lock(path)
        if not there:
            self._disk.name(path, Node({path}, grows=False))
        return lock

    def map_log(self, path: Path, size_bytes: int) -> MappedFile | None:
        self._reach()
        if not self._mapped:
            return None
        mapped = super().map_log(path, size_bytes)
        self._disk.name(path, Node({path}, grows=True))
        return mapped

    def open_appending(self, path: Path) -> int:
        descriptor = super().open_appending(path)
        self._disk.name(path, Node({path}, grows=True))
        return descriptor

    def open_in_place(self, path: Path) -> int:
        there = path.exists()
        descriptor = super().open_in_place(path)
        if not there:
            self._disk.name(path, Node({path}, grows=True))
        return descriptor

    def open_new(self, path: Path) -> BinaryIO:
        self._reach()
        stream = super().open_new(path)
        self._disk.name(path, Node({path}, grows=False))
        return stream

    def sync(self, descriptor: int) -> None:
        self._reach()
        status = os.fstat(descriptor)
        for path, node in self._disk.nodes.items():
            if path.exists() and os.path.samestat(path.stat(), status):
                node.synced = path.read_bytes()
                return

    def sync_folder(self, path: Path) -> None:
        self._reach()
        self._disk.sync_folder(path)

    def rename(self, source: Path, target: Path) -> None:
        self._reach()
        self._disk.forget(target)
        node = self._disk.nodes[source]
        super().rename(source, target)
        node.paths.add(target)
        node.paths.discard(source)
        del self._disk.nodes[source]
        self._disk.name(target, node)
        self._disk.unname(source)

    def link(self, source: Path, target: Path) -> None:
        self._reach()
        super().link(source, target)
        self._disk.name(target, self._disk.nodes[source])

    def remove(self, path: Path) -> None:
        if not path.exists():
            return
        self._reach()
        self._disk.forget(path)
        super().remove(path)
        self._disk.unname(path)
