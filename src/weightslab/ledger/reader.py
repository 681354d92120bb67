"""Writers of other processes, read without a lock from their files and logs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from weightslab.ledger.layout import Layout
from weightslab.ledger.recovery import load_writer
from weightslab.ledger.store import Store

__all__ = ["ForeignWriters", "View"]

_FRESH_S = 1.0


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

    def views(self, own: str | None) -> list[View]:
        """Every writer but `own`."""
        with self._lock:
            if own != self._own or time.monotonic() - self._read_at > _FRESH_S:
                others = [w for w in self._layout.writers() if w != own]
                self._views = [self._view(writer) for writer in others]
                self._read_at = time.monotonic()
                self._own = own
            return list(self._views)

    def _view(self, writer: str) -> View:
        store = self._new_store()
        load_writer(self._layout, writer, store, self._on_damage)
        store.drain()
        return View(writer, store)
