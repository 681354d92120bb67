"""The compactor of one writer: it merges what the flushes left, apart from flushing.

The merging itself happens in a child process of lowest priority (`process`), which only
makes unfinished files. Giving them their names is done here, in numbered steps:

    1 the merged file gets its name, and its folder is synced
    2 readers of this process see it instead of its inputs
    3 the inputs are removed, each as soon as nobody reads it

A file that lies inside another one's range is superseded, so a process that dies between any
two steps leaves nothing lost and nothing twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import RLock
from typing import Any

import pyarrow.parquet as pq

from weightslab.ledger.compaction.child import Child
from weightslab.ledger.compaction.plan import ARCHIVE, MergeJob, Piece, due_jobs, most_rows
from weightslab.ledger.files import Files
from weightslab.ledger.history.partitions import Segment
from weightslab.ledger.history.segments import read_footer
from weightslab.ledger.layout import FileRange, Layout, current_ranges
from weightslab.ledger.store import Store
from weightslab.notices import Notices

__all__ = ["Compactor"]

_BATCH = 16
"""Most jobs of one child process."""
_MOST_DEATHS = 3
"""How often a job is tried again after the child died over it."""


class Compactor:
    """Keeps the number of files of one writer small. Used by one thread at a time.

    `rest` is held while a file gets its name: a fork waits for it.
    """

    def __init__(
        self,
        store: Store,
        layout: Layout,
        files: Files,
        notices: Notices,
        rest: RLock,
    ) -> None:
        self._store = store
        self._layout = layout
        self._files = files
        self._notices = notices
        self._rest = rest
        self._child: Child | None = None
        self._tiers: dict[Path, int] = {}
        self._rows: dict[Path, int] = {}
        self._given_up: set[Path] = set()
        """Inputs that could not be merged: they stay as they are."""
        self._deaths: Counter[Path] = Counter()

    # -- what is due --------------------------------------------------------

    def _partitions(self, writer: str, covered: int) -> list[tuple[str, Sequence[Piece]]]:
        """Kind and mergeable files of every partition, oldest first.

        Of samples and instances those that the snapshot of latest values covers: it is
        brought up to date from the segments behind it, in the order in which they were saved,
        which a merged one does not keep.
        """
        with self._store.lock:
            found: list[tuple[str, Sequence[Piece]]] = [
                (
                    key.kind,
                    [s for s in partition.segments if key.kind == "global" or s.lsn <= covered],
                )
                for key, partition in self._store.history.partitions.items()
            ]
        found.append(("journal", self._pieces(self._layout.journal(writer))))
        arrays = self._layout.family("arrays", writer)
        found.append(("arrays", [self._counted(piece) for piece in self._pieces(arrays)]))
        return [
            (kind, pieces)
            for kind, pieces in found
            if not any(piece.path in self._given_up for piece in pieces)
        ]

    def _pieces(self, folder: Path) -> list[_Whole]:
        return [_Whole(found, self._tier(found)) for found in current_ranges(folder)]

    def _counted(self, piece: _Whole) -> _Whole:
        """A file whose rows count, since merging takes memory for each."""
        rows = self._rows.get(piece.path)
        if rows is None:
            try:
                rows = pq.read_metadata(piece.path).num_rows
            except (OSError, ValueError):
                rows = most_rows("arrays") + 1  # damaged: it stays as it is
            self._rows[piece.path] = rows
        piece.rows = rows
        return piece

    def _tier(self, found: FileRange) -> int:
        """Tier of a file that no partition knows; what a flush left is tier 0 until archived."""
        tier = self._tiers.get(found.path)
        if tier is None and found.first == found.last:
            return 0
        if tier is None:
            tier = self._tiers[found.path] = int(read_footer(found.path).get("tier", 0))
        return tier

    # -- in the background --------------------------------------------------

    def tick(self, writer: str, covered: int) -> None:
        """Publish what the child has merged; start one when something is due.

        Args:
            covered: number of the last record that the snapshot of latest values holds.
        """
        self._remove_retired()
        if self._child is not None:
            if not self._child.finished:
                return
            child, self._child = self._child, None
            results = child.results()
            for job, result in results:
                self._take(job, result)
            for job in child.jobs[len(results) : len(results) + 1]:
                self._died_over(job)
            self._remove_retired()
        jobs = due_jobs(self._partitions(writer, covered))[:_BATCH]
        if jobs:
            self._start(jobs)

    def _start(self, jobs: list[MergeJob]) -> None:
        try:
            self._files.make_folder(self._layout.temporary)
            self._child = Child(jobs, self._layout.temporary)
        except OSError as error:
            self._failed(jobs[0], str(error))

    def _take(self, job: MergeJob, result: dict[str, Any]) -> None:
        if "error" in result:
            self._given_up.update(job.inputs)
            self._failed(job, result["error"])
            return
        path = Path(result["path"])
        try:
            self._publish(job, path, result["rows"])
        except OSError as error:
            self._failed(job, str(error))
            self._files.remove(path)

    def _died_over(self, job: MergeJob) -> None:
        """The child ended in the middle of a job: killed, or out of memory."""
        self._deaths[job.target] += 1
        if self._deaths[job.target] >= _MOST_DEATHS:
            self._given_up.update(job.inputs)
            self._failed(job, f"the process that merges them died {_MOST_DEATHS} times")

    def _failed(self, job: MergeJob, why: str) -> None:
        self._notices.warn_once(
            "compaction",
            f"files in {job.target.parent} could not be merged ({why}): they stay as they are, "
            f"nothing is lost",
        )

    # -- on this thread -----------------------------------------------------

    def run(
        self,
        writer: str,
        covered: int,
        *,
        archive: bool,
        on_merge: Callable[[Path], None] = lambda _: None,
    ) -> int:
        """Merge everything that is due, now; gives the number of merges.

        `archive`: of each partition one file, of the smallest form.

        Raises OSError or ValueError when the disk refuses or a file is damaged.
        """
        self.stop()
        done = 0
        while jobs := self._wanted(writer, covered, archive):
            for job in jobs:
                self._publish_on(job)
                done += 1
                on_merge(job.target)
        return done

    def _wanted(self, writer: str, covered: int, archive: bool) -> list[MergeJob]:
        partitions = self._partitions(writer, covered)
        if not archive:
            return due_jobs(partitions)
        return [
            MergeJob.of(kind, pieces, ARCHIVE)
            for kind, pieces in partitions
            if pieces
            and [piece.tier for piece in pieces] != [ARCHIVE]
            and (kind != "global" or sum(piece.rows for piece in pieces) <= most_rows(kind))
        ]

    def _publish_on(self, job: MergeJob) -> None:
        with self._files.unfinished(self._layout.temporary, job.target.name) as path:
            with self._files.open_new(path) as stream:
                rows = job.write(stream)
                stream.flush()
                self._files.sync(stream.fileno())
            self._publish(job, path, rows)
        self._remove_retired()

    # -- publishing ---------------------------------------------------------

    def _publish(self, job: MergeJob, path: Path, rows: int) -> None:
        with self._rest:
            self._files.take_place(path, job.target)
        self._tiers[job.target] = job.tier
        self._show(job, rows)
        self._store.pins.retire(path for path in job.inputs if path != job.target)

    def _show(self, job: MergeJob, rows: int) -> None:
        """Let readers of this process see the merged segment instead of its inputs."""
        inputs = set(job.inputs)
        with self._store.lock:
            if job.kind == "arrays":
                self._store.arrays.merged(job.inputs, job.target)
                return
            for partition in self._store.history.partitions.values():
                held = [s for s in partition.segments if s.path in inputs]
                if held:
                    first, last = held[0], held[-1]
                    merged = Segment(
                        job.target,
                        first.first,
                        last.last,
                        last.lsn,
                        rows,
                        max(s.samples for s in held),
                        job.tier,
                    )
                    partition.merged(held, merged)
                    break

    def _remove_retired(self) -> None:
        refusal = self._store.pins.release(self._remove)
        if refusal is not None:
            # Every reader leaves superseded files out.
            self._notices.warn_once(
                "superseded", f"merged files could not be removed yet ({refusal}): they take room"
            )

    def _remove(self, path: Path) -> None:
        with self._rest:
            self._files.remove(path)

    def stop(self) -> None:
        """End the child; what it was merging is merged another time."""
        child, self._child = self._child, None
        if child is not None:
            child.end(self._files)
        self._remove_retired()

    def disown(self) -> None:
        """In a forked child: the merging process is the parent's."""
        if self._child is not None:
            self._child.disown()
        self._child = None


class _Whole:
    """A file of a family that is merged as a whole."""

    def __init__(self, found: FileRange, tier: int) -> None:
        self.path, self.first, self.last = found.path, found.first, found.last
        self.tier = tier
        self.rows = 0
