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

    def release(self, remove: Callable[[Path], None]) -> OSError | None:
        """Remove retired files that nobody reads; gives the first refusal.

        What the disk refuses to remove waits for the next time.
        """
        with self.lock:
            free = [path for path in self._retired if not self._pins[path]]
            self._retired = [path for path in self._retired if self._pins[path]]
            self._pins = +self._pins
        refusal: OSError | None = None
        for path in free:
            self._forget(path)
            try:
                remove(path)
            except OSError as error:
                refusal = refusal or error
                self.retire([path])
        return refusal
