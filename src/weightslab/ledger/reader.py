"""Writers of other processes, read without a lock from their files and logs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from weightslab.errors import FolderError
from weightslab.ledger.layout import Layout
from weightslab.ledger.recovery import is_damage, load_writer
from weightslab.ledger.store import Store

__all__ = ["ForeignWriters", "View"]

_FRESH_S = 1.0
_ATTEMPTS = 20
"""How often a writer that merges files while it is read is read anew."""


@dataclass(frozen=True, slots=True)
class View:
    """One writer's state."""

    writer: str
    store: Store


class ForeignWriters:
    """States of the folder's other writers, read again when they are a second old."""

    def __init__(
        self,
        layout: Layout,
        new_store: Callable[[], Store],
        on_damage: Callable[[str, OSError], None],
    ) -> None:
        self._layout = layout
        self._new_store = new_store
        self._on_damage = on_damage
        self._lock = threading.Lock()
        self._views: list[View] = []
        self._read_at = float("-inf")
        self._own: str | None = None
        self._known: dict[str, tuple[frozenset[str], View]] = {}

    def views(self, own: str | None) -> list[View]:
        """Every writer but `own`."""
        with self._lock:
            if own != self._own or time.monotonic() - self._read_at > _FRESH_S:
                others = [w for w in self._layout.writers() if w != own]
                self._views = [self._view(writer) for writer in others]
                self._read_at = time.monotonic()
                self._own = own
            return list(self._views)

    def forget(self) -> None:
        """Read every writer anew at the next look."""
        with self._lock:
            self._read_at = float("-inf")
            self._known.clear()

    def _view(self, writer: str) -> View:
        """The state of one writer, which may be publishing, merging and closing meanwhile."""
        before = _files_of(self._layout, writer)
        known = self._known.get(writer)
        if known is not None and known[0] == before and not any(".wal" in name for name in before):
            return known[1]
        for _ in range(_ATTEMPTS):
            store = self._new_store()
            passing: list[OSError] = []

            def damaged(path: str, error: OSError, passing: list[OSError] = passing) -> None:
                if not is_damage(error):
                    passing.append(error)
                self._on_damage(path, error)

            try:
                load_writer(self._layout, writer, store, damaged)
                break
            except FileNotFoundError:
                continue
        else:
            raise FolderError(
                f"the files of writer {writer} in {self._layout.root} change faster than they can "
                f"be read: try again, or when it merges less"
            )
        store.drain()
        view = View(writer, store)
        # What could not be read this time may be at the next look.
        self._known.pop(writer, None)
        if not passing:
            self._known[writer] = (before, view)
        return view


def _files_of(layout: Layout, writer: str) -> frozenset[str]:
    """Names of everything that a writer's state is read from."""
    folders = [*layout.published(writer), layout.log(writer)]
    return frozenset(str(path) for f in folders if f.is_dir() for path in f.iterdir())
