"""What a check found: values that a person reads as lines and a program as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

__all__ = ["KINDS", "Finding", "Kind", "Report", "WriterState"]

Mend = Literal["set aside", "remove", "rebuild", "publish", "claim"]
"""What a repair does about a finding: move the file to `_damaged`, remove a file that
holds nothing of its own, write it anew, turn logs into files, make a writer known."""


class Kind(NamedTuple):
    """One kind of finding."""

    heading: str
    is_problem: bool
    mend: Mend | None = None


KINDS: dict[str, Kind] = {
    "format": Kind("no ledger that can be read", True),
    "ledger": Kind("ledger.json damaged", True, "rebuild"),
    "unreadable": Kind("cannot be read", True),
    "parquet": Kind("damaged Parquet", True, "set aside"),
    "footer": Kind("Parquet without the ledger's own metadata", True, "set aside"),
    "schema": Kind("Parquet with other columns", True, "set aside"),
    "order": Kind("Parquet whose rows are out of order", True, "set aside"),
    "place": Kind("Parquet in a folder that is not its own", True),
    "overlap": Kind("files whose numbers contradict each other", True),
    "log": Kind("damaged logs", True, "publish"),
    "log-file": Kind("logs that cannot be read", True, "set aside"),
    "rows": Kind("rows without an id", True, "publish"),
    "ids": Kind("gaps between ids", True, "publish"),
    "writer": Kind("writers that no reader would find", True, "claim"),
    "registry": Kind("registries", True, "rebuild"),
    "json": Kind("damaged JSON", True, "set aside"),
    "waiting": Kind("records that wait in a log", False, "publish"),
    "superseded": Kind("left over: merged into a larger file", False, "remove"),
    "temporary": Kind("left over: unfinished files", False, "remove"),
    "aside": Kind("set aside by an earlier repair", False),
    "unknown": Kind("not the ledger's own", False),
}
"""Every kind of finding, in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found."""

    kind: str
    path: str
    """Inside the run folder, parts separated by "/"."""
    text: str
    size_bytes: int = 0
    writer: str | None = None
    """The writer whose part of the folder it is; None for what they share."""

    @property
    def is_problem(self) -> bool:
        """Whether something is wrong; False for what is only said."""
        return KINDS[self.kind].is_problem

    @property
    def mend(self) -> Mend | None:
        """What a repair does about it; None when only a person can decide."""
        return KINDS[self.kind].mend


@dataclass(frozen=True, slots=True)
class WriterState:
    """One writer of the folder."""

    name: str
    is_living: bool
    """Whether a process holds its lock."""
    samples: int
    """Rows that its ids files and logs name."""
    waiting: int
    """Records in its logs."""


@dataclass(slots=True)
class Report:
    """Everything that a check found."""

    root: str
    files: int = 0
    size_bytes: int = 0
    writers: list[WriterState] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def problems(self) -> list[Finding]:
        """The findings that are wrong."""
        return [f for f in self.findings if f.is_problem]

    @property
    def living(self) -> list[str]:
        """Writers that a process holds."""
        return [w.name for w in self.writers if w.is_living]

    def of(self, *kinds: str) -> list[Finding]:
        """The findings of some kinds."""
        return [f for f in self.findings if f.kind in kinds]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values; names stay as they are from version to version."""
        return {
            "version": 1,
            "root": self.root,
            "clean": not self.problems,
            "files": self.files,
            "size_bytes": self.size_bytes,
            "writers": [asdict(writer) for writer in self.writers],
            "findings": [
                {**asdict(f), "is_problem": f.is_problem, "mend": f.mend} for f in self.findings
            ],
        }
