"""The format of a log file: a header, then framed records; and how both are read.

The header is the magic, the number (lsn) of the first record, flags and a
checksum; behind it stands a mark that is set once every earlier file is on the
disk. A frame is four 32-bit words (commit, size, checksum, kind), then the
payload, padded to eight bytes. The commit word is written last and is the size
xor a constant: a record counts when it is there and the checksum agrees, so a
torn tail ends the log and never yields a wrong value.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = [
    "FRAME",
    "HEADER_BYTES",
    "MARK",
    "MARK_AT",
    "Frame",
    "LogCursor",
    "LogFile",
    "encode_frame",
    "encode_header",
    "frame_words",
    "log_files",
    "next_number",
    "read_log",
]

_MAGIC = b"WLLOG\x00\x00\x02"
_HEADER = struct.Struct("<8sqI")
_CHECK = struct.Struct("<I")
FRAME = struct.Struct("<IIII")
HEADER_BYTES = 32
MARK = b"DURABLE\n"
MARK_AT = _HEADER.size + _CHECK.size
_SETTLED = 1
_SEAL = 0x5AA5C33C


@dataclass(frozen=True, slots=True)
class Frame:
    """One record as it lies in the log."""

    lsn: int
    kind: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class LogFile:
    """What a log file holds."""

    first_lsn: int
    """Number of its first record; 0 when its process ended before it wrote the header."""
    settled: bool
    """Whether all that could be missing before it was taken care of when it was begun:
    it stands in files, or the process that began it had read the log up to there."""
    durable: bool
    """Whether every file before it, back to a settled one, was on the disk."""
    frames: list[Frame]
    torn: bool
    """Whether whole records lie behind one that is damaged."""


def encode_header(first_lsn: int, *, settled: bool) -> bytes:
    """What a log file begins with."""
    head = _HEADER.pack(_MAGIC, first_lsn, _SETTLED if settled else 0)
    return (head + _CHECK.pack(zlib.crc32(head))).ljust(HEADER_BYTES, b"\0")


def frame_words(kind: int, payload: bytes) -> tuple[int, int, int, int]:
    """The words before a payload: commit, size, checksum, kind."""
    size = len(payload)
    return size ^ _SEAL, size, zlib.crc32(payload, kind), kind


def encode_frame(kind: int, payload: bytes) -> bytes:
    """A whole frame."""
    return FRAME.pack(*frame_words(kind, payload)) + payload + bytes(-len(payload) % 8)


def log_files(folder: Path) -> list[Path]:
    """Log files of a writer, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix == ".wal" and p.stem.isdigit())


def next_number(folder: Path) -> int:
    """Number of the next log file: above every one that is there, set aside ones too."""
    numbers = [p.name.partition(".")[0] for p in folder.iterdir()] if folder.is_dir() else []
    return max((int(number) for number in numbers if number.isdigit()), default=0) + 1


def read_log(path: Path) -> LogFile:
    """Every whole record of a log file, up to the first torn or missing one.

    Raises:
        OSError: the file cannot be read.
        ValueError: its header is damaged.
    """
    # What its living writer is about to write looks damaged, until one looks again.
    try:
        file = _parsed(path.read_bytes())
    except ValueError:
        return _parsed(path.read_bytes())
    while file.torn:
        former, file = file, _parsed(path.read_bytes())
        if len(file.frames) == len(former.frames):
            break
    return file


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
                try:
                    self._lsn = _first_lsn(stream.read(HEADER_BYTES))[0]
                except ValueError:
                    return
                self._position = HEADER_BYTES if self._lsn else 0
            stream.seek(self._position)
            while self._lsn and len(head := stream.read(FRAME.size)) == FRAME.size:
                commit, size, checksum, kind = FRAME.unpack(head)
                if commit != (size ^ _SEAL):
                    return
                payload = stream.read(size)
                if len(payload) < size or zlib.crc32(payload, kind) != checksum:
                    return
                padding = -size % 8
                stream.read(padding)
                frame = Frame(self._lsn, kind, payload)
                self._lsn += 1
                self._position += FRAME.size + size + padding
                yield frame


def _first_lsn(header: bytes) -> tuple[int, int]:
    """Number of the first record, and the flags; zeros where no header was written."""
    if len(header) < HEADER_BYTES or not any(header):
        return 0, 0
    magic, first_lsn, flags = _HEADER.unpack_from(header)
    (check,) = _CHECK.unpack_from(header, _HEADER.size)
    if magic != _MAGIC or check != zlib.crc32(header[: _HEADER.size]):
        raise ValueError("its header is damaged")
    return first_lsn, flags


def _parsed(data: bytes) -> LogFile:
    header = data[:HEADER_BYTES]
    first_lsn, flags = _first_lsn(header)
    if not first_lsn:
        return LogFile(0, settled=False, durable=False, frames=[], torn=False)
    frames: list[Frame] = []
    position = HEADER_BYTES
    while (payload := _payload_at(data, position)) is not None:
        kind = FRAME.unpack_from(data, position)[3]
        frames.append(Frame(first_lsn + len(frames), kind, payload))
        position += FRAME.size + len(payload) + (-len(payload) % 8)
    return LogFile(
        first_lsn,
        settled=bool(flags & _SETTLED),
        durable=header[MARK_AT:] == MARK,
        frames=frames,
        torn=_has_frame(data, position),
    )


def _payload_at(data: bytes, position: int) -> bytes | None:
    """Payload of the frame at a position; None where no whole one stands."""
    start = position + FRAME.size
    if start > len(data):
        return None
    commit, size, checksum, kind = FRAME.unpack_from(data, position)
    if commit != (size ^ _SEAL) or start + size > len(data):
        return None
    payload = data[start : start + size]
    return payload if zlib.crc32(payload, kind) == checksum else None


def _has_frame(data: bytes, start: int) -> bool:
    """Whether a whole frame stands anywhere from `start` on."""
    length = (len(data) - start) // 8 * 8
    if length <= 0:
        return False
    words = np.frombuffer(data, "<u4", length // 4, start).reshape(-1, 2)
    sealed = np.flatnonzero((words[:, 0] ^ words[:, 1]) == np.uint32(_SEAL))
    return any(_payload_at(data, start + 8 * at) is not None for at in sealed.tolist())
