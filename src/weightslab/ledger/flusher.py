"""The background thread of a ledger: it syncs the log and publishes segments."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from weightslab.ledger.options import LedgerOptions
from weightslab.ledger.writer import Writer
from weightslab.notices import Notices

__all__ = ["Flusher"]

_ROOM_S = 1.0
"""Longest wait of a training thread for a flush that makes room."""


class Flusher:
    """Runs a writer's ticks and flushes until it is stopped.

    `is_due` says whether a flush is due, given the seconds since the last one.

    `lock` lets one thread publish at a time.
    """

    def __init__(
        self,
        writer: Writer,
        options: LedgerOptions,
        notices: Notices,
        is_due: Callable[[float], bool],
    ) -> None:
        self._writer = writer
        self._options = options
        self._notices = notices
        self._is_due = is_due
        self.lock = threading.RLock()
        self.failing = False
        """Whether the last flush failed."""
        self._wake = threading.Event()
        self._stopped = False
        self._flushed_at = self._based_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="weightslab-flush", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look whether something is due, now."""
        self._wake.set()

    def make_room(self, has_room: Callable[[], bool]) -> bool:
        """Wait a bounded time for what waits to be written; not where the disk refused already."""
        if self.failing:
            return False
        deadline = time.monotonic() + _ROOM_S
        self.wake()
        while time.monotonic() < deadline:
            if has_room():
                return True
            time.sleep(0.005)
        return False

    def flush_now(self) -> None:
        """Publish on the calling thread; nothing once the ledger is being closed."""
        with self.lock:
            if not self._stopped:
                self._flush()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopped = True
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        options = self._options
        pause_s = min(options.sync_interval_s, options.flush_interval_s)
        while not self._stopped:
            self._wake.wait(pause_s)
            self._wake.clear()
            if self._stopped:
                return
            try:
                with self.lock:
                    self._writer.tick()
                    if self._is_due(time.monotonic() - self._flushed_at):
                        self._flush()
            except Exception as error:  # noqa: BLE001  # a thread's boundary: said once, counted
                self.failing = True
                self._notices.warn_once(
                    "flush", f"writing the run folder failed and will be tried again: {error!r}"
                )
            if self._options.compact and not self.failing:
                self._compact()

    def _compact(self) -> None:
        try:
            with self.lock:
                if not self._stopped:
                    self._writer.compact()
        except Exception as error:  # noqa: BLE001  # values are written all the same
            self._notices.warn_once("compaction", f"merging files failed: {error!r}")

    def _flush(self) -> None:
        now = time.monotonic()
        due = now - self._based_at >= self._options.base_interval_s
        self.failing = not self._writer.publish(bases=due)
        self._flushed_at = time.monotonic()
        if due and not self.failing:
            self._based_at = self._flushed_at
