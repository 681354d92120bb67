"""The write-ahead log: framed records in preallocated, mapped files.

A frame is four 32-bit words (commit, size, checksum, kind), then the payload,
padded to eight bytes. The commit word is written last and is the size xor a
constant: a record counts when it is there and the checksum agrees, so a torn
tail ends the log and never yields a wrong value. Records are numbered from the
first number in the file's header; that number (lsn) orders everything that a
writer did.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from weightslab.ledger.files import Files, MappedFile

__all__ = ["Frame", "LogCursor", "LogWriter", "log_files", "read_log"]

_MAGIC = b"WLLOG\x00\x00\x01"
_HEADER = struct.Struct("<8sq")
_FRAME = struct.Struct("<IIII")
_COMMIT = struct.Struct("<I")
_REST = struct.Struct("<III")
_SEAL = 0x5AA5C33C


@dataclass(frozen=True, slots=True)
class Frame:
    """One record as it lies in the log."""

    lsn: int
    kind: int
    payload: bytes


def log_files(folder: Path) -> list[Path]:
    """Log files of a writer, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix == ".wal")


def read_log(path: Path) -> Iterator[Frame]:
    """Every whole record of a log file, up to the first torn or missing one."""
    return LogCursor(path).read()


class LogCursor:
    """A place in a log file that its living writer appends to: behind the last whole record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0
        self._lsn = 0

    def read(self) -> Iterator[Frame]:
        """Every whole record from here on; what is torn now may be whole at the next call."""
        with self.path.open("rb", buffering=1 << 18) as stream:
            if not self._position:
                head = stream.read(_HEADER.size)
                if len(head) < _HEADER.size:
                    return
                magic, lsn = _HEADER.unpack(head)
                if magic != _MAGIC:
                    return
                self._position, self._lsn = _HEADER.size, lsn
            stream.seek(self._position)
            while len(head := stream.read(_FRAME.size)) == _FRAME.size:
                commit, size, checksum, kind = _FRAME.unpack(head)
                if commit != (size ^ _SEAL):
                    return
                payload = stream.read(size)
                if len(payload) < size or zlib.crc32(payload, kind) != checksum:
                    return
                padding = -size % 8
                stream.read(padding)
                frame = Frame(self._lsn, kind, payload)
                self._lsn += 1
                self._position += _FRAME.size + size + padding
                yield frame


class _MappedLog:
    """An open log file that is mapped into memory."""

    def __init__(self, files: Files, path: Path, mapped: MappedFile, first_lsn: int) -> None:
        self.path = path
        self._files = files
        self._mapped = mapped
        self._view = memoryview(mapped.map)
        self._size = len(mapped.map)
        self._end = _HEADER.size
        self._synced = 0
        _HEADER.pack_into(mapped.map, 0, _MAGIC, first_lsn)

    def append(self, kind: int, payload: bytes) -> bool:
        size = len(payload)
        end = self._end
        start = end + _FRAME.size
        stop = start + size
        if stop + 8 > self._size:
            return False
        view = self._view
        view[start:stop] = payload
        _REST.pack_into(view, end + 4, size, zlib.crc32(payload, kind), kind)
        _COMMIT.pack_into(view, end, size ^ _SEAL)
        self._end = stop + (-size % 8)
        return True

    def sync(self) -> None:
        end = self._end
        if self._synced < end:
            self._files.sync(self._mapped.descriptor)
            self._synced = end

    def close(self) -> None:
        self._view.release()
        self._mapped.map.close()
        os.close(self._mapped.descriptor)


class _AppendedLog:
    """An open log file on a file system that cannot map it."""

    def __init__(self, files: Files, path: Path, size_bytes: int, first_lsn: int) -> None:
        self.path = path
        self._files = files
        self._room = size_bytes
        self._descriptor = files.open_appending(path)
        self._dirty = True
        files.write(self._descriptor, _HEADER.pack(_MAGIC, first_lsn))

    def append(self, kind: int, payload: bytes) -> bool:
        size = len(payload)
        if size > self._room:
            return False
        head = _FRAME.pack(size ^ _SEAL, size, zlib.crc32(payload, kind), kind)
        frame = head + payload + bytes(-size % 8)
        written = self._files.write(self._descriptor, frame)
        if written != len(frame):
            # A short write leaves a torn tail; what follows it would be unreachable.
            self._room = 0
            return False
        self._room -= len(frame)
        self._dirty = True
        return True

    def sync(self) -> None:
        if self._dirty:
            self._dirty = False
            self._files.sync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class LogWriter:
    """Appends records to numbered files of one writer.

    Not safe for threads by itself: the ledger's lock guards it. `context` gives
    the record that every new file begins with, so that each can be read alone.

    Raises OSError when a new file cannot be made; the record was not logged then.
    """

    def __init__(
        self,
        files: Files,
        folder: Path,
        *,
        next_lsn: int,
        file_bytes: int,
        context: Callable[[], tuple[int, bytes]],
    ) -> None:
        self._files = files
        self._folder = folder
        self._file_bytes = file_bytes
        self._context = context
        self._current: _MappedLog | _AppendedLog | None = None
        self._full: list[_MappedLog | _AppendedLog] = []
        self._sync_lock = threading.Lock()
        self._entered: Path | None = None
        self._closed: list[tuple[Path, int]] = []
        existing = log_files(folder)
        self._number = int(existing[-1].stem) if existing else 0
        self._older = existing
        self.next_lsn = next_lsn

    def append(self, kind: int, payload: bytes) -> int:
        """Log one record; gives its number."""
        try:
            if self._current is None or not self._current.append(kind, payload):
                self._rotate(len(payload))
                assert self._current is not None
                if not self._current.append(kind, payload):
                    raise OSError(f"{self._current.path}: the log took only a part of a record")
        except OSError:
            self.break_off()
            raise
        lsn = self.next_lsn
        self.next_lsn += 1
        return lsn

    def _rotate(self, size: int) -> None:
        self.break_off()
        self._files.make_folder(self._folder)
        self._number += 1
        path = self._folder / f"{self._number:06d}.wal"
        kind, context = self._context()
        room = max(self._file_bytes, size + len(context) + 256)
        mapped = self._files.map_log(path, room)
        if mapped is not None:
            self._current = _MappedLog(self._files, path, mapped, self.next_lsn)
        else:
            self._current = _AppendedLog(self._files, path, room, self.next_lsn)
        if not self._current.append(kind, context):
            raise OSError(f"{path}: the log took only a part of a record")
        self.next_lsn += 1

    def break_off(self) -> None:
        """Begin a new file with the next record.

        Records are numbered by their place in a file: after one that was not logged, the
        file is at an end.
        """
        if self._current is not None:
            # Synced and closed by whoever syncs next: not on the training thread.
            self._full.append(self._current)
            self._closed.append((self._current.path, self.next_lsn - 1))
            self._current = None

    def sync(self) -> None:
        """Flush what was logged to the disk. Called without the ledger's lock, by any thread."""
        with self._sync_lock:
            while self._full:
                full = self._full[0]
                full.sync()
                full.close()
                del self._full[0]
            current = self._current
            if current is not None:
                if current.path != self._entered:
                    # The file's name is not on the disk before its folder is.
                    self._files.sync_folder(self._folder)
                    self._entered = current.path
                current.sync()

    def retire(self, upto_lsn: int) -> None:
        """Remove files whose every record, at most `upto_lsn`, is in published files."""
        for path in self._older:
            self._files.remove(path)
        self._older = []
        done = [entry for entry in self._closed if entry[1] <= upto_lsn]
        for entry in done:
            self._files.remove(entry[0])
            self._closed.remove(entry)

    def finish(self) -> None:
        """Close, and remove every file: all of it is published."""
        if self._current is not None:
            self._closed.append((self._current.path, self.next_lsn - 1))
        self.abandon()
        self.retire(self.next_lsn)

    def abandon(self) -> None:
        """Close and leave the files for recovery."""
        with self._sync_lock:
            for log in (*self._full, self._current):
                if log is not None:
                    log.close()
            self._full.clear()
            self._current = None
