"""Large arrays (masks, logits, feature maps): packed into files of their own, within two budgets.

They never enter the log and are outside the promise that a kill loses nothing. Integers
and booleans stay as they are; floats are kept in 16 bits, or in as many as their range
needs. A rate budget protects the training thread: what comes faster is left out. A size
budget bounds the disk: the arrays that were saved longest ago give way to new ones. Both
are counted, so that under pressure the newest arrays of some samples are kept.

A pack is written by each flush. Packs that are mostly replaced, and small ones when there
are many, are rewritten into one, a bounded number of bytes at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.ledger.arrays.arrays import ArrayRecord, Keys
from weightslab.ledger.arrays.file import ArrayFile, write_arrays
from weightslab.ledger.arrays.merge import merge_arrays
from weightslab.ledger.files import Files
from weightslab.ledger.layout import FileRange

__all__ = ["LargeArrays", "LargeFile", "Pack"]

_MOST_WAITING_BYTES = 256 << 20
"""Most bytes that wait in memory for a disk."""
_MOST_PACKS = 16
_MOST_REWRITTEN_BYTES = 64 << 20
"""Most bytes of packs that one flush rewrites."""

Place = tuple[str, int]
"""(field, row << 32 | annotation)."""


@dataclass(frozen=True, slots=True)
class LargeFile:
    """One array in a file."""

    path: Path
    size_bytes: int

    @property
    def relative(self) -> str:
        """Path inside the run folder."""
        return "/".join(self.path.parts[-3:])


@dataclass(slots=True, eq=False)
class Pack:
    """A file of large arrays, and which of them are still a sample's newest."""

    file: ArrayFile
    alive: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, index in self.file.fields.items():
            self.alive[name] = np.ones(len(index.keys), np.bool_)

    def replace(self, name: str, keys: Keys, lsns: npt.NDArray[np.int64]) -> None:
        """These were saved anew at `lsns`: older ones of here are a sample's no more."""
        index = self.file.fields.get(name)
        if index is None:
            return
        at = index.find(keys)
        found = at >= 0
        older = index.lsns[at[found]] <= lsns[found]
        self.alive[name][at[found][older]] = False

    @property
    def count(self) -> int:
        """How many arrays are alive."""
        return sum(int(np.count_nonzero(flags)) for flags in self.alive.values())

    @property
    def share(self) -> float:
        """Bytes of living arrays, as a share of all."""
        alive = sum(
            int(index.sizes[self.alive[name]].sum(dtype=np.int64))
            for name, index in self.file.fields.items()
        )
        return alive / max(1, self.file.data_bytes)


class LargeArrays:
    """Takes large arrays on the training thread and writes them on another."""

    def __init__(
        self,
        *,
        rate_bytes_s: float,
        budget_bytes: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate_bytes_s
        self._budget = budget_bytes
        self._now = now
        self._allowance = rate_bytes_s
        self._allowed_at = now()
        self._waiting: dict[Place, tuple[int, npt.NDArray[Any]]] = {}
        """What no file holds, with its lsn."""
        self._waiting_bytes = 0
        self._packs: list[Pack] = []
        self._sequence = 0
        self._said = 0
        self._lock = RLock()
        self.left_out = 0
        """Arrays that did not fit a budget, or gave way to newer ones."""

    # -- taking, on the training thread ------------------------------------------

    def take(self, record: ArrayRecord, lsn: int) -> int:
        """Copy what the budgets allow; gives how many were left out since the last call.

        `lsn` is the number of the last record in the log: what is logged later is newer.
        """
        with self._lock:
            now = self._now()
            gained = (now - self._allowed_at) * self._rate
            self._allowance = min(self._rate, self._allowance + gained)
            self._allowed_at = now
            for at, key in enumerate(record.keys.tolist()):
                value = record.values[at]
                about = 2 * value.size if value.dtype.kind == "f" else value.nbytes
                room = min(self._budget, _MOST_WAITING_BYTES) - self._waiting_bytes
                if about > min(self._allowance, room):
                    self.left_out += 1
                    continue
                kept = _kept(value)
                self._allowance -= kept.nbytes
                self._drop_waiting((record.field, key))
                self._waiting[record.field, key] = (lsn, kept)
                self._waiting_bytes += kept.nbytes
            left_out, self._said = self.left_out - self._said, self.left_out
        return left_out

    def forget(self, record: ArrayRecord, lsn: int) -> None:
        """Small arrays of `lsn` take the place of large ones."""
        self.forget_keys(record.field, record.keys, np.full(len(record.rows), lsn, np.int64))

    def forget_keys(self, name: str, keys: Keys, lsns: npt.NDArray[np.int64]) -> None:
        """Small arrays that were saved at `lsns` take the place of older large ones."""
        if not self._packs and not self._waiting:
            return
        with self._lock:
            for key, lsn in zip(keys.tolist(), lsns.tolist(), strict=True):
                if (name, key) in self._waiting and self._waiting[name, key][0] < lsn:
                    self._drop_waiting((name, key))
            for pack in self._packs:
                # An array that was taken after that record has its number.
                pack.replace(name, keys, lsns - 1)

    def _drop_waiting(self, place: Place) -> None:
        former = self._waiting.pop(place, None)
        if former is not None:
            self._waiting_bytes -= former[1].nbytes

    # -- writing, on the flush thread ----------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether something is to be written."""
        return bool(self._waiting)

    @property
    def size_bytes(self) -> int:
        """Bytes on the disk, and of what waits for it."""
        with self._lock:
            return self._waiting_bytes + sum(pack.file.size_bytes for pack in self._packs)

    def write(
        self, files: Files, temporary: Path, folder: Path, retire: Callable[[list[Path]], None]
    ) -> None:
        """Write what waits, and tidy up; packs that are needed no more go to `retire`.

        Raises OSError when the disk does; what was not written goes on waiting.
        """
        with self._lock:
            waiting = dict(self._waiting)
        if not waiting:
            return
        retire(self._make_room())
        records = [(lsn, _record(place, value)) for place, (lsn, value) in waiting.items()]
        lsn = max(number for number, _ in records)
        path = self._next_path(folder)
        files.publish(temporary, path, lambda stream: write_arrays(records, lsn, stream))
        pack = Pack(ArrayFile(path))
        with self._lock:
            self._add(pack)
            for place, held in waiting.items():
                if self._waiting.get(place) is held:
                    self._drop_waiting(place)
                elif place not in self._waiting:
                    # A small array took its place while the file was written.
                    pack.replace(place[0], np.array([place[1]]), np.array([held[0]]))
            retired = self._take_out([pack for pack in self._packs if not pack.count])
        retire(retired)
        chosen = self._to_rewrite()
        if chosen:
            self._rewrite(chosen, files, temporary, self._next_path(folder))
            with self._lock:
                retired = self._take_out(chosen)
            retire(retired)

    def _next_path(self, folder: Path) -> Path:
        self._sequence += 1
        return folder / f"arrays-{self._sequence:09d}-{self._sequence:09d}.parquet"

    def _make_room(self) -> list[Path]:
        """Let the oldest packs go until what waits has room."""
        gone = []
        with self._lock:
            while self._packs and self.size_bytes > self._budget:
                oldest = min(self._packs, key=lambda pack: pack.file.lsn)
                self.left_out += oldest.count
                gone += self._take_out([oldest])
        return gone

    def _take_out(self, packs: list[Pack]) -> list[Path]:
        self._packs = [pack for pack in self._packs if pack not in packs]
        return [pack.file.path for pack in packs]

    def _add(self, pack: Pack) -> None:
        for name, index in pack.file.fields.items():
            for former in self._packs:
                former.replace(name, index.keys, index.lsns)
        self._packs.append(pack)

    def _to_rewrite(self) -> list[Pack]:
        """Packs that are mostly replaced; with too many packs, the small ones too."""
        with self._lock:
            by_size = sorted(self._packs, key=lambda pack: pack.file.size_bytes)
        worn = [pack for pack in by_size if pack.share < 0.5]
        many = len(by_size) > _MOST_PACKS
        chosen: list[Pack] = []
        size_bytes = 0
        for pack in [*worn, *(by_size if many else ())]:
            size_bytes += pack.file.size_bytes
            if chosen and size_bytes > _MOST_REWRITTEN_BYTES:
                break
            if pack not in chosen:
                chosen.append(pack)
        return chosen if worn or len(chosen) > 1 else []

    def _rewrite(self, packs: list[Pack], files: Files, temporary: Path, path: Path) -> None:
        """Write what is alive of some packs as one."""
        with self._lock:
            alive = [{name: flags.copy() for name, flags in p.alive.items()} for p in packs]
        inputs = [pack.file for pack in packs]
        files.publish(temporary, path, partial(merge_arrays, inputs, alive=alive))
        merged = Pack(ArrayFile(path))
        with self._lock:
            for pack, before in zip(packs, alive, strict=True):
                for name, index in pack.file.fields.items():
                    died = before[name] & ~pack.alive[name]
                    merged.replace(name, index.keys[died], index.lsns[died])
            self._packs.append(merged)

    def load(self, path: Path) -> int:
        """Take up a pack that a writer left, in order; gives its log number."""
        pack = Pack(ArrayFile(path))
        found = FileRange.parse(path)
        self._sequence = max(self._sequence, 0 if found is None else found.last)
        with self._lock:
            for name in pack.file.fields:
                for other in self._packs:
                    held = other.file.fields.get(name)
                    if held is not None:
                        # A pack that was rewritten is younger than what it holds.
                        pack.replace(name, held.keys, held.lsns - 1)
            self._add(pack)
        return pack.file.lsn

    # -- reading -----------------------------------------------------------------------

    def look(self, name: str) -> tuple[dict[int, npt.NDArray[Any]], list[tuple[ArrayFile, Keys]]]:
        """What waits of a field, by key, and the keys that each file has the newest of."""
        with self._lock:
            waiting = {key: value for (f, key), (_, value) in self._waiting.items() if f == name}
            return waiting, [
                (pack.file, pack.file.fields[name].keys[pack.alive[name]])
                for pack in self._packs
                if name in pack.file.fields
            ]

    def of(self, name: str) -> dict[int, LargeFile]:
        """Files of a field by row << 32 | annotation."""
        found: dict[int, LargeFile] = {}
        for file, keys in self.look(name)[1]:
            index = file.fields[name]
            sizes = index.sizes[index.find(keys)]
            for key, size in zip(keys.tolist(), sizes.tolist(), strict=True):
                found[key] = LargeFile(file.path, size)
        return found


def _record(place: Place, value: npt.NDArray[Any]) -> ArrayRecord:
    name, key = place
    keys = np.array([key], np.int64)
    annotations = (keys & 0xFFFFFFFF).astype(np.int32)
    return ArrayRecord(name, (keys >> 32).astype(np.int32), annotations, value[None])


def _kept(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy as it is kept: floats in the narrowest type that makes none of them infinite."""
    if value.dtype.kind != "f":
        return value.copy()
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        low, high = value.min(), value.max()
        for narrow in (np.float16, np.float32, np.float64):
            if np.dtype(narrow).itemsize < value.itemsize:
                kept = value.astype(narrow)
                # Of a NaN neither is true, and then it is counted, which takes longer.
                fits = -np.finfo(narrow).max <= low and high <= np.finfo(narrow).max
                if fits or np.count_nonzero(np.isinf(kept)) == np.count_nonzero(np.isinf(value)):
                    return kept
    return value.copy()
