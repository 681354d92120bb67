"""The one file that touches the operating system: locks, mapped logs, atomic files.

Every change of a run folder is one small method of `Files`, so that a test's
subclass can fail, kill the process or cut the power at each. Linux is what is
tested. Where a file system does not honour preallocation the log is appended to
instead of mapped.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from weightslab.ledger.unfinished import unfinished_name

__all__ = ["Files", "Lock", "MappedFile"]

_UNMAPPABLE = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV, errno.ENOSYS}
_UNLINKABLE = {errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.EMLINK}
_NEW = os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


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
        self._unsynced: set[Path] = set()
        """Folders that were made and whose parent could not be synced."""
        self._unwanted: set[Path] = set()
        """Files that failed to be published after all and could not be removed."""

    # -- one change each --------------------------------------------------

    def make_one_folder(self, path: Path) -> None:
        """Make a folder whose parent exists; one that is there is fine."""
        path.mkdir(exist_ok=True)

    def lock(self, path: Path) -> Lock | None:
        """Lock a file exclusively, made when it is missing; None when a living process holds it."""
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

    def is_locked(self, path: Path) -> bool:
        """Whether a living process holds a lock. Changes nothing; a missing file is not held.

        Looks with a shared lock that is let go at once.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def map_log(self, path: Path, size_bytes: int) -> MappedFile | None:
        """Preallocate and map a new file; None where this file system cannot do that.

        Blocks are really taken: a sparse map on a full disk would be a SIGBUS later.
        """
        descriptor = os.open(path, os.O_RDWR | _NEW, 0o644)
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
            return MappedFile(mmap.mmap(descriptor, size_bytes), descriptor)
        except OSError as error:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                self.remove(path)
            if error.errno in _UNMAPPABLE:
                return None
            raise

    def open_appending(self, path: Path) -> int:
        """Open a new file for plain appends; gives a descriptor."""
        return os.open(path, os.O_WRONLY | _NEW, 0o644)

    def open_in_place(self, path: Path) -> int:
        """Open a file, made when it is missing, for writes at its start; gives a descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write_in_place(self, descriptor: int, data: bytes) -> None:
        """Put a few bytes at the start of a file; not synced."""
        os.pwrite(descriptor, data, 0)

    def open_new(self, path: Path) -> BinaryIO:
        """Open a new file for writing; one that is there already is refused."""
        return path.open("xb")

    def write(self, descriptor: int, data: bytes) -> int:
        """Append bytes to a descriptor; gives how many were taken."""
        return os.write(descriptor, data)

    def write_at(self, descriptor: int, data: bytes, position: int) -> None:
        """Overwrite a few bytes at a position."""
        os.pwrite(descriptor, data, position)

    def sync(self, descriptor: int) -> None:
        """Flush a descriptor to the disk."""
        os.fsync(descriptor)

    def sync_folder(self, path: Path) -> None:
        """Flush a folder's entries to the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Rename within one file system, replacing the target."""
        source.replace(target)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name. Raises FileExistsError where the name is taken."""
        target.hardlink_to(source)

    def remove(self, path: Path) -> None:
        """Remove a file; a missing one is fine."""
        with contextlib.suppress(FileNotFoundError):
            path.unlink()

    # -- made of them ------------------------------------------------------

    def make_folder(self, path: Path) -> None:
        """Make a folder and its parents, each synced into the folder that holds it."""
        if path.is_dir() and path not in self._unsynced:
            return
        self.make_folder(path.parent)
        self._unsynced.add(path)
        self.make_one_folder(path)
        self.sync_folder(path.parent)
        self._unsynced.discard(path)

    def sync_file(self, path: Path) -> None:
        """Flush a file that somebody else wrote to the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.sync(descriptor)
        finally:
            os.close(descriptor)

    def publish(self, temporary: Path, target: Path, write: Callable[[BinaryIO], object]) -> None:
        """Write a file so that it appears whole or not at all.

        The file is written and synced under `temporary`, renamed to `target`,
        and the folder is synced.
        """
        self.make_folder(target.parent)
        with self.unfinished(temporary, target.name) as path:
            self._write_new(path, write)
            self.take_place(path, target)

    def take_place(self, path: Path, target: Path) -> None:
        """Give a finished, synced file its name, durably; on an error it has none."""
        # Before: what an attempt at this very name left must not go when this one succeeded.
        self._remove_unwanted()
        replaces = target.exists()
        self.rename(path, target)
        try:
            self.sync_folder(target.parent)
        except OSError:
            # Not published after all: what is tried again must not stand there twice.
            # Of what it replaced nothing is left: there the new one is the better one.
            if not replaces:
                self._unwanted.add(target)
                with contextlib.suppress(OSError):
                    self._remove_unwanted()
            raise

    def create(self, temporary: Path, target: Path, data: bytes) -> bool:
        """Make a file that appears whole, durably; False when there is one, whoever made it."""
        self.make_folder(target.parent)
        with self.unfinished(temporary, target.name) as path:
            self._write_new(path, lambda stream: stream.write(data))
            try:
                self._take_name(path, target, data)
            except FileExistsError:
                return False
        self.sync_folder(target.parent)
        return True

    def _take_name(self, path: Path, target: Path, data: bytes) -> None:
        try:
            self.link(path, target)
        except OSError as error:
            if error.errno not in _UNLINKABLE:
                raise
            # A file system without links: whole or not, there is one at most.
            self._write_new(target, lambda stream: stream.write(data))

    def _write_new(self, path: Path, write: Callable[[BinaryIO], object]) -> None:
        with self.open_new(path) as stream:
            write(stream)
            stream.flush()
            self.sync(stream.fileno())

    def _remove_unwanted(self) -> None:
        for path in list(self._unwanted):
            self.remove(path)
            self.sync_folder(path.parent)
            self._unwanted.discard(path)

    @contextlib.contextmanager
    def unfinished(self, folder: Path, name: str) -> Iterator[Path]:
        """Path of a file to be written; what still stands there at the end is removed."""
        self.make_folder(folder)
        path = folder / unfinished_name(name)
        try:
            yield path
        finally:
            with contextlib.suppress(OSError):
                self.remove(path)
