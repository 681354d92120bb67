"""What a merging process is asked to do, and what it left: jobs, files, a file of results.

Results come by a file and not by a pipe: whatever is forked or printed meanwhile cannot hold
it open or write into it. All names are chosen here, by whoever starts the process, so that
everything can be found and removed however it ended.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weightslab.ledger.compaction.attempt import Outcome, merge_to
from weightslab.ledger.compaction.plan import MergeJob
from weightslab.ledger.files import Files
from weightslab.ledger.unfinished import unfinished_name

__all__ = ["Order", "carry_out"]


class Order:
    """Jobs for a merging process, which makes its files in `folder`."""

    def __init__(self, jobs: Sequence[MergeJob], folder: Path) -> None:
        self.jobs = jobs
        folder = folder.absolute()
        self._paths = [folder / unfinished_name(job.target.name) for job in jobs]
        self._results = folder / unfinished_name("results")

    def words(self) -> dict[str, Any]:
        """The order as JSON can carry it."""
        return {
            "jobs": [job.words() for job in self.jobs],
            "paths": [str(path) for path in self._paths],
            "results": str(self._results),
        }

    def outcomes(self) -> list[tuple[MergeJob, Path, Outcome]]:
        """What became of the jobs, and each merged file; without those that were not done."""
        try:
            # What stands behind the last end of a line was cut off.
            *lines, _ = self._results.read_bytes().split(b"\n")
        except OSError:
            return []
        found = []
        for job, path, line in zip(self.jobs, self._paths, lines, strict=False):
            try:
                found.append((job, path, Outcome.restore(json.loads(line))))
            except (ValueError, KeyError, TypeError):
                break
        return found

    def clear(self, files: Files) -> None:
        """Remove whatever was left, once the process has ended."""
        for path in (*self._paths, self._results):
            # Or it goes when this process is gone.
            with contextlib.suppress(OSError):
                files.remove(path)


def carry_out(words: dict[str, Any], files: Files) -> None:
    """Do what an order says, one job after the other. Raises OSError for want of results."""
    with files.open_new(Path(words["results"])) as results:
        for job, path in zip(words["jobs"], words["paths"], strict=True):
            outcome = merge_to(Path(path), MergeJob.restore(job), files)
            results.write(json.dumps(outcome.words()).encode() + b"\n")
            results.flush()
