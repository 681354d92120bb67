"""The ledger: the one door to history and samples of a run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from weightslab.errors import FolderError, ReadOnlyError, UnknownOptionError
from weightslab.ledger.arrays.large import LargeArrays
from weightslab.ledger.claim import check_format, new_launch
from weightslab.ledger.edits.discards import DiscardView
from weightslab.ledger.edits.editor import Editor
from weightslab.ledger.edits.known import category_values, tag_names
from weightslab.ledger.edits.others import Others
from weightslab.ledger.files import Files
from weightslab.ledger.flusher import Flusher
from weightslab.ledger.forks import guard_forks
from weightslab.ledger.history.reader import SegmentReader
from weightslab.ledger.history.recent import RecentRing
from weightslab.ledger.history.segments import Chunk
from weightslab.ledger.ids.ids import IdStore
from weightslab.ledger.layout import Kind, Layout
from weightslab.ledger.log.records import (
    CHANGE,
    Floats,
    encode_change,
)
from weightslab.ledger.options import LedgerOptions
from weightslab.ledger.reader import ForeignWriters, View
from weightslab.ledger.saver import Saver
from weightslab.ledger.store import Store
from weightslab.ledger.writer import Writer
from weightslab.notices import Notices
from weightslab.types import Rows

__all__ = ["Ledger"]

T = TypeVar("T")

_MOST_LOOKS = 20
"""How often a query is asked anew while other processes merge their files."""

_NAMING = frozenset(("block", "names", "rename", "unname"))
"""Changes that may give a sample the id that another writer edited."""


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
    operating system; readers need no lock. What the others edit arrives within
    `sync_interval_s`: of two edits of a sample the newest wins. Inside,
    samples are dense int32 rows, local to a writer and joined by id.

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
        self.options = options or LedgerOptions()
        self.notices = notices or Notices()
        self.layout = Layout(self.root)
        self._rank = rank
        self._files = files or Files()
        self._reader = SegmentReader(self.options.cache_bytes)
        self._closed = False
        self._flusher: Flusher | None = None
        if self.root.exists() and not self.root.is_dir():
            raise FolderError(f"{self.root} is a file: choose a folder for the run")
        known = check_format(self.layout)
        if mode == "r" and not known:
            raise FolderError(f"{self.root} holds no ledger: choose a run folder")
        self._foreign = ForeignWriters(
            self.layout, partial(self._new_store, foreign=True), self._damaged
        )
        self._begin(now)
        if mode == "w":
            if not self._writer.attach(fresh=False):
                # It may have been taken up in part: it stays as it is, and another one begins.
                self._begin(now)
            self._others.look()
            self._flusher = Flusher(self._writer, self.options, self.notices, self._flush_due)
            guard_forks(self)

    # -- opening and closing ----------------------------------------------

    def _begin(self, now: Callable[[], float]) -> None:
        """An empty store, and whoever works on it."""
        self._store = self._new_store()
        self._others = Others(
            self.layout, self._store, lambda: self.writer, self._damaged, self._unread
        )
        self._writer = Writer(
            self._store,
            self.layout,
            rank=self._rank,
            files=self._files,
            options=self.options,
            notices=self.notices,
            on_damage=self._damaged,
            follow=self._others.tick,
        )
        self._editor = Editor(self._store, self._writer, self._others, now, self.notices)
        self._saver = Saver(
            self._store,
            self._writer,
            self.options,
            self.notices,
            root=self.root,
            check=self.check_writable,
            launch=self._launch,
            wait_for_room=self._wait_for_room,
        )
        self.discarded = DiscardView(self._store, self._others)

    def _new_store(self, *, foreign: bool = False) -> Store:
        large = LargeArrays(
            rate_bytes_s=self.options.array_rate_bytes_s,
            budget_bytes=self.options.array_budget_bytes,
        )
        return Store(
            self._log_change,
            reader=self._reader,
            large=large,
            on_damage=self._damaged,
            array_memory_bytes=self.options.array_memory_bytes,
            foreign=foreign,
        )

    def _damaged(self, path: str, error: OSError) -> None:
        self.notices.warn_once(
            ("damaged", path),
            f"{path} is damaged or cannot be read ({error}): that is left out; the rest is whole",
        )

    @property
    def attached(self) -> bool:
        """Whether the folder takes what is written; False while the disk refuses."""
        return self._writer.attached

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
            with self._flusher.lock:
                self._writer.finish()

    def flush(self) -> None:
        """Turn everything that was saved so far into Parquet, now."""
        if self._flusher is not None and not self._closed:
            self._flusher.flush_now()

    def compact(self, *, archive: bool = False) -> int:
        """Merge on this thread the files that this process wrote; gives the number of merges.

        While a run lives that happens by itself, in the background. What cannot be merged is
        said once and stays as it is; the rest is merged.

        Args:
            archive: whether to make one file of each partition, in the smallest form.

        Raises:
            ReadOnlyError: opened for reading, or closed.
            OSError: the folder cannot be written at all.
        """
        self.check_writable()
        assert self._flusher is not None
        with self._flusher.lock:
            self._writer.publish(bases=True)
            return self._writer.compact_now(archive=archive).merges

    def disown(self) -> None:
        """In a forked child: this ledger belongs to the parent; touch nothing of it."""
        self._closed = True
        self._flusher = None
        self._writer.disown()

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

    def _log_change(self, op: dict[str, Any], blob: bytes) -> None:
        self.check_writable()
        lsn = self._writer.log(CHANGE, encode_change(op, blob))
        if op["op"] in _NAMING:
            self._others.note_ids()
            if self._store.samples.any_discarded(op.get("rows", ())):
                # Others look for it under its new name.
                self._writer.announce(lsn)

    def _unread(self, error: Exception) -> None:
        self.notices.warn_once(
            "others",
            f"edits that other processes make to {self.root} cannot be read and will be "
            f"tried again: {error!r}",
        )

    # -- saving ----------------------------------------------------------------

    @property
    def ids(self) -> IdStore:
        """Sample ids and their rows in this process."""
        return self._store.ids

    def register(self, origin: str, indices: range | npt.NDArray[np.int64]) -> Rows:
        """Rows of the samples `indices` of a dataset that is called `origin`. int32 [n].

        What was saved or edited as "<origin>/<index>" before the dataset was known is of its
        sample: here the row is the same, and what another process edited applies now.
        """
        rows = self.ids.block(origin, indices)
        self._others.look()
        return rows

    def append_samples(
        self, signals: Mapping[str, Floats], rows: Rows, *, step: int, log: bool = True
    ) -> None:
        """Save one value per sample for each signal; `log` also feeds the global curve.

        Args:
            signals: name -> values, float32 or float64 [B].
            rows: int32 [B]; not changed afterwards.
            step: training step of the batch.
        """
        self._saver.values(signals, rows, None, step, log)

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
        self._saver.values(signals, rows, annotations, step, log)

    def append_scalars(self, scalars: Mapping[str, float], *, step: int) -> None:
        """Save values of the global curve."""
        columns = {name: np.array([value], np.float64) for name, value in scalars.items()}
        self._saver.values(columns, None, None, step, True)

    def append_arrays(
        self,
        name: str,
        rows: Rows,
        values: npt.NDArray[Any] | Sequence[Any],
        annotations: Rows | None = None,
    ) -> None:
        """Keep the latest `targets`, `preds` or `preds_raw` of samples or instances.

        Args:
            values: [B, ...] or one array per row. Up to 4 KiB a row dtype and shape come
                back as they went in. Larger ones are kept within a rate and a size budget:
                integers and booleans as they are, floats as float16, or in the narrowest
                type that makes none of them infinite. What is no number is kept as JSON.
        """
        self._saver.arrays(name, rows, values, annotations)

    def _wait_for_room(self) -> bool:
        return self._flusher is not None and self._flusher.make_room(
            lambda: self._store.tail_rows <= self.options.most_waiting_rows
        )

    def _launch(self) -> None:
        try:
            number = new_launch(self._files, self.layout, self._rank)
        except (OSError, ValueError) as error:
            self._writer.disk_failed(error if isinstance(error, OSError) else OSError(str(error)))
            number = self._store.launch + 1
        self._editor.enter("launch", None, None, np.zeros(0, np.int32), launch=number)

    # -- editing -----------------------------------------------------------------

    @property
    def edit(self) -> Editor:
        """The door to tags, categories, discards and the experiment hash.

        Raises:
            ReadOnlyError: opened for reading, or closed.
        """
        self.check_writable()
        return self._editor

    @contextmanager
    def under(self, experiment_hash: str | None) -> Iterator[None]:
        """Values that are saved within belong to another experiment hash.

        Of an evaluation, or of the moment that they speak of. Nobody else saves meanwhile:
        keep it short, and only append.
        """
        self.check_writable()
        if self._store.tail_rows > self.options.most_waiting_rows:
            self._wait_for_room()  # not later, with the lock that the flusher needs
        with self._store.lock:
            before = self._store.experiment_hash
            self.edit.set_experiment(experiment_hash)
            try:
                yield
            finally:
                self.edit.set_experiment(before)

    # -- reading --------------------------------------------------------------------

    def tags(self) -> list[str]:
        """Names of the boolean tags, whoever made them."""
        return tag_names(self._stores(), self._others.merged)

    def categories(self) -> dict[str, list[str]]:
        """Categorical tags and their values, whoever made them."""
        return category_values(self._stores(), self._others.merged)

    def _stores(self) -> list[Store]:
        """Where tags stand: a reader has none of its own."""
        return [self._store] if self.mode == "w" else [view.store for view in self.views()]

    @property
    def experiment_hash(self) -> str | None:
        """The experiment hash that new values belong to; of a closed folder, the last one."""
        if self.mode == "w":
            with self._store.lock:  # not what another thread saves `under` meanwhile
                return self._store.experiment_hash
        views = [v for v in self.views() if v.store.experiment_hash is not None]
        return views[-1].store.experiment_hash if views else None

    @property
    def launch(self) -> int:
        """Number of this launch; 0 before the first value is saved."""
        return self._store.launch if self._saver.launched else 0

    @property
    def writer(self) -> str | None:
        """Name of this process's writer, "<rank>-<n>"."""
        return self._writer.name

    def recent(
        self, signal: str, rows: Rows
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.int64]]:
        """The last 32 values of samples in this launch: steps [n, 32], values [n, 32], counts [n].

        For whoever reads a signal's history at every step: from the first call on its last
        values stay in memory, 264 bytes a sample. Everything saved so far is in it, under
        every experiment hash, oldest first, at the left; what stands right of a sample's
        `counts` is 0. int32 and float32, or 64 bits where 32 are not exact.
        """
        if not self._saver.launched:
            return RecentRing().get(rows)
        with self._store.lock:
            return self._store.keep_recent(signal).get(rows)

    def launched(
        self, kind: Kind, signal: str, rows: npt.NDArray[np.int64] | None = None
    ) -> Iterator[tuple[str | None, Chunk]]:
        """What this launch has of one signal, by experiment hash; see `Store.launched`."""
        return self._store.launched(kind, signal, rows) if self._saver.launched else iter(())

    def views(self) -> list[View]:
        """Every writer of the folder as it stands now, this process's own first."""
        own = []
        if self.mode == "w":
            self._store.drain()
            own = [View(self._writer.name or "", self._store)]
        return own + self._foreign.views(self._writer.name)

    def look(self, query: Callable[[], T]) -> T:
        """What `query` finds; it is asked anew when another writer merged files under it."""
        for _ in range(_MOST_LOOKS):
            try:
                return query()
            except FileNotFoundError:
                self._foreign.forget()
        return query()

    def status(self) -> dict[str, Any]:
        """What waits, what was dropped, and whether the disk works."""
        return {
            "root": str(self.root),
            "writer": self._writer.name,
            "attached": self.attached,
            "waiting_rows": self._store.tail_rows,
            "samples": len(self._store.ids),
            "launch": self.launch,
            "arrays_in_memory_bytes": self._store.arrays.size_bytes,
            "large_arrays_bytes": self._store.large.size_bytes,
            "recent_bytes": sum(ring.size_bytes for ring in list(self._store.recent.values())),
            "large_arrays_left_out": self._store.large.left_out,
            "experiment_hash": self._store.experiment_hash,
            "notices": self.notices.counts(),
        }

    def locks(self) -> tuple[Any, ...]:
        """What must be held so that nobody writes: for a fork."""
        return (self._writer.rest, self._others.lock, self._store.lock)

    def _flush_due(self, since_s: float) -> bool:
        """Whether a flush is due, `since_s` after the last one."""
        if not self._store.has_pending():
            return False
        limit_s = self.options.flush_interval_s
        if self._writer.gap:
            limit_s = min(limit_s, self.options.sync_interval_s)
        return self._store.tail_rows >= self.options.flush_rows or since_s >= limit_s
