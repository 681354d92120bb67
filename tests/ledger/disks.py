"""Disks that fail on purpose: at one chosen operation, once or until they are healed."""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Self

from weightslab.ledger.files import Files, Lock, MappedFile

KINDS = (
    "append",
    "beacon",
    "create",
    "link",
    "lock",
    "log",
    "map",
    "mkdir",
    "open",
    "remove",
    "rename",
    "sync",
    "sync_folder",
    "write",
)
"""Every way in which a run folder changes."""


class WatchedStream:
    """A buffered stream that says before something is written to the disk."""

    _ROOM = 1024

    def __init__(self, stream: BinaryIO, before: Callable[[], None]) -> None:
        self._stream = stream
        self._before = before
        self._buffer = bytearray()

    def write(self, data: bytes) -> int:
        self._buffer += data
        if len(self._buffer) >= self._ROOM:
            self.flush()
        return memoryview(data).nbytes

    def flush(self) -> None:
        if self._buffer:
            self._before()
            self._stream.write(self._buffer)
            self._buffer.clear()
        self._stream.flush()

    def tell(self) -> int:
        return self._stream.tell() + len(self._buffer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class WatchedFiles(Files):
    """Calls `reach` with the kind of each change of the folder before it is made."""

    mapped = True
    """Whether logs can be preallocated and mapped."""

    def reach(self, kind: str) -> None:
        raise NotImplementedError

    def make_one_folder(self, path: Path) -> None:
        self.reach("mkdir")
        super().make_one_folder(path)

    def lock(self, path: Path) -> Lock | None:
        self.reach("lock")
        return super().lock(path)

    def map_log(self, path: Path, size_bytes: int) -> MappedFile | None:
        self.reach("map")
        return super().map_log(path, size_bytes) if self.mapped else None

    def open_appending(self, path: Path) -> int:
        self.reach("append")
        return super().open_appending(path)

    def open_in_place(self, path: Path) -> int:
        self.reach("open")
        return super().open_in_place(path)

    def write_in_place(self, descriptor: int, data: bytes) -> None:
        self.reach("beacon")
        super().write_in_place(descriptor, data)

    def open_new(self, path: Path) -> BinaryIO:
        self.reach("create")
        stream = super().open_new(path)
        return WatchedStream(stream, lambda: self.reach("write"))  # type: ignore[return-value]

    def write(self, descriptor: int, data: bytes) -> int:
        self.reach("log")
        return super().write(descriptor, data)

    def write_at(self, descriptor: int, data: bytes, position: int) -> None:
        self.reach("log")
        super().write_at(descriptor, data, position)

    def sync(self, descriptor: int) -> None:
        self.reach("sync")
        super().sync(descriptor)

    def sync_folder(self, path: Path) -> None:
        self.reach("sync_folder")
        super().sync_folder(path)

    def rename(self, source: Path, target: Path) -> None:
        self.reach("rename")
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self.reach("link")
        super().link(source, target)

    def remove(self, path: Path) -> None:
        self.reach("remove")
        super().remove(path)


class FaultyFiles(WatchedFiles):
    """The n-th operation of a kind fails: once, or until `heal`.

    Kind "any" counts every change, as a disk that is suddenly mounted read-only does.
    Nothing is really synced: these disks fail, and never lose their power.
    """

    def __init__(
        self,
        kind: str = "none",
        at: int = 0,
        code: int = errno.EIO,
        *,
        forever: bool = False,
        mapped: bool = True,
    ) -> None:
        super().__init__()
        self.mapped = mapped
        self.counts: Counter[str] = Counter()
        self.failed = 0
        """How many operations were refused."""
        self._kind = kind
        self._at = at
        self._code = code
        self._forever = forever
        self._healed = False

    def fail(self, kind: str, after: int, code: int) -> None:
        """Refuse one operation of a kind, the one behind `after` others from now on."""
        self._kind, self._code = kind, code
        self._at = self.counts[kind] + after

    def fail_from_now(self) -> None:
        """Refuse the next operation of the kind, and those after it."""
        self._at = self.counts[self._kind]

    def heal(self) -> None:
        """Take everything from now on."""
        self._healed = True

    def reach(self, kind: str) -> None:
        for counted in (kind, "any"):
            at = self.counts[counted]
            self.counts[counted] += 1
            hit = at >= self._at if self._forever else at == self._at
            if counted == self._kind and hit and not self._healed:
                self.failed += 1
                raise OSError(self._code, os.strerror(self._code))

    def sync(self, descriptor: int) -> None:
        self.reach("sync")

    def sync_folder(self, path: Path) -> None:
        self.reach("sync_folder")


class ShortFiles(FaultyFiles):
    """The n-th write to an appended log takes only a part, as a full disk may."""

    def __init__(self, at: int) -> None:
        super().__init__(mapped=False)
        self._short_at = at

    def write(self, descriptor: int, data: bytes) -> int:
        if self.counts["log"] == self._short_at:
            self.failed += 1
            data = data[: len(data) // 2]
        return super().write(descriptor, data)


class DyingFiles(WatchedFiles):
    """Kills the process with SIGKILL just before its n-th change of the folder.

    What makes no difference to who reads after a kill is not counted: a sync, more bytes
    of an unfinished file, the removal of what is not there.
    """

    def __init__(self, at: int, *, mapped: bool = True) -> None:
        super().__init__()
        self.mapped = mapped
        self._left = at
        changes = {"create", "link", "map", "mkdir", "remove", "rename"}
        self._counted = changes if mapped else {"append", "log"}
        """Where a log cannot be mapped only what differs is tried again."""

    def reach(self, kind: str) -> None:
        if kind in self._counted:
            self._left -= 1
            if self._left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def sync(self, descriptor: int) -> None:
        """Cost nothing."""

    def sync_folder(self, path: Path) -> None:
        """Cost nothing."""

    def remove(self, path: Path) -> None:
        if path.exists():
            super().remove(path)
