"""One attempt at a merge, and what became of it: done, refused for now, or damaged for good."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weightslab.ledger.compaction.plan import MergeJob
from weightslab.ledger.files import Files

__all__ = ["Outcome", "is_damage", "merge_to"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job."""

    rows: int = 0
    error: str = ""
    """Why there is no merged file; empty: there is one."""
    damaged: tuple[Path, ...] = ()
    """Inputs that can never be merged; none: another attempt may succeed."""

    def words(self) -> dict[str, Any]:
        """The outcome as JSON can carry it."""
        damaged = [str(path) for path in self.damaged]
        return {"rows": self.rows, "error": self.error, "damaged": damaged}

    @classmethod
    def restore(cls, words: dict[str, Any]) -> Outcome:
        """The outcome behind `words`. Raises KeyError or TypeError for others."""
        return cls(words["rows"], words["error"], tuple(map(Path, words["damaged"])))


def is_damage(error: Exception) -> bool:
    """Whether an error is a file's own, and not one of the disk or of memory that may pass."""
    if isinstance(error, (MemoryError, FileNotFoundError)):
        return False
    # A page whose checksum is wrong is an OSError as well, but not one of the system's.
    return not (isinstance(error, OSError) and error.errno)


def merge_to(path: Path, job: MergeJob, files: Files) -> Outcome:
    """Write and sync the merged file of a job at `path`, which is new. Never raises."""
    try:
        with files.open_new(path) as stream:
            rows = job.write(stream)
            stream.flush()
            files.sync(stream.fileno())
    except Exception as error:  # noqa: BLE001  # damage has many classes; said by who asked
        with contextlib.suppress(OSError):
            files.remove(path)
        damaged = _damaged(job) if is_damage(error) else ()
        return Outcome(0, f"{type(error).__name__}: {error}", damaged)
    return Outcome(rows)


def _damaged(job: MergeJob) -> tuple[Path, ...]:
    """The inputs that cannot be merged even alone; all of them if it is only together."""
    found = []
    for path in job.inputs:
        try:
            with Path(os.devnull).open("wb") as nowhere:
                replace(job, inputs=(path,)).write(nowhere)
        except Exception as error:  # noqa: BLE001  # as above
            if not is_damage(error):
                return ()
            found.append(path)
    return tuple(found) or job.inputs
