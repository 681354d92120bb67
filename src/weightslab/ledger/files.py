"""The one file that touches the operating system: locks, mapped logs, atomic files.

Linux is what is tested. Where a file system does not honour preallocation the
log is appended to instead of mapped. Tests hand the ledger a subclass that fails
or kills the process at the n-th operation.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["Files", "Lock", "MappedFile"]

_UNMAPPABLE = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV, errno.ENOSYS}


class Lock:
    """An exclusive lock of the operating system, held until `release` or the process's end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; a second call does nothing. In a forked child this only closes its copy."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class MappedFile:
    """A file in memory. It is synced by its descriptor: `mmap.flush` would hold the GIL."""

    map: mmap.mmap
    descriptor: int


class Files:
    """Operations on a run folder; every one raises OSError when the disk does."""

    def __init__(self) -> None:
        self._serial = itertools.count()

    def make_folder(self, path: Path) -> None:
        """Make a folder and its parents, each synced into the folder that holds it."""
        if path.is_dir():
            return
        self.make_folder(path.parent)
        path.mkdir(exist_ok=True)
        self.sync_folder(path.parent)

    def lock(self, path: Path) -> Lock | None:
        """Lock a file exclusively; None when a living process holds it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        return Lock(descriptor)

    def map_log(self, path: Path, size_bytes: int) -> MappedFile | None:
        """Preallocate and map a new file; None where this file system cannot do that.

        Blocks are really taken: a sparse map on a full disk would be a SIGBUS later.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
            return MappedFile(mmap.mmap(descriptor, size_bytes), descriptor)
        except OSError as error:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                path.unlink()
            if error.errno in _UNMAPPABLE:
                return None
            raise

    def open_new(self, path: Path) -> BinaryIO:
        """Open a new file for writing; one that is there already is refused."""
        return path.open("xb")

    def open_appending(self, path: Path) -> int:
        """Open a new file for plain appends; gives a descriptor."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        return os.open(path, flags, 0o644)

    def open_in_place(self, path: Path) -> int:
        """Open a file, made when it is missing, for writes at its start; gives a descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write_in_place(self, descriptor: int, data: bytes) -> None:
        """Put a few bytes at the start of a file; not synced."""
        os.pwrite(descriptor, data, 0)

    def sync(self, descriptor: int) -> None:
        """Flush a descriptor to the disk."""
        os.fsync(descriptor)

    def write(self, descriptor: int, data: bytes) -> int:
        """Append bytes to a descriptor; gives how many were taken."""
        return os.write(descriptor, data)

    def sync_folder(self, path: Path) -> None:
        """Flush a folder's entries to the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove a file; a missing one is fine."""
        with contextlib.suppress(FileNotFoundError):
            path.unlink()

    def publish(self, temporary: Path, target: Path, write: Callable[[BinaryIO], object]) -> None:
        """Write a file so that it appears whole or not at all.

        The file is written and synced under `temporary`, renamed to `target`,
        and the folder is synced.
        """
        self.make_folder(target.parent)
        with self.unfinished(temporary, target.name) as path:
            with self.open_new(path) as stream:
                write(stream)
                stream.flush()
                self.sync(stream.fileno())
            self.take_place(path, target)

    def take_place(self, path: Path, target: Path) -> None:
        """Give a finished, synced file its name, durably; on an error it has none."""
        self.rename(path, target)
        try:
            self.sync_folder(target.parent)
        except OSError:
            # Not published after all: what is tried again must not stand there twice.
            self.remove(target)
            raise

    def create(self, temporary: Path, target: Path, data: bytes) -> bool:
        """Make a file that appears whole; False when there is one, whoever made it."""
        with self.unfinished(temporary, target.name) as path:
            path.write_bytes(data)
            try:
                os.link(path, target)
            except FileExistsError:
                return False
            except OSError:
                # A file system without links: whole or not, there is one at most.
                try:
                    with target.open("xb") as stream:
                        stream.write(data)
                except FileExistsError:
                    return False
        return True

    def rename(self, source: Path, target: Path) -> None:
        """Rename within one file system, replacing the target."""
        source.replace(target)

    @contextlib.contextmanager
    def unfinished(self, folder: Path, name: str) -> Iterator[Path]:
        """Path of a file to be written; what still stands there at the end is removed."""
        self.make_folder(folder)
        unique = f"{os.getpid()}-{threading.get_ident()}-{next(self._serial)}-{name[-80:]}"
        path = folder / unique
        try:
            yield path
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
