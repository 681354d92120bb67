"""Which files are merged, and how: tiers of files that a writer left one after the other.

A flush leaves files of tier 0. As soon as `fan` of one tier stand side by side, the oldest of
them become one of the next tier: a row is rewritten once a tier, and a partition has at most
`fan` files of each. Nothing is merged beyond a number of rows, so that a job ends within
seconds and a process that is killed again and again still gets on.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from weightslab.ledger.arrays.merge import merge_arrays
from weightslab.ledger.edits.journal import merge_journals
from weightslab.ledger.history.merge import merge_segments

__all__ = [
    "ARCHIVE",
    "FAN",
    "MOST_INPUTS",
    "MergeJob",
    "Piece",
    "archive_jobs",
    "between",
    "due_jobs",
    "due_run",
    "merged_name",
    "most_rows",
]

FAN = 8
"""Files of one tier that make a merge due."""
ARCHIVE = 99
"""Tier of what was archived: it is merged no more."""
MOST_ROWS = {"global": 1 << 20, "arrays": 8 << 20}
"""Rows beyond which files of a kind are not merged: a curve is folded in memory, and of arrays
the keys are sorted there, about 60 bytes each."""
MOST_ROWS_ELSE = 64 << 20
MOST_INPUTS = 64
"""Files that one job opens: a process has about a thousand descriptors."""
_LEVEL = {ARCHIVE: 9}
"""zstd's level by tier, where it is not 1."""


class Piece(Protocol):
    """A published file of one partition."""

    @property
    def path(self) -> Path:
        """Where it lies."""

    @property
    def first(self) -> int:
        """First sequence number that it covers."""

    @property
    def last(self) -> int:
        """Last sequence number that it covers."""

    @property
    def rows(self) -> int:
        """Number of its rows."""

    @property
    def tier(self) -> int:
        """How often its rows were merged."""


P = TypeVar("P", bound=Piece)


def due_run(pieces: Sequence[P], most_rows: int, *, fan: int = FAN) -> list[P]:
    """The files to merge next, oldest first; empty when nothing is due.

    `pieces` stand in order of sequence. The lowest tier comes first: small jobs relieve most.
    """
    runs: list[list[P]] = [
        list(run) for _, run in itertools.groupby(pieces, key=lambda piece: piece.tier)
    ]
    for run in sorted(runs, key=lambda run: run[0].tier):
        if len(run) < fan or run[0].tier >= ARCHIVE:
            continue
        for start in range(len(run) - fan + 1):
            chosen = _within(run[start : start + fan], most_rows)
            if len(chosen) > 1:
                return chosen
    return []


def _within(run: Sequence[P], most_rows: int) -> list[P]:
    """The first of `run` that together have at most `most_rows`."""
    total = itertools.accumulate(piece.rows for piece in run)
    return [piece for piece, rows in zip(run, total, strict=True) if rows <= most_rows]


def merged_name(pieces: Sequence[Piece]) -> str:
    """Name of the file that covers all of `pieces`."""
    stem = pieces[0].path.name.partition("-")[0]
    return f"{stem}-{pieces[0].first:09d}-{pieces[-1].last:09d}.parquet"


@dataclass(frozen=True, slots=True)
class MergeJob:
    """One merge: which files, into which."""

    kind: str
    """A layer of history, "journal" or "arrays"."""
    inputs: tuple[Path, ...]
    """Oldest first, a contiguous run of one folder."""
    target: Path
    tier: int

    @classmethod
    def of(cls, kind: str, pieces: Sequence[Piece], tier: int | None = None) -> MergeJob:
        """Merge `pieces`, which stand one after the other; `tier` None: one above theirs."""
        # An archive among them does not make an archive of what a further merge will take.
        above = min(max(piece.tier for piece in pieces) + 1, ARCHIVE - 1)
        return cls(
            kind,
            tuple(piece.path for piece in pieces),
            pieces[0].path.with_name(merged_name(pieces)),
            above if tier is None else tier,
        )

    def write(self, stream: BinaryIO) -> int:
        """Write the merged file; gives its number of rows. Raises OSError or ValueError."""
        if self.kind == "journal":
            return merge_journals(self.inputs, stream, tier=self.tier)
        if self.kind == "arrays":
            return merge_arrays(self.inputs, stream, tier=self.tier)
        level = _LEVEL.get(self.tier, 1)
        return merge_segments(self.kind, self.inputs, stream, tier=self.tier, level=level)

    def words(self) -> dict[str, Any]:
        """The job as JSON can carry it."""
        return {
            "kind": self.kind,
            "inputs": [str(path) for path in self.inputs],
            "target": str(self.target),
            "tier": self.tier,
        }

    @classmethod
    def restore(cls, words: dict[str, Any]) -> MergeJob:
        """The job behind `words`."""
        inputs = tuple(Path(path) for path in words["inputs"])
        return cls(words["kind"], inputs, Path(words["target"]), words["tier"])


def most_rows(kind: str) -> int:
    """Rows beyond which files of a kind are not merged."""
    return MOST_ROWS.get(kind, MOST_ROWS_ELSE)


def between(pieces: Sequence[P], borders: Container[Path]) -> list[list[P]]:
    """The runs of `pieces` between files that must stay as they are."""
    runs = itertools.groupby(pieces, key=lambda piece: piece.path in borders)
    return [list(run) for stays, run in runs if not stays]


def due_jobs(partitions: Iterable[tuple[str, Sequence[Piece]]]) -> list[MergeJob]:
    """What is due in each of (kind, files), the smallest first."""
    due = []
    for kind, pieces in partitions:
        run = due_run(pieces, most_rows(kind))
        if run:
            due.append((sum(piece.rows for piece in run), MergeJob.of(kind, run)))
    return [job for _, job in sorted(due, key=lambda entry: entry[0])]


def archive_jobs(kind: str, pieces: Sequence[Piece]) -> list[MergeJob]:
    """The next step to one archived file of `pieces`; empty when they are one.

    A job opens at most `MOST_INPUTS` files: of more, larger ones are made first. What must
    be merged in memory becomes as few files as its bound allows.
    """
    bound = MOST_ROWS.get(kind)
    groups: list[list[Piece]] = []
    rows = 0
    for piece in pieces:
        rows += piece.rows
        if not groups or len(groups[-1]) == MOST_INPUTS or (bound is not None and rows > bound):
            groups.append([])
            rows = piece.rows
        groups[-1].append(piece)
    if len(pieces) > MOST_INPUTS and len(groups) < len(pieces):
        return [MergeJob.of(kind, group) for group in groups if len(group) > 1]
    return [
        MergeJob.of(kind, group, ARCHIVE)
        for group in groups
        if len(group) > 1
        or (group[0].tier != ARCHIVE and (bound is None or group[0].rows <= bound))
    ]
