"""The writer of this process: its folder, its log, its files, and a disk that may fail.

A disk that fails never raises here: it is said once, records stay in memory, and
writing goes on when the disk does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import RLock

import pyarrow.parquet as pq

from weightslab.ledger.claim import Claim, claim_writer, clear_temporary, folders_of
from weightslab.ledger.compaction.compactor import Compactor, Merged
from weightslab.ledger.edits.beacon import Beacon
from weightslab.ledger.files import Files, Lock
from weightslab.ledger.layout import Layout, current_ranges, superseded_ranges
from weightslab.ledger.log.frames import next_number
from weightslab.ledger.log.records import CHANGE, encode_change
from weightslab.ledger.log.wal import LogWriter
from weightslab.ledger.options import LedgerOptions
from weightslab.ledger.publish import Publisher
from weightslab.ledger.recovery import Recovered, is_damage, load_writer
from weightslab.ledger.store import Store
from weightslab.notices import Notices

__all__ = ["EDIT_NOTICE", "Writer"]

EDIT_NOTICE = "edits"
"""What is said of edits that wait in memory is said again after the log was whole."""


class Writer:
    """Logs and publishes what happens to one store.

    `log` is called under the store's lock; `publish`, `tick` and `finish` by one
    thread at a time; `sync` by any. `follow` takes in what other writers did.
    """

    def __init__(
        self,
        store: Store,
        layout: Layout,
        *,
        rank: int,
        files: Files,
        options: LedgerOptions,
        notices: Notices,
        on_damage: Callable[[str, OSError], None],
        follow: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._layout = layout
        self._rank = rank
        self._files = files
        self._options = options
        self._notices = notices
        self._on_damage = on_damage
        self._follow = follow
        self._lock: Lock | None = None
        self._wal: LogWriter | None = None
        self._publisher: Publisher | None = None
        self._compactor: Compactor | None = None
        self._beacon: Beacon | None = None
        self._unannounced = 0
        """Number of the last edit that others cannot find yet; 0 for none."""
        self.rest = RLock()
        """Held while a file is written: a fork waits for it. Taken before the store's lock."""
        self._unlogged_lsn = 1
        self.gap = False
        """Whether the log lacks records that no file holds yet: it waits for a publish."""
        self._refused = False
        """Whether the disk refused something since the last publish."""
        self.name: str | None = None
        """ "<rank>-<n>" once the folder could be claimed."""

    # -- the folder ------------------------------------------------------------

    def attach(self, *, fresh: bool, claim: Claim | None = None) -> bool:
        """Claim a writer and take up what it left; False (said once) when the disk refuses.

        `fresh` claims one that never wrote: this process has made rows of its own by now.
        `claim` is that of a writer that is ours already. After False the store may hold a part
        of what was left: nothing can be done with it.
        """
        layout = self._layout
        lock = None
        try:
            claim = claim or claim_writer(self._files, layout, self._rank, fresh=fresh)
            lock = claim.lock
            clear_temporary(self._files, layout)
            number = next_number(layout.log(claim.writer))
            found = Recovered(self.next_lsn, 1) if fresh else self._take_up(claim.writer)
        except (OSError, MemoryError) as error:
            if lock is not None:
                lock.release()
            self.disk_failed(error if isinstance(error, OSError) else OSError(repr(error)))
            return False
        for path in found.unreadable_logs:
            self._set_aside(path)
        self._lock = claim.lock
        self.name = claim.writer
        self._beacon = Beacon(self._files, layout.log(claim.writer))
        self._publisher = Publisher(
            self._files, layout, claim.writer, self._store, found, self.rest
        )
        self._compactor = Compactor(self._store, layout, self._files, self._notices, self.rest)
        self._wal = LogWriter(
            self._files,
            layout.log(claim.writer),
            next_lsn=found.next_lsn,
            file_bytes=self._options.log_bytes,
            context=self._context,
            first_number=number,
            older=found.logs,
            # Of a process that was killed: what it wrote is in memory, not on the disk yet.
            unsynced=folders_of(layout, claim.writer) if found.logs else (),
        )
        return True

    def _take_up(self, writer: str) -> Recovered:
        """Load what a writer left into the store, and put its folders in order.

        A damaged segment leaves the tree: the log may hold the same rows, and they are written
        again. So does any file that stands in the way of those it was merged of. Raises OSError
        where a file cannot be read that may be whole.
        """

        def damaged(path: str, error: OSError) -> None:
            if not is_damage(error):
                raise error
            self._on_damage(path, error)

        found = load_writer(self._layout, writer, self._store, damaged)
        for path in found.left_out:
            if self._layout.root / "history" not in path.parents and not superseded_ranges(
                path.parent
            ):
                continue
            target = _free(self._layout.damaged / path.relative_to(self._layout.root))
            self._files.make_folder(target.parent)
            self._files.rename(path, target)
            self._files.sync_folder(target.parent)
            self._files.sync_folder(path.parent)
        self._remove_superseded(writer)
        return found

    def _remove_superseded(self, writer: str) -> None:
        """Remove what a kill left between a merge and the end of its inputs."""
        for folder in self._layout.published(writer):
            whole: dict[Path, bool] = {}
            current = current_ranges(folder)
            for found in superseded_ranges(folder):
                cover = next(c for c in current if c.first <= found.first and found.last <= c.last)
                if cover.path not in whole:
                    whole[cover.path] = _is_whole(cover.path)
                if not whole[cover.path]:
                    continue
                try:
                    self._files.remove(found.path)
                except OSError as error:
                    self.disk_failed(error)
                    return

    def _set_aside(self, path: Path) -> None:
        """Keep a log file that cannot be read out of the way: its numbers are given again."""
        try:
            self._files.rename(path, path.with_suffix(".damaged"))
        except OSError as error:
            self.disk_failed(error)

    @property
    def attached(self) -> bool:
        """Whether the folder could be claimed."""
        return self._wal is not None

    def _context(self) -> tuple[int, bytes]:
        store = self._store
        op = {
            "op": "context",
            "signals": store.signals,
            "hash": store.experiment_hash,
            "launch": store.launch,
        }
        return CHANGE, encode_change(op)

    def disk_failed(self, error: OSError) -> None:
        """Say once that the disk refuses; again only after it took everything for a while."""
        self._refused = True
        self._notices.warn_once(
            "disk",
            f"{self._layout.root} cannot be written ({error}): training goes on, values wait in "
            f"memory and are written as soon as the disk takes them",
        )

    # -- the log -----------------------------------------------------------------

    @property
    def next_lsn(self) -> int:
        """Number that the next record gets, unless the log begins a new file with it."""
        return self._unlogged_lsn if self._wal is None else self._wal.next_lsn

    def log(self, kind: int, payload: bytes) -> int:
        """Log a record and give its number; while the disk refuses it is only numbered.

        After a gap nothing is logged until everything before it is in files: a value in
        the log must never speak of a sample that is not.
        """
        wal = self._wal
        if wal is None:
            self.gap = True
            self._unlogged_lsn += 1
            return self._unlogged_lsn - 1
        if not self.gap:
            try:
                return wal.append(kind, payload)
            except OSError as error:
                self.gap = True
                self.disk_failed(error)
        wal.next_lsn += 1
        return wal.next_lsn - 1

    def announce(self, lsn: int) -> None:
        """Let other processes know of an edit, once they can find it in the log or in files."""
        self._unannounced = lsn
        if self._beacon is not None and not self.gap:
            try:
                self._beacon.show(lsn)
                self._unannounced = 0
            except OSError as error:
                self.disk_failed(error)

    def sync(self) -> None:
        """Flush the log to the disk."""
        try:
            if self._wal is not None:
                self._wal.sync()
        except OSError as error:
            # What a disk refused to sync once it may have dropped, whatever it says next:
            # nothing is logged behind that until files hold it.
            self.gap = True
            self.disk_failed(error)

    # -- the files ----------------------------------------------------------------

    def tick(self) -> None:
        """What is due between flushes.

        Claim the folder, take up latest values, sync the log, take in what others edited.
        """
        if self._wal is not None or self.attach(fresh=True):
            self._store.drain()
            self.sync()
            self._follow()

    def publish(self, *, bases: bool) -> bool:
        """Turn everything that is logged into files; False (said once) when the disk refuses."""
        wal, publisher = self._wal, self._publisher
        if wal is None or publisher is None:
            return False
        try:
            # No file says what the log on the disk does not: else a power loss would keep
            # a part of a step.
            lsn = publisher.flush(lambda: wal.next_lsn - 1, self.sync)
            if self.gap:
                # What came meanwhile, with training held up: then the log is whole again.
                with self.rest, self._store.lock:
                    lsn = publisher.flush(lambda: wal.next_lsn - 1)
                    wal.settle()
                    self.gap = False
                self._notices.forget(EDIT_NOTICE)
            if bases:
                publisher.bases(lsn)
            with self._store.lock:
                wal.retire(lsn)
                if self._unannounced:
                    self.announce(self._unannounced)
            wal.sync()
        except OSError as error:
            self.disk_failed(error)
            return False
        if not self._refused:
            self._notices.forget("disk")
        self._refused = False
        return True

    def compact(self) -> None:
        """Start or end what is to be merged in the background; never waits for it."""
        if self._compactor is not None and self._publisher is not None and self.name:
            self._compactor.tick(self.name, self._publisher.covered)

    def compact_now(
        self, *, archive: bool, on_merge: Callable[[Path], None] = lambda _: None
    ) -> Merged:
        """Merge on this thread whatever is due; what fails is said, and the rest is merged.

        `on_merge` is called with the file of each.

        Raises OSError when the folder could not be claimed.
        """
        compactor, publisher = self._compactor, self._publisher
        if compactor is None or publisher is None or not self.name:
            raise OSError(f"{self._layout.root} cannot be written")
        return compactor.run(self.name, publisher.covered, archive=archive, on_merge=on_merge)

    def finish(self) -> bool:
        """Publish the last, remove the log and let the folder go; False when the log stays."""
        try:
            if self._compactor is not None:
                self._compactor.stop()
        except Exception as error:  # noqa: BLE001  # merging must not cost the last flush
            self._notices.warn_once("compaction", f"merging could not be ended: {error!r}")
        try:
            # Twice: it is the last chance, and a disk may have refused a single time.
            published = (self.attached or self.attach(fresh=True)) and (
                self.publish(bases=True) or self.publish(bases=True)
            )
        except Exception as error:  # noqa: BLE001  # the last chance to say it, and to let go
            published = False
            self._notices.warn_once("close", f"closing {self._layout.root} failed: {error!r}")
        try:
            if self._wal is not None and published:
                self._wal.finish()
            elif self._wal is not None:
                self._wal.abandon()
        except OSError as error:
            self.disk_failed(error)
        if not published and self._store.has_pending():
            self._notices.warn_once(
                "unpublished",
                f"not everything could be written to {self._layout.root}: what reached its log "
                f"is read from there, what did not is lost ({self._store.tail_rows} values and "
                f"{len(self._store.pending.journal)} edits wait)",
            )
        self.disown()
        return published

    def disown(self) -> None:
        """Let the lock go; in a forked child this closes only its copy."""
        if self._compactor is not None:
            self._compactor.disown()
        if self._beacon is not None:
            self._beacon.close()
        if self._lock is not None:
            self._lock.release()


def _free(path: Path) -> Path:
    """A path, numbered where it is taken."""
    free, number = path, 0
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def _is_whole(path: Path) -> bool:
    """Whether every page of a Parquet file agrees with its checksum."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                file.read_row_group(group, use_threads=False)
    except (OSError, ValueError):
        return False
    return True
