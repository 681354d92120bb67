"""Families of files that no partition knows: they are listed, and their tiers kept in mind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from weightslab.ledger.compaction.attempt import is_damage
from weightslab.ledger.compaction.plan import MergeJob, most_rows
from weightslab.ledger.history.segments import read_footer
from weightslab.ledger.layout import FileRange, current_ranges

__all__ = ["Whole", "WholeFiles"]


class Whole:
    """A file of a family that is merged as a whole."""

    def __init__(self, found: FileRange, tier: int, rows: int) -> None:
        self.path, self.first, self.last = found.path, found.first, found.last
        self.tier = tier
        self.rows = rows


class WholeFiles:
    """The families "journal" and "arrays" of one writer.

    `on_damage` is told of a file that cannot be read: it is to be merged no more.
    """

    def __init__(self, on_damage: Callable[[Path, Exception], None]) -> None:
        self._on_damage = on_damage
        self._tiers: dict[Path, int] = {}
        self._rows: dict[Path, int] = {}

    def of(self, kind: str, folder: Path) -> list[Whole]:
        """Every file, oldest first; one that cannot be read for now has too many rows."""
        return [self._whole(kind, found) for found in current_ranges(folder)]

    def _whole(self, kind: str, found: FileRange) -> Whole:
        try:
            return Whole(found, self._tier(found), self._counted(kind, found.path))
        except Exception as error:  # noqa: BLE001  # damage has many classes
            too_many = most_rows(kind) + 1
            if is_damage(error):
                # Looked at once.
                self._tiers[found.path], self._rows[found.path] = 0, too_many
                self._on_damage(found.path, error)
            return Whole(found, 0, too_many)

    def _tier(self, found: FileRange) -> int:
        """What a flush left is tier 0, until archived."""
        tier = self._tiers.get(found.path)
        if tier is None and found.first == found.last:
            return 0
        if tier is None:
            tier = self._tiers[found.path] = int(read_footer(found.path).get("tier", 0))
        return tier

    def _counted(self, kind: str, path: Path) -> int:
        """Rows of arrays, since merging takes memory for each."""
        if kind != "arrays":
            return 0
        rows = self._rows.get(path)
        if rows is None:
            rows = self._rows[path] = int(pq.read_metadata(path).num_rows)
        return rows

    def merged(self, job: MergeJob) -> None:
        """Keep in mind what a job made, and forget what it replaced."""
        for path in job.inputs:
            self._tiers.pop(path, None)
            self._rows.pop(path, None)
        self._tiers[job.target] = job.tier
