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

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

from weightslab.ledger.compaction.attempt import Outcome, merge_to
from weightslab.ledger.compaction.child import Child, Merging
from weightslab.ledger.compaction.order import Order
from weightslab.ledger.compaction.pauses import Pauses
from weightslab.ledger.compaction.plan import MergeJob, Piece, archive_jobs, between, due_jobs
from weightslab.ledger.compaction.whole import WholeFiles
from weightslab.ledger.files import Files
from weightslab.ledger.history.partitions import Segment
from weightslab.ledger.layout import Layout
from weightslab.ledger.store import Store
from weightslab.notices import Notices

__all__ = ["Compactor", "Merged"]

_BATCH = 16
"""Most jobs of one child process."""
_MANY_DEATHS = 3
"""Deaths of the child over one job that are worth a word."""
_STARTING = "starting"


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of merging everything that was due."""

    merges: int
    failures: int
    """Jobs that were refused, and files that are damaged: `Notices` says which."""


class Compactor:
    """Keeps the number of files of one writer small. Used by one thread at a time.

    What the disk refuses is tried again, after growing pauses; a file that is damaged stays
    as it is, and what stands before and behind it is merged apart.

    `rest` is held while a file gets its name: a fork waits for it. `start` has an order
    carried out beside this thread.
    """

    def __init__(
        self,
        store: Store,
        layout: Layout,
        files: Files,
        notices: Notices,
        rest: RLock,
        *,
        start: Callable[[Order, RLock], Merging] = Child,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._layout = layout
        self._files = files
        self._notices = notices
        self._rest = rest
        self._start_child = start
        self._child: Merging | None = None
        self._order = Order([], layout.temporary)
        """What the child was asked to do."""
        self._whole = WholeFiles(self._damaged)
        self._pauses = Pauses(clock)
        """Of folders in which a merge was refused."""
        self._given_up: set[Path] = set()
        """Damaged files: they stay as they are."""
        self._failures = 0

    # -- what is due --------------------------------------------------------

    def _partitions(self, writer: str, covered: int) -> list[tuple[str, Sequence[Piece]]]:
        """Kind and mergeable files of every partition, oldest first, in runs between damage.

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
        families = (
            ("journal", self._layout.journal(writer)),
            ("arrays", self._layout.family("arrays", writer)),
        )
        found += [(kind, self._whole.of(kind, folder)) for kind, folder in families]
        return [(kind, run) for kind, all_ in found for run in between(all_, self._given_up)]

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
            self._child = None
            self._take_outcomes(self._order)
            self._remove_retired()
        if self._pauses.waits(_STARTING):
            return
        due = due_jobs(self._partitions(writer, covered))
        jobs = [job for job in due if not self._pauses.waits(job.target.parent)]
        if jobs:
            self._start(jobs[:_BATCH])

    def _start(self, jobs: list[MergeJob]) -> None:
        self._order = Order(jobs, self._layout.temporary)
        try:
            with self._rest:
                self._files.make_folder(self._layout.temporary)
            self._child = self._start_child(self._order, self._rest)
        except OSError as error:
            self._pauses.failed(_STARTING)
            self._say_refused(self._layout.root, f"the process that merges cannot start: {error}")
        else:
            self._pauses.passed(_STARTING)

    def _take_outcomes(self, order: Order) -> None:
        """Take in what a child did that has ended, and remove what is left of it."""
        outcomes = order.outcomes()
        try:
            for job, path, outcome in outcomes:
                self._take(job, path, outcome)
            for job in order.jobs[len(outcomes) : len(outcomes) + 1]:
                # It ended in the middle of this one: killed, or out of memory.
                deaths = self._pauses.failed(job.target.parent)
                if deaths >= _MANY_DEATHS:
                    self._say_refused(
                        job.target.parent, f"the process that merges died {deaths} times"
                    )
        finally:
            order.clear(self._files)

    def _take(self, job: MergeJob, path: Path, outcome: Outcome) -> bool:
        """Publish what was merged, or say why not; whether it is published."""
        for damaged in outcome.damaged:
            self._damaged(damaged, outcome.error)
        if outcome.damaged:
            return False
        error = outcome.error
        if not error:
            try:
                self._publish(job, path, outcome.rows)
            except OSError as refusal:
                error = str(refusal)
        folder = job.target.parent
        if error:
            self._pauses.failed(folder)
            self._say_refused(folder, error)
        else:
            self._pauses.passed(folder)
        return not error

    def _damaged(self, path: Path, why: Exception | str) -> None:
        self._given_up.add(path)
        self._failures += 1
        self._notices.warn_once(
            ("compaction", str(path)),
            f"{path} could not be merged ({why}): it stays as it is, and the files beside it are "
            f"merged without it",
        )

    def _say_refused(self, folder: Path, why: str) -> None:
        self._failures += 1
        self._notices.warn_once(
            "compaction",
            f"files in {folder} could not be merged ({why}): they stay as they are, nothing is "
            f"lost, and it is tried again",
        )

    # -- on this thread -----------------------------------------------------

    def run(
        self,
        writer: str,
        covered: int,
        *,
        archive: bool,
        on_merge: Callable[[Path], None] = lambda _: None,
    ) -> Merged:
        """Merge everything that is due, now. What fails is said, and the rest is merged.

        `archive`: of each partition one file, of the smallest form.
        """
        self.stop()
        merges, self._failures = 0, 0
        refused: set[Path] = set()
        for wanted in (due_jobs, _all_archived)[: 1 + archive]:
            while jobs := [
                job
                for job in wanted(self._partitions(writer, covered))
                if job.target.parent not in refused
            ]:
                for job in jobs:
                    if self._publish_on(job):
                        merges += 1
                        on_merge(job.target)
                    elif not self._given_up.intersection(job.inputs):
                        refused.add(job.target.parent)
        return Merged(merges, self._failures)

    def _publish_on(self, job: MergeJob) -> bool:
        try:
            with self._files.unfinished(self._layout.temporary, job.target.name) as path:
                published = self._take(job, path, merge_to(path, job, self._files))
        except OSError as error:
            self._say_refused(job.target.parent, str(error))
            return False
        self._remove_retired()
        return published

    # -- publishing ---------------------------------------------------------

    def _publish(self, job: MergeJob, path: Path, rows: int) -> None:
        with self._rest:
            self._files.take_place(path, job.target)
        if job.kind in ("journal", "arrays"):
            self._whole.merged(job)
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
            child.end()
            self._order.clear(self._files)
        self._remove_retired()

    def disown(self) -> None:
        """In a forked child: the merging process is the parent's."""
        if self._child is not None:
            self._child.disown()
        self._child = None


def _all_archived(partitions: list[tuple[str, Sequence[Piece]]]) -> list[MergeJob]:
    return [job for kind, pieces in partitions for job in archive_jobs(kind, pieces)]
