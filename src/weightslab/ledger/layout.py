"""Where everything lies in a run folder, and how names become folder names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

__all__ = [
    "FORMAT_VERSION",
    "HIVE_NULL",
    "FileRange",
    "Kind",
    "Layout",
    "current_ranges",
    "folder_name",
    "superseded_ranges",
    "without_superseded",
]

FORMAT_VERSION = 2
"""Version of the folder's format, kept in `ledger.json`."""

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""What hive writes for a missing partition value; Polars, DuckDB and pyarrow read it as null."""

_MAX_NAME_BYTES = 120
_RANGE = re.compile(r"^(?P<stem>[a-z]+)-(?P<first>\d{9})-(?P<last>\d{9})\.parquet$")

Kind = str
"""One of "global", "sample", "instance": the three layers of history."""


def folder_name(name: str, *, distinct: bool = False) -> str:
    """Folder-safe form of a signal's name: percent-encoded, at most 120 bytes.

    `distinct` appends eight hexadecimal digits of the name: for names that are
    too long, or that differ from another one only by case.
    """
    encoded = quote(name, safe="")
    if not distinct and len(encoded) <= _MAX_NAME_BYTES:
        return encoded
    digits = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    prefix = encoded[: _MAX_NAME_BYTES - 9]
    return f"{re.sub('%.?$', '', prefix)}-{digits}"


@dataclass(frozen=True, slots=True)
class FileRange:
    """A Parquet file and the sequence numbers that it covers."""

    path: Path
    first: int
    last: int

    @classmethod
    def parse(cls, path: Path) -> FileRange | None:
        """Read the range off a file's name; None for a file that is not ours."""
        match = _RANGE.match(path.name)
        return cls(path, int(match["first"]), int(match["last"])) if match else None


def current_ranges(folder: Path, left_out: Collection[Path] = ()) -> list[FileRange]:
    """Files of a folder in order of sequence, without those that a merge superseded.

    `left_out` cannot be read: what was merged into those is current again.
    """
    listed = (path for path in _listed(folder) if path not in left_out)
    return without_superseded(r for r in map(FileRange.parse, listed) if r is not None)


def without_superseded(found: Iterable[FileRange]) -> list[FileRange]:
    """Ranges in order, without those that lie inside another one."""
    kept: list[FileRange] = []
    for candidate in sorted(found, key=lambda r: (r.first, -r.last)):
        if not kept or candidate.last > kept[-1].last:
            kept.append(candidate)
    return kept


def superseded_ranges(folder: Path) -> list[FileRange]:
    """Files of a folder whose rows stand in a merged one as well: a kill left them."""
    current = {found.path for found in current_ranges(folder)}
    found = (FileRange.parse(path) for path in _listed(folder))
    return [r for r in found if r is not None and r.path not in current]


def _listed(folder: Path) -> list[Path]:
    """Files of a folder at one moment.

    A folder is not listed at once: while a merge replaces files, one pass can miss both
    the inputs and the output. Two passes that agree missed nothing.
    """
    if not folder.is_dir():
        return []
    listed = sorted(folder.iterdir())
    while (again := sorted(folder.iterdir())) != listed:
        listed = again
    return listed


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one run folder."""

    root: Path

    @property
    def manifest(self) -> Path:
        """Format version and where the folder came from."""
        return self.root / "ledger.json"

    @property
    def tags(self) -> Path:
        """Registry of tags and their categories."""
        return self.root / "tags.json"

    @property
    def signals(self) -> Path:
        """Registry of signals: true name by folder name."""
        return self.root / "signals.json"

    @property
    def temporary(self) -> Path:
        """Unfinished files; inside the run folder, outside every Parquet tree."""
        return self.root / "_tmp"

    @property
    def damaged(self) -> Path:
        """What could not be read and was set aside, under the path that it had."""
        return self.root / "_damaged"

    @property
    def logs(self) -> Path:
        """Write-ahead logs, one folder per writer."""
        return self.root / "_wal"

    @property
    def launches(self) -> Path:
        """One small file per process group that trained."""
        return self.root / "launches"

    def log(self, writer: str) -> Path:
        """Log folder of a writer; it also holds the writer's lock."""
        return self.logs / writer

    def history(self, kind: Kind, experiment_hash: str | None, folder: str, writer: str) -> Path:
        """Folder of one partition of the history."""
        key = HIVE_NULL if experiment_hash is None else quote(experiment_hash, safe="")
        return (
            self.root
            / "history"
            / f"kind={kind}"
            / f"experiment_hash={key}"
            / f"signal={folder}"
            / f"writer={writer}"
        )

    def family(self, name: str, writer: str) -> Path:
        """Folder of one family of sample columns: signals, tags or arrays."""
        return self.root / "samples" / f"family={name}" / f"writer={writer}"

    def ids(self, writer: str) -> Path:
        """Folder of a writer's sample ids."""
        return self.root / "ids" / f"writer={writer}"

    def journal(self, writer: str) -> Path:
        """Folder of a writer's journal."""
        return self.root / "journal" / f"writer={writer}"

    def arrays(self, writer: str) -> Path:
        """Folder of a writer's large arrays."""
        return self.root / "arrays" / f"writer={writer}"

    def published(self, writer: str) -> list[Path]:
        """Every folder with numbered Parquet files of a writer."""
        folders = [self.ids(writer), self.journal(writer)]
        folders += [self.family(name, writer) for name in ("tags", "signals", "arrays")]
        folders.append(self.arrays(writer))
        folders += sorted((self.root / "history").glob(f"kind=*/*/*/writer={writer}"))
        return [folder for folder in folders if folder.is_dir()]

    def writers(self) -> list[str]:
        """Every writer that left a log folder, in order."""
        if not self.logs.is_dir():
            return []
        return sorted(p.name for p in self.logs.iterdir() if p.is_dir())
