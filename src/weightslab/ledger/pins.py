"""Files that are being read stay: what was merged into others goes when nobody reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

__all__ = ["Pins"]


class Pins:
    """Readers of the files of one writer, in this process. Every method holds `lock`.

    `forget` is told of each file that goes.
    """

    def __init__(self, lock: RLock, forget: Callable[[Path], None]) -> None:
        self.lock = lock
        self._forget = forget
        self._pins: Counter[Path] = Counter()
        self._retired: list[Path] = []

    @contextmanager
    def pinned(self, paths: list[Path]) -> Iterator[None]:
        """These files stay meanwhile, merged or not: pin them under the lock they were found in."""
        with self.lock:
            self._pins.update(paths)
        try:
            yield
        finally:
            with self.lock:
                self._pins.subtract(paths)

    def retire(self, paths: Iterable[Path]) -> None:
        """These files were merged into another: they go when nobody reads them any more."""
        with self.lock:
            self._retired += paths

    def removable(self) -> list[Path]:
        """Files that were retired and that nobody reads; each is given once."""
        with self.lock:
            free = [path for path in self._retired if not self._pins[path]]
            self._retired = [path for path in self._retired if self._pins[path]]
            self._pins = +self._pins
        for path in free:
            self._forget(path)
        return free
