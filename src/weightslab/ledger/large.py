"""Large arrays (masks, logits, feature maps): files of their own, within two budgets.

They never enter the log and are outside the promise that a kill loses nothing.
Integers stay as they are, floats are kept in 16 bits. A rate budget protects the
training thread, a size budget the disk; what does not fit is left out and counted,
so that under pressure the newest arrays of some samples are kept rather than none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.ledger.arrays import ArrayRecord
from weightslab.ledger.files import Files

__all__ = ["LargeArrays", "LargeFile"]

_MOST_WAITING_BYTES = 256 << 20
"""Most bytes that wait in memory for a disk."""

Key = tuple[str, int, int]
"""(field, row, annotation); annotation 0 for the sample."""


@dataclass(frozen=True, slots=True)
class LargeFile:
    """One array in a file."""

    path: Path
    size_bytes: int

    @property
    def relative(self) -> str:
        """Path inside the run folder."""
        return "/".join(self.path.parts[-4:])


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
        self._waiting: dict[Key, npt.NDArray[Any]] = {}
        self._waiting_bytes = 0
        self._replaced: list[LargeFile] = []
        self._lock = Lock()
        self.files: dict[Key, LargeFile] = {}
        self.size_bytes = 0
        self.left_out = 0
        """Arrays that did not fit a budget."""

    def take(self, record: ArrayRecord) -> int:
        """Copy what the budgets allow; gives how many arrays were left out."""
        left_out = 0
        with self._lock:
            now = self._now()
            gained = (now - self._allowed_at) * self._rate
            self._allowance = min(self._rate, self._allowance + gained)
            self._allowed_at = now
            for at, row in enumerate(record.rows.tolist()):
                value = record.values[at]
                stored = value.nbytes
                if value.dtype.kind == "f":
                    stored = 2 * value.size
                waiting = self._waiting_bytes + stored
                if (
                    stored > self._allowance
                    or self.size_bytes + waiting > self._budget
                    or waiting > _MOST_WAITING_BYTES
                ):
                    left_out += 1
                    continue
                self._allowance -= stored
                annotation = 0 if record.annotations is None else int(record.annotations[at])
                with np.errstate(over="ignore"):
                    kept = value.astype(np.float16) if value.dtype.kind == "f" else value.copy()
                key = (record.field, row, annotation)
                former = self._waiting.get(key)
                self._waiting_bytes += kept.nbytes - (0 if former is None else former.nbytes)
                self._waiting[key] = kept
            self.left_out += left_out
        return left_out

    @property
    def waiting(self) -> bool:
        """Whether something is to be written or removed."""
        return bool(self._waiting or self._replaced)

    def forget(self, record: ArrayRecord) -> None:
        """Small arrays take the place of large ones: those are removed with the next write."""
        if not self.files and not self._waiting:
            return
        with self._lock:
            annotations = record.annotations
            for at, row in enumerate(record.rows.tolist()):
                key = (record.field, row, 0 if annotations is None else int(annotations[at]))
                waiting = self._waiting.pop(key, None)
                if waiting is not None:
                    self._waiting_bytes -= waiting.nbytes
                file = self.files.pop(key, None)
                if file is not None:
                    self.size_bytes -= file.size_bytes
                    self._replaced.append(file)

    def write(self, files: Files, temporary: Path, folder: Path) -> None:
        """Write what waits. Raises OSError when the disk does; the rest goes on waiting."""
        with self._lock:
            waiting = dict(self._waiting)
            replaced = list(self._replaced)
        for file in replaced:
            files.remove(file.path)
        with self._lock:
            del self._replaced[: len(replaced)]
        for key, value in waiting.items():
            field, row, annotation = key
            path = folder / f"field={field}" / f"{row:09d}-{annotation}.npy"
            files.publish(temporary, path, partial(np.save, arr=value, allow_pickle=False))
            with self._lock:
                if self._waiting.get(key) is value:
                    del self._waiting[key]
                    self._waiting_bytes -= value.nbytes
                self._note(key, LargeFile(path, path.stat().st_size))

    def _note(self, key: Key, file: LargeFile) -> None:
        former = self.files.get(key)
        self.size_bytes += file.size_bytes - (0 if former is None else former.size_bytes)
        self.files[key] = file

    def load(self, folder: Path) -> None:
        """Take up the files that a writer left."""
        for path in sorted(folder.glob("field=*/*.npy")):
            row, _, annotation = path.stem.partition("-")
            key = (path.parent.name.removeprefix("field="), int(row), int(annotation))
            self._note(key, LargeFile(path, path.stat().st_size))

    def of(self, field: str) -> dict[tuple[int, int], LargeFile]:
        """Files of a field by (row, annotation)."""
        with self._lock:
            return {(r, a): file for (f, r, a), file in self.files.items() if f == field}
