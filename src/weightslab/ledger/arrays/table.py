"""Small arrays of samples and of instances: in memory within a budget, else where they lie.

While all fit, reading touches no disk. Once they do not, memory holds only what no
file has yet, and the rest is read from the files when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.ledger.arrays.arrays import ArrayColumn, ArrayRecord
from weightslab.ledger.arrays.file import ArrayFile

__all__ = ["ArrayTable"]

_OBJECT_BYTES = 300
"""About what an instance's array takes beside its bytes."""

Instances = dict[int, npt.NDArray[Any]]
"""By key: row << 32 | annotation."""


class ArrayTable:
    """Newest small array of every (field, row, annotation). Guarded by the store's lock."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._paths: list[Path] = []
        self._opened: dict[Path, ArrayFile] = {}
        self._instance_bytes = 0
        self.spilled = False
        """Whether files hold what memory does not."""
        self.samples: dict[str, ArrayColumn] = {}
        self.instances: dict[str, Instances] = {}

    @property
    def size_bytes(self) -> int:
        """Memory of the arrays."""
        return self._instance_bytes + sum(c.size_bytes for c in list(self.samples.values()))

    def put(self, record: ArrayRecord) -> None:
        """Take a record."""
        if record.annotations is None:
            self.samples.setdefault(record.field, ArrayColumn()).put(record.rows, record.values)
            return
        held = self.instances.setdefault(record.field, {})
        for at, key in enumerate(record.keys.tolist()):
            former = held.get(key)
            held[key] = value = np.array(record.values[at])
            self._instance_bytes += value.nbytes
            self._instance_bytes += _OBJECT_BYTES if former is None else -former.nbytes

    def load(self, file: ArrayFile) -> None:
        """Take up a file, newer than those before."""
        self._paths.append(file.path)
        if not self.spilled and self.size_bytes + file.data_bytes <= self._budget:
            for record in file.records():
                self.put(record)
        elif not self.spilled:
            self._spill()

    def published(self, path: Path, rest: Iterable[ArrayRecord]) -> None:
        """`path` holds what was put, but for `rest`."""
        self._paths.append(path)
        if self.spilled or self.size_bytes > self._budget:
            self._spill()
            for record in rest:
                self.put(record)

    def merged(self, inputs: Iterable[Path], output: Path) -> None:
        """`output` holds what `inputs` held, which are neighbours in age."""
        gone = set(inputs)
        at = next((n for n, path in enumerate(self._paths) if path in gone), len(self._paths))
        self._paths = [path for path in self._paths if path not in gone]
        self._paths.insert(at, output)
        self._opened = {path: file for path, file in self._opened.items() if path not in gone}

    def _spill(self) -> None:
        self.spilled = True
        self.samples.clear()
        self.instances.clear()
        self._instance_bytes = 0

    def files(self) -> list[Path]:
        """Files with arrays that are not in memory, oldest first."""
        return list(self._paths) if self.spilled else []

    def opened(self, path: Path) -> ArrayFile:
        """A file's index, which stays in memory: 20 bytes an array. Needs no lock.

        Raises OSError for a file that is gone or damaged.
        """
        file = self._opened.get(path)
        if file is None:
            file = self._opened[path] = ArrayFile(path)
        return file
