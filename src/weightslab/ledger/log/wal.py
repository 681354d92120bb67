"""The write-ahead log: framed records in preallocated, mapped files.

Records are numbered from the first number in the file's header; that number
(lsn) orders everything that a writer did. `frames` has the format.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from weightslab.ledger.files import Files, MappedFile
from weightslab.ledger.log.frames import (
    FRAME,
    HEADER_BYTES,
    MARK,
    MARK_AT,
    encode_frame,
    encode_header,
    frame_words,
)

__all__ = ["LogWriter"]

_LEAST_BYTES = 1 << 16
"""Smallest log file that is tried where the disk has little room."""

_COMMIT = struct.Struct("<I")
_REST = struct.Struct("<III")


class _MappedLog:
    """An open log file that is mapped into memory."""

    retired = False

    def __init__(
        self, files: Files, path: Path, mapped: MappedFile, header: bytes, *, settled: bool
    ) -> None:
        self.path = path
        self.anchored = settled
        """Whether it says that nothing before it is missing."""
        self._files = files
        self._mapped = mapped
        self._view = memoryview(mapped.map)
        self._size = len(mapped.map)
        self._end = HEADER_BYTES
        self._synced = 0
        self._view[:HEADER_BYTES] = header

    def append(self, kind: int, payload: bytes) -> bool:
        size = len(payload)
        end = self._end
        start = end + FRAME.size
        stop = start + size
        if stop + 8 > self._size:
            return False
        view = self._view
        view[start:stop] = payload
        commit, *rest = frame_words(kind, payload)
        _REST.pack_into(view, end + 4, *rest)
        _COMMIT.pack_into(view, end, commit)
        self._end = stop + (-size % 8)
        return True

    def mark(self) -> None:
        self._view[MARK_AT:HEADER_BYTES] = MARK
        self.anchored = True

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

    retired = False

    def __init__(
        self, files: Files, path: Path, size_bytes: int, header: bytes, *, settled: bool
    ) -> None:
        self.path = path
        self.anchored = settled
        """Whether it says that nothing before it is missing."""
        self._files = files
        self._room = size_bytes
        self._dirty = True
        self._marked = False
        self._descriptor = files.open_appending(path)
        try:
            if files.write(self._descriptor, header) != len(header):
                raise OSError(f"{path}: the log took only a part of its header")
        except OSError:
            self.close()
            with contextlib.suppress(OSError):
                files.remove(path)
            raise

    def append(self, kind: int, payload: bytes) -> bool:
        size = len(payload)
        if size > self._room:
            return False
        frame = encode_frame(kind, payload)
        written = self._files.write(self._descriptor, frame)
        if written != len(frame):
            # A short write leaves a torn tail; what follows it would be unreachable.
            self._room = 0
            return False
        self._room -= len(frame)
        self._dirty = True
        return True

    def mark(self) -> None:
        if not self._marked:
            self._files.write_at(self._descriptor, MARK, MARK_AT)
            self._marked = self.anchored = True

    def sync(self) -> None:
        if self._dirty:
            self._dirty = False
            try:
                self._files.sync(self._descriptor)
            except OSError:
                self._dirty = True
                raise

    def close(self) -> None:
        os.close(self._descriptor)


_Log = _MappedLog | _AppendedLog


class LogWriter:
    """Appends records to numbered files of one writer.

    Not safe for threads by itself: the ledger's lock guards it. `context` gives
    the record that every new file begins with, so that each can be read alone.
    `older` are log files that an earlier process left, `unsynced` what it may have
    left in memory: the first `sync` flushes that too, since what is logged now
    speaks of it.

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
        first_number: int = 1,
        older: Sequence[Path] = (),
        unsynced: Sequence[Path] = (),
    ) -> None:
        self._files = files
        self._folder = folder
        self._file_bytes = file_bytes
        self._context = context
        self._current: _Log | None = None
        self._full: list[_Log] = []
        self._sync_lock = threading.Lock()
        self._entered: _Log | None = None
        self._closed: list[tuple[_Log, int]] = []
        self._number = first_number - 1
        self._settled = True
        self._older = list(older)
        self._unsynced = [*older, *unsynced]
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

    def _map(self, path: Path, room: int, least: int) -> MappedFile | None:
        """A mapped file of `room` bytes, or of fewer where the disk has no more."""
        while True:
            try:
                return self._files.map_log(path, room)
            except OSError as error:
                smaller = max(room // 2, least, _LEAST_BYTES)
                if error.errno != errno.ENOSPC or smaller >= room:
                    raise
                room = smaller

    def _rotate(self, size: int) -> None:
        self.break_off()
        self._files.make_folder(self._folder)
        self._number += 1
        path = self._folder / f"{self._number:06d}.wal"
        kind, context = self._context()
        room = max(self._file_bytes, size + len(context) + 256)
        settled = self._settled
        header = encode_header(self.next_lsn, settled=settled)
        mapped = self._map(path, room, size + len(context) + 256)
        if mapped is not None:
            self._current = _MappedLog(self._files, path, mapped, header, settled=settled)
        else:
            self._current = _AppendedLog(self._files, path, room, header, settled=settled)
        if not self._current.append(kind, context):
            raise OSError(f"{path}: the log took only a part of a record")
        self.next_lsn += 1
        self._settled = False

    def break_off(self) -> None:
        """Begin a new file with the next record.

        Records are numbered by their place in a file: after one that was not logged, the
        file is at an end.
        """
        if self._current is not None:
            # Synced and closed by whoever syncs next: not on the training thread.
            # First into the one list, then out of the other: `sync` reads against that.
            self._full.append(self._current)
            self._closed.append((self._current, self.next_lsn - 1))
            self._current = None

    def settle(self) -> None:
        """Begin a new file: all that this log lacks is in published files."""
        self.break_off()
        self._settled = True

    def sync(self) -> None:
        """Flush what was logged to the disk. Called without the ledger's lock, by any thread."""
        with self._sync_lock:
            self._sync_unsynced()
            current = self._current
            logs = list(self._full)
            full = len(logs)
            if current is not None and current not in logs:
                logs.append(current)
            living = [log for log in logs if not log.retired]
            if living and living[-1] is not self._entered:
                # A file's name is not on the disk before its folder is.
                self._files.sync_folder(self._folder)
                self._entered = living[-1]
            for at, log in enumerate(logs):
                if not log.retired:
                    log.mark()
                    log.sync()
                if at < full:
                    log.close()
                    del self._full[0]

    def _sync_unsynced(self) -> None:
        while self._unsynced:
            path = self._unsynced[-1]
            with contextlib.suppress(FileNotFoundError):
                if path.is_dir():
                    self._files.sync_folder(path)
                else:
                    self._files.sync_file(path)
            self._unsynced.pop()

    def retire(self, upto_lsn: int) -> None:
        """Remove files whose every record, at most `upto_lsn`, is in published files."""
        while self._older and not self._unsynced:
            self._files.remove(self._older[0])
            del self._older[0]
        while self._closed and self._closed[0][1] <= upto_lsn:
            after = self._closed[1][0] if len(self._closed) > 1 else self._current
            if after is not None and not after.anchored:
                # Without it nobody could tell that nothing is missing before the next one.
                return
            log = self._closed[0][0]
            log.retired = True
            self._files.remove(log.path)
            # Whoever syncs next closes it.
            del self._closed[0]

    def finish(self) -> None:
        """Close, and remove every file: all of it is published."""
        self.break_off()
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
