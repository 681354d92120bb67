"""The ledger: the one door to history and samples of a run folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from weightslab.errors import FolderError, InputError, ReadOnlyError, UnknownOptionError
from weightslab.ledger.arrays import FIELDS, SMALL_BYTES, ArrayRecord, records_of
from weightslab.ledger.claim import check_format, claim_writer, clear_temporary, new_launch
from weightslab.ledger.files import Files, Lock
from weightslab.ledger.flusher import Flusher
from weightslab.ledger.forks import guard_forks
from weightslab.ledger.ids import IdStore
from weightslab.ledger.journal import JournalEntry
from weightslab.ledger.large import LargeArrays
from weightslab.ledger.layout import Layout
from weightslab.ledger.partitions import SegmentCache
from weightslab.ledger.publish import Publisher
from weightslab.ledger.reader import ForeignWriters, View
from weightslab.ledger.records import (
    ARRAYS,
    CHANGE,
    VALUES,
    Floats,
    Values,
    block_of,
    encode_change,
    encode_values,
)
from weightslab.ledger.recovery import Recovered, load_writer
from weightslab.ledger.store import Store
from weightslab.ledger.wal import LogWriter
from weightslab.notices import Notices
from weightslab.types import Rows

__all__ = ["DiscardView", "Ledger", "LedgerOptions"]

Actor = str


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """How a ledger writes. The defaults suit a training run."""

    flush_interval_s: float = 10.0
    """Longest time until logged rows become Parquet; they are durable before."""
    flush_rows: int = 500_000
    """Rows that make a flush due earlier."""
    sync_interval_s: float = 1.0
    """What a power loss can cost; a killed process loses nothing."""
    base_interval_s: float = 120.0
    """Shortest time between whole snapshots of the sample table."""
    log_bytes: int = 32 << 20
    """Size of one write-ahead log file."""
    most_waiting_rows: int = 8_000_000
    """Rows in memory beyond which a broken disk makes new ones be dropped and counted."""
    array_rate_bytes_s: float = 16e6
    """Most bytes of large arrays (masks, logits) that are taken a second."""
    array_budget_bytes: int = 2 << 30
    """Most bytes of large arrays in the folder."""
    cache_bytes: int = 256 << 20
    """Memory for decoded segments."""


class DiscardView:
    """Which samples are discarded, for whoever draws the next batch."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def count(self) -> int:
        """Number of discarded samples of this ledger."""
        return self._store.samples.discarded_count

    @property
    def version(self) -> int:
        """Grows with every edit."""
        return self._store.samples.version

    def of(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Whether each of `rows` [n] is discarded. bool [n]."""
        column = self._store.samples.discarded
        inside = rows < len(column)
        if len(column) == 0:
            return inside
        result: npt.NDArray[np.bool_] = column[np.where(inside, rows, 0)] & inside
        return result

    def row(self, row: int) -> bool:
        """Whether one row is discarded."""
        column = self._store.samples.discarded
        return row < len(column) and bool(column[row])


class Ledger:
    """History and samples of one run folder.

    - A **sample** is one item of a base dataset; its id is a string that is unique
      in the run folder. The sample table's key is (sample_id, annotation_id): 0 for
      the sample, 1.. for its instances in the order in which they appear.
    - A **signal** is a named stream of numbers. Global: one value per step. Sample:
      one per (sample, step). Instance: one per (sample, annotation, step). Saving
      the same key again adds a row; the newest wins where one value is asked for.
    - A **step** is the number of training updates completed before the batch, from 0.
    - An **origin** is the name of the loader or split that a sample came from: a
      column, not an identity; a sample may be in several.
    - An **experiment hash** names a state of hyperparameters, architecture and
      discarded samples: 24 hexadecimal digits. A **launch** is one process group
      that trained, numbered from 1.
    - The **journal** holds every edit with time, step, launch, actor and what it
      replaced.

    History is append-only; the sample table is what is true now. A value is
    appended to a write-ahead log and to memory on the caller's thread
    (microseconds); it counts as saved when the call returns, and a killed process
    loses none. One background thread turns the log into Parquet segments. Each
    process writes folders of its own, `writer=<rank>-<n>`, behind a lock of the
    operating system; readers need no lock. Inside, samples are dense int32 rows,
    local to a writer and joined by id.

    A disk that fails never stops a training run: rows wait in memory (bounded;
    beyond that they are dropped and counted), it is said once, and writing goes on
    by itself when the disk does.

    Args:
        root: the run folder; made when it is missing (mode "w").
        mode: "w" to write and read, "r" to read only.
        rank: rank of this process in its group; part of the writer's name.
        files: the file layer; tests hand in one that fails on purpose.

    Raises:
        FolderError: mode "r" and there is no ledger, or `root` is a file.
        LedgerFormatError: the folder has a format that this version does not know.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        mode: Literal["r", "w"] = "w",
        rank: int = 0,
        options: LedgerOptions | None = None,
        files: Files | None = None,
        notices: Notices | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        if mode not in ("r", "w"):
            raise UnknownOptionError("mode", mode, ("r", "w"))
        self.root = Path(root)
        self.mode = mode
        self.rank = rank
        self.options = options or LedgerOptions()
        self.notices = notices or Notices()
        self.layout = Layout(self.root)
        self.step: Callable[[], int] = lambda: 0
        """Gives the step for the journal; the session puts its clock here."""
        self._files = files or Files()
        self._now = now
        self._cache = SegmentCache(self.options.cache_bytes)
        self._store = self._new_store()
        self._wal: LogWriter | None = None
        self._publisher: Publisher | None = None
        self._lock: Lock | None = None
        self._writer: str | None = None
        self._log_retry_at = 0.0
        self._launched = False
        self._closed = False
        self._flusher: Flusher | None = None
        self.discarded = DiscardView(self._store)
        if self.root.exists() and not self.root.is_dir():
            raise FolderError(f"{self.root} is a file: choose a folder for the run")
        known = check_format(self.layout)
        if mode == "r" and not known:
            raise FolderError(f"{self.root} holds no ledger: choose a run folder")
        if mode == "w":
            self._attach(fresh=False)
            self._flusher = Flusher(self)
            guard_forks(self)
        self._foreign = ForeignWriters(self.layout, self._new_store, self._damaged)

    # -- opening and closing ----------------------------------------------

    def _new_store(self) -> Store:
        large = LargeArrays(
            rate_bytes_s=self.options.array_rate_bytes_s,
            budget_bytes=self.options.array_budget_bytes,
        )
        return Store(self._log_change, cache=self._cache, large=large, on_damage=self._damaged)

    def _damaged(self, path: str, error: OSError) -> None:
        self.notices.warn_once(
            ("damaged", path), f"{path} cannot be read ({error}): it is left out; the rest is whole"
        )

    def _attach(self, *, fresh: bool) -> bool:
        """Claim a writer and take up what it left; False (said once) when the disk refuses."""
        try:
            claim = claim_writer(self._files, self.layout, self.rank, fresh=fresh)
            clear_temporary(self._files, self.layout)
        except OSError as error:
            self._disk_failed(error)
            return False
        if fresh:
            found = Recovered(self._next_lsn, 1, 0)
        else:
            found = load_writer(self.layout, claim.writer, self._store, self._damaged)
        self._lock = claim.lock
        self._writer = claim.writer
        self._publisher = Publisher(
            self._files, self.layout, claim.writer, self._store, found.next_sequence
        )
        self._wal = LogWriter(
            self._files,
            self.layout.log(claim.writer),
            next_lsn=found.next_lsn,
            file_bytes=self.options.log_bytes,
            context=self._context,
        )
        return True

    def _context(self) -> tuple[int, Sequence[bytes]]:
        store = self._store
        op = {
            "op": "context",
            "signals": store.signals,
            "hash": store.experiment_hash,
            "launch": store.launch,
        }
        return CHANGE, encode_change(op)

    @property
    def attached(self) -> bool:
        """Whether the folder takes what is written; False while the disk refuses."""
        return self._wal is not None

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Publish everything and let the folder go. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._flusher is not None:
            self._flusher.stop()
            if self._wal is None:
                self._attach(fresh=True)
            if self.publish(bases=True) and self._wal is not None:
                self._wal.finish()
            elif self._wal is not None:
                self._wal.abandon()
            elif self._store.tail_rows:
                self.notices.warn_once(
                    "lost", f"{self._store.tail_rows} rows could not be written to {self.root}"
                )
        if self._lock is not None:
            self._lock.release()

    def flush(self) -> None:
        """Turn everything that was saved so far into Parquet, now."""
        if self._flusher is not None and not self._closed:
            self._flusher.flush_now()

    def publish(self, *, bases: bool) -> bool:
        """One flush on the calling thread; False (said once) when the disk refuses."""
        wal, publisher = self._wal, self._publisher
        if wal is None or publisher is None:
            return False
        try:
            lsn = publisher.flush(lambda: wal.next_lsn - 1)
            if bases:
                publisher.bases(lsn)
            wal.sync()
            with self._store.lock:
                wal.retire(lsn)
        except OSError as error:
            self._disk_failed(error)
            return False
        self._disk_works()
        return True

    def tick(self) -> None:
        """What the background thread does between flushes: attach, drain, sync."""
        if self._wal is None and not self._attach(fresh=True):
            return
        self._store.drain()
        try:
            if self._wal is not None:
                self._wal.sync()
        except OSError as error:
            self._disk_failed(error)

    def _disk_failed(self, error: OSError) -> None:
        self.notices.warn_once(
            "disk",
            f"{self.root} cannot be written ({error}): training goes on, values wait in memory "
            f"and are written as soon as the disk takes them",
        )

    def _disk_works(self) -> None:
        self.notices.forget("disk")

    def disown(self) -> None:
        """In a forked child: this ledger belongs to the parent; touch nothing of it."""
        self._closed = True
        self._flusher = None
        if self._lock is not None:
            self._lock.release()

    # -- logging -------------------------------------------------------------

    @property
    def _next_lsn(self) -> int:
        return self._wal.next_lsn if self._wal is not None else self._offline_lsn

    _offline_lsn = 1

    def _log(self, kind: int, parts: Sequence[bytes]) -> int:
        """Log a record under the store's lock; without a disk it is only numbered."""
        wal = self._wal
        if wal is None:
            lsn, self._offline_lsn = self._offline_lsn, self._offline_lsn + 1
            return lsn
        if self._log_retry_at and time.monotonic() < self._log_retry_at:
            wal.next_lsn += 1
            return wal.next_lsn - 1
        try:
            lsn = wal.append(kind, parts)
            self._log_retry_at = 0.0
            return lsn
        except OSError as error:
            self._log_retry_at = time.monotonic() + 1.0
            self._disk_failed(error)
            wal.next_lsn += 1
            return wal.next_lsn - 1

    def _log_change(self, op: dict[str, Any], blob: bytes) -> None:
        self.check_writable()
        self._log(CHANGE, encode_change(op, blob))

    def check_writable(self) -> None:
        """Refuse early what cannot be written.

        Raises:
            ReadOnlyError: opened for reading, or closed.
        """
        if self.mode == "r":
            raise ReadOnlyError(
                f'{self.root} is open for reading: open it with mode="w" to change it'
            )
        if self._closed:
            raise ReadOnlyError(f"the ledger of {self.root} is closed: open the folder again")

    # -- saving ----------------------------------------------------------------

    @property
    def ids(self) -> IdStore:
        """Sample ids and their rows in this process."""
        return self._store.ids

    def append_samples(
        self, signals: Mapping[str, Floats], rows: Rows, *, step: int, log: bool = True
    ) -> None:
        """Save one value per sample for each signal; `log` also feeds the global curve.

        Args:
            signals: name -> values, float32 or float64 [B].
            rows: int32 [B]; not changed afterwards.
            step: training step of the batch.
        """
        self._append(signals, rows, None, step, log)

    def append_instances(
        self,
        signals: Mapping[str, Floats],
        rows: Rows,
        annotations: Rows,
        *,
        step: int,
        log: bool = True,
    ) -> None:
        """Save one value per instance: `rows` [N] of their samples, 1-based `annotations` [N]."""
        self._append(signals, rows, annotations, step, log)

    def append_scalars(self, scalars: Mapping[str, float], *, step: int) -> None:
        """Save values of the global curve."""
        columns = {name: np.array([value], np.float64) for name, value in scalars.items()}
        self._append(columns, None, None, step, True)

    def _append(
        self,
        signals: Mapping[str, Floats],
        rows: Rows | None,
        annotations: Rows | None,
        step: int,
        log: bool,
    ) -> None:
        self.check_writable()
        store = self._store
        if store.tail_rows > self.options.most_waiting_rows and not self._wait_for_room():
            n = len(signals) * (1 if rows is None else len(rows))
            self.notices.warn_once(
                "dropped",
                f"{self.root} takes no more values and memory for waiting ones is full: "
                f"new values are dropped and counted until the disk works again",
                count=n,
            )
            return
        if not self._launched:
            self._launch()
        block = block_of(list(signals.values()))
        with store.lock:
            codes = tuple([self._code(name) for name in signals])
            record = Values(step, codes, block, rows, annotations, log)
            store.apply_values(self._log(VALUES, encode_values(record)), record)

    def _wait_for_room(self) -> bool:
        """Wait a bounded time for the flush thread, unless the disk already refused."""
        if self._flusher is None or self._flusher.failing:
            return False
        deadline = time.monotonic() + 1.0
        self._flusher.wake()
        while time.monotonic() < deadline:
            if self._store.tail_rows <= self.options.most_waiting_rows:
                return True
            time.sleep(0.005)
        return False

    def _code(self, name: str) -> int:
        code = self._store.code_of(name)
        if code is None:
            code = len(self._store.signals)
            self._log_change({"op": "signal", "code": code, "name": name}, b"")
            self._store.take_signal(code, name)
        return code

    def _launch(self) -> None:
        self._launched = True
        try:
            number = new_launch(self._files, self.layout, self.rank)
        except (OSError, ValueError) as error:
            self._disk_failed(error if isinstance(error, OSError) else OSError(str(error)))
            number = self._store.launch + 1
        self._edit("launch", None, None, np.zeros(0, np.int32), launch=number)

    def append_arrays(
        self,
        name: str,
        rows: Rows,
        values: npt.NDArray[Any] | Sequence[Any],
        annotations: Rows | None = None,
    ) -> None:
        """Keep the latest `targets`, `preds` or `preds_raw` of samples or instances.

        Args:
            values: [B, ...] or one array per row; dtype and shape come back as they went in.
        """
        self.check_writable()
        if name not in FIELDS:
            raise UnknownOptionError("array field", name, FIELDS)
        for record in records_of(name, rows, values, annotations):
            if record.values.nbytes > SMALL_BYTES * max(1, len(record.rows)):
                self._large(record)
                continue
            with self._store.lock:
                lsn = self._log(ARRAYS, encode_change(record.head(), record.blob()))
                self._store.take_arrays(lsn, record)

    def _large(self, record: ArrayRecord) -> None:
        left_out = self._store.large.take(record)
        if left_out:
            self.notices.warn_once(
                "large arrays",
                f"{record.field} of {record.values[0].nbytes} bytes a sample come faster than "
                f"{self.options.array_rate_bytes_s / 1e6:g} MB/s or beyond "
                f"{self.options.array_budget_bytes / 1e9:g} GB: some are left out and counted",
                count=left_out,
            )

    # -- editing -----------------------------------------------------------------

    def tag(self, rows: Rows, tag: str, present: bool, *, actor: Actor = "user") -> int:
        """Put a boolean tag on samples or take it off; gives how many changed. Durable on return."""
        with self._store.lock:
            held = self._store.samples.tags.get(tag)
            changed = _differing(rows, held, present)
            if len(changed) or (held is None and present):
                previous = np.full(len(changed), int(not present), np.int32)
                self._edit("tag", tag, _text(present), changed, previous, actor=actor)
        self._sync_edit()
        return len(changed)

    def discard(self, rows: Rows, discarded: bool, *, actor: Actor = "user") -> int:
        """Discard samples or restore them; gives how many changed. Durable on return."""
        with self._store.lock:
            changed = _differing(rows, self._store.samples.discarded, discarded)
            if len(changed):
                previous = np.full(len(changed), int(not discarded), np.int32)
                self._edit("discard", None, _text(discarded), changed, previous, actor=actor)
        self._sync_edit()
        return len(changed)

    def register_category(
        self, tag: str, categories: Sequence[str], *, actor: Actor = "user"
    ) -> None:
        """Declare a categorical tag, or add categories to it. Durable on return."""
        with self._store.lock:
            held = self._store.samples.categories.get(tag)
            new = [c for c in dict.fromkeys(categories) if held is None or c not in held.categories]
            if new or held is None:
                self._edit(
                    "register", tag, json.dumps(new), np.zeros(0, np.int32), actor=actor
                )
        self._sync_edit()

    def categorize(
        self, rows: Rows, tag: str, value: str | None, *, actor: Actor = "user"
    ) -> int:
        """Give samples one value of a categorical tag (None clears it); gives how many changed."""
        with self._store.lock:
            column = self._store.samples.categories.get(tag)
            unique = np.unique(rows).astype(np.int32)
            codes = np.full(len(unique), -1, np.int32)
            target = -1
            if column is not None:
                inside = unique < len(column.codes)
                codes[inside] = column.codes[unique[inside]]
                if value is not None and value in column.categories:
                    target = column.categories.index(value)
            is_new = value is not None and target < 0
            moved = (codes != target) | is_new
            if moved.any() or is_new:
                self._edit(
                    "category", tag, value, unique[moved], codes[moved], actor=actor
                )
        self._sync_edit()
        return int(np.count_nonzero(moved))

    def set_experiment(self, experiment_hash: str | None, *, actor: Actor = "training") -> None:
        """Values saved from now on belong to this experiment hash."""
        with self._store.lock:
            if experiment_hash != self._store.experiment_hash:
                self._edit("experiment", None, experiment_hash, np.zeros(0, np.int32), actor=actor)

    def _edit(
        self,
        verb: str,
        name: str | None,
        value: str | None,
        rows: Rows,
        previous: Rows | None = None,
        *,
        actor: Actor = "training",
        launch: int | None = None,
    ) -> None:
        self.check_writable()
        store = self._store
        with store.lock:
            was = rows if previous is None else previous
            entry = JournalEntry(
                self._next_lsn, int(self._now() * 1e6), self.step(),
                store.launch if launch is None else launch, actor, verb, name, value, rows, was,
            )
            blob = rows.tobytes() + was.tobytes()
            lsn = self._log(CHANGE, encode_change(entry.head(), blob))
            if lsn != entry.lsn:
                # The log began a new file, whose first record took the number.
                entry = JournalEntry.restore(lsn, entry.head(), blob)
            store.take_edit(entry)

    def _sync_edit(self) -> None:
        try:
            if self._wal is not None:
                self._wal.sync()
        except OSError as error:
            self._disk_failed(error)

    # -- reading --------------------------------------------------------------------

    def tags(self) -> list[str]:
        """Names of the boolean tags."""
        return list(self._store.samples.tags)

    def categories(self) -> dict[str, list[str]]:
        """Categorical tags and their values."""
        return {name: list(c.categories) for name, c in self._store.samples.categories.items()}

    def adopt(self, placeholder: int, row: int) -> None:
        """Give `row` the tags and discard of a placeholder, which nobody has seen, and its name.

        A placeholder stands for an id that was tagged before its sample appeared.
        """
        with self._store.lock:
            samples = self._store.samples
            name = self.ids.name(placeholder)
            old, new = np.array([placeholder], np.int32), np.array([row], np.int32)
            if self.discarded.row(placeholder):
                self.discard(new, True)
                self.discard(old, False)
            for tag, column in list(samples.tags.items()):
                if placeholder < len(column) and column[placeholder]:
                    self.tag(new, tag, True)
                    self.tag(old, tag, False)
            for tag, category in list(samples.categories.items()):
                codes = category.codes
                if placeholder < len(codes) and codes[placeholder] >= 0:
                    self.categorize(new, tag, category.categories[codes[placeholder]])
                    self.categorize(old, tag, None)
            self.ids.rename(old, [f"{name} (placeholder {placeholder})"])
            self.ids.rename(new, [name])

    @property
    def experiment_hash(self) -> str | None:
        """The experiment hash that new values belong to; of a closed folder, the last one."""
        if self.mode == "w":
            return self._store.experiment_hash
        views = [v for v in self.views() if v.store.experiment_hash is not None]
        return views[-1].store.experiment_hash if views else None

    @property
    def launch(self) -> int:
        """Number of this launch; 0 before the first value is saved."""
        return self._store.launch if self._launched else 0

    @property
    def writer(self) -> str | None:
        """Name of this process's writer, "<rank>-<n>"."""
        return self._writer

    def views(self) -> list[View]:
        """Every writer of the folder as it stands now, this process's own first."""
        own = []
        if self.mode == "w":
            self._store.drain()
            own = [View(self._writer or "", self._store)]
        return own + self._foreign.views(self._writer)

    def status(self) -> dict[str, Any]:
        """What waits, what was dropped, and whether the disk works."""
        return {
            "root": str(self.root),
            "writer": self._writer,
            "attached": self.attached,
            "waiting_rows": self._store.tail_rows,
            "samples": len(self._store.ids),
            "launch": self.launch,
            "large_arrays_bytes": self._store.large.size_bytes,
            "large_arrays_left_out": self._store.large.left_out,
            "experiment_hash": self._store.experiment_hash,
            "notices": self.notices.counts(),
        }

    def locks(self) -> tuple[Any, ...]:
        """What must be held so that nobody writes: for a fork."""
        flusher = self._flusher
        return (self._store.lock,) if flusher is None else (flusher.lock, self._store.lock)

    def flush_due(self, since_s: float) -> bool:
        """Whether a flush is due, `since_s` after the last one."""
        store = self._store
        waiting = bool(
            store.tail_rows
            or store.pending.journal
            or store.pending.arrays
            or store.large.waiting
            or store.ids.changed
            or store.pending.ids_from < len(store.ids)
        )
        return waiting and (
            store.tail_rows >= self.options.flush_rows or since_s >= self.options.flush_interval_s
        )


def _text(flag: bool) -> str:
    return "true" if flag else "false"


def _differing(rows: Rows, column: npt.NDArray[np.bool_] | None, wanted: bool) -> Rows:
    """Those of `rows`, each once, whose flag is not `wanted`."""
    if not len(rows):
        return rows
    if rows.min() < 0:
        raise InputError(f"row {int(rows.min())} does not exist")
    held = np.zeros(0, np.bool_) if column is None else column
    unique = np.unique(rows).astype(np.int32)
    inside = unique < len(held)
    state = np.zeros(len(unique), np.bool_)
    state[inside] = held[unique[inside]]
    return unique[state != wanted]
