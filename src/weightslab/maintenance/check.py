"""Is a run folder whole: every file read to its last byte, and nothing changed.

A folder that is being written is checked as well: what a living writer is in the
middle of is no problem.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from weightslab.errors import FolderError, LedgerFormatError
from weightslab.ledger.claim import check_format
from weightslab.ledger.files import Files
from weightslab.ledger.layout import FileRange, Layout, without_superseded
from weightslab.ledger.unfinished import is_left_over
from weightslab.maintenance.logs import Logs, LogState
from weightslab.maintenance.parquet import DamagedFileError, Inspected, inspect
from weightslab.maintenance.registries import Registries, misplaced, read_json
from weightslab.maintenance.report import Finding, Report, WriterState
from weightslab.maintenance.tree import Entry, Tree, walk

__all__ = ["Checked", "check", "open_tree"]

_HISTORY = ("sample", "instance", "global")
_NUMBERED = (*_HISTORY, "ids", "journal", "tags", "signals", "arrays")
"""What carries log numbers that rise from file to file; packs of large arrays are rewritten
in any order."""


@dataclass(slots=True)
class Checked:
    """A report, and what else a repair needs to know."""

    report: Report
    registries: Registries = field(default_factory=Registries)
    healthy: int = 0
    """Parquet files in which nothing was found."""


_OF_A_RUN = ("ledger.json", "_wal", "ids", "journal", "history", "samples")


def _runs_in(root: Path) -> str:
    """Which of its folders to name instead."""
    runs = sorted(path.parent.name for path in root.glob("*/ledger.json"))
    if not runs:
        return "name the folder that has a ledger.json"
    shown = ", ".join(runs[:5]) + (", ..." if len(runs) > 5 else "")
    return f"it holds the run{'s' * (len(runs) > 1)} {shown}: name one"


def open_tree(root: Path) -> Tree:
    """Everything in a folder that is to be checked.

    Raises:
        FolderError: it is no folder, or none that has anything of a run.
    """
    if not root.is_dir():
        raise FolderError(f"{root} is no folder: name a run folder")
    if not any((root / name).exists() for name in _OF_A_RUN):
        # Not walked: it may be the whole disk.
        raise FolderError(f"{root} holds no run itself: {_runs_in(root)}")
    tree = walk(root)
    holds_some = any(e.writer is not None or e.role == "manifest" for e in tree.entries)
    if not holds_some and not tree.unreadable:
        raise FolderError(f"{root} holds no run: name the folder that has a ledger.json")
    return tree


def check(
    tree: Tree,
    *,
    held: Collection[str] = (),
    on_file: Callable[[str], None] | None = None,
) -> Checked:
    """Check everything that `open_tree` found.

    Args:
        held: writers whose lock the caller holds: they are not living.
        on_file: called with the name of each file once it was looked at.
    """
    return _Check(tree, frozenset(held), on_file).run()


class _Check:
    """One pass over a folder."""

    def __init__(
        self, tree: Tree, held: frozenset[str], on_file: Callable[[str], None] | None
    ) -> None:
        self._tree = tree
        self._layout = Layout(tree.root)
        self._on_file = on_file
        self._report = Report(str(tree.root))
        self._checked = Checked(self._report)
        self._writers = tree.writers()
        files = Files()
        self._living = {
            w
            for w in self._writers
            if w not in held and files.is_locked(self._layout.log(w) / "lock")
        }
        self._logs: dict[str, LogState] = {}
        self._spoken: list[tuple[Entry, int]] = []
        """Files and one more than the highest row that each speaks of."""
        self._runs: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._published: dict[str, int] = defaultdict(int)
        """Number of the last record that some file of a writer holds."""

    def run(self) -> Checked:
        report = self._report
        for relative, error in self._tree.unreadable:
            self._find("unreadable", relative, error.strerror or str(error))
        if self._format():
            # Logs before what is made of them, and ids last: what is published meanwhile
            # then never seems to lack what it speaks of.
            logs = {w: Logs(self._layout.log(w)) for w in self._writers}
            self._parquet()
            for writer in self._writers:
                self._judge(writer, logs[writer])
            self._rows()
            for entry in self._tree.entries:
                self._other(entry)
            self._names()
        report.files = len(self._tree.entries)
        report.size_bytes = sum(entry.size_bytes for entry in self._tree.entries)
        return self._checked

    def _looked(self, entry: Entry) -> None:
        if self._on_file is not None:
            self._on_file(entry.relative)

    def _find(self, kind: str, where: Entry | str, text: str, *, writer: str | None = None) -> None:
        entry = where if isinstance(where, Entry) else None
        self._report.findings.append(
            Finding(
                kind,
                entry.relative if entry is not None else str(where),
                text,
                entry.size_bytes if entry is not None else 0,
                entry.writer if entry is not None else writer,
            )
        )

    def _format(self) -> bool:
        """Whether the rest can be understood."""
        try:
            if not check_format(self._layout):
                self._find(
                    "format",
                    "ledger.json",
                    "it is missing: a copy that did not finish, or no run; copy it again",
                )
        except LedgerFormatError as error:
            try:
                read_json(self._layout.manifest)["format_version"]
            except (ValueError, KeyError) as reason:
                self._find("ledger", "ledger.json", str(reason) or type(reason).__name__)
            else:
                self._find("format", "ledger.json", str(error))
                return False
        except OSError as error:
            self._find("unreadable", "ledger.json", str(error))
        return True

    def _judge(self, writer: str, logs: Logs) -> None:
        """What the logs of a writer hold, beside its files."""
        folder = self._layout.log(writer)
        if not folder.is_dir():
            self._find(
                "writer", f"_wal/{writer}", "files of this writer exist, its folder does not"
            )

        def damaged(kind: str, path: Path, text: str) -> None:
            relative = path.relative_to(self._tree.root).as_posix()
            size = path.stat().st_size if path.is_file() else 0
            self._report.findings.append(Finding(kind, relative, text, size, writer))

        self._logs[writer] = state = logs.judge(self._published[writer], damaged)
        if state.waiting and writer not in self._living:
            self._find(
                "waiting",
                f"_wal/{writer}",
                f"{state.waiting} record{'s' * (state.waiting != 1)} wait in the log",
                writer=writer,
            )
        if state.most:
            log = Entry(folder, f"_wal/{writer}", 0, "log", writer=writer)
            self._spoken.append((log, state.most))

    # -- Parquet ---------------------------------------------------------------

    def _parquet(self) -> None:
        folders: dict[Path, list[Entry]] = defaultdict(list)
        for entry in self._tree.of("parquet"):
            folders[entry.path.parent].append(entry)
        for entries in sorted(folders.values(), key=lambda e: e[0].content == "ids"):
            self._folder(entries)

    def _folder(self, entries: list[Entry]) -> None:
        """Check the files of one folder, then how they stand to each other."""
        healthy: dict[Path, tuple[Entry, Inspected]] = {}
        ranges: list[FileRange] = []
        for entry in entries:
            found = self._inspected(entry)
            covers = FileRange.parse(entry.path)
            if found is not None and covers is not None:
                healthy[entry.path] = (entry, found)
                ranges.append(covers)
            self._looked(entry)
        self._checked.healthy += len(healthy)
        current = without_superseded(ranges)
        kept = {covers.path for covers in current}
        for path, (entry, _) in healthy.items():
            if path not in kept and entry.writer not in self._living:
                self._find("superseded", entry, "a larger file holds its rows")
        former: FileRange | None = None
        lsn = -1
        for covers in current:
            entry, found = healthy[covers.path]
            if former is not None and covers.first <= former.last:
                self._find(
                    "overlap",
                    entry,
                    f"it covers {covers.first} to {covers.last} and {former.path.name} up to "
                    f"{former.last}: only one of them can be right; move the other one away",
                )
            if entry.content in _NUMBERED and found.footer.get("lsn", lsn) < lsn:
                self._find("overlap", entry, "its log number is lower than that of an earlier file")
            former, lsn = covers, max(lsn, found.footer.get("lsn", lsn))
            self._take(entry, found)

    def _inspected(self, entry: Entry) -> Inspected | None:
        try:
            found = inspect(entry.path, entry.content)
            covers = FileRange.parse(entry.path)
            if covers is None or covers.first > covers.last:
                raise DamagedFileError("order", "the numbers in its name run backwards")
        except FileNotFoundError:
            return None  # merged or replaced meanwhile
        except DamagedFileError as damage:
            self._find(damage.kind, entry, str(damage))
            return None
        wrong = misplaced(entry, found.footer) if entry.content in _HISTORY else None
        if wrong is not None:
            self._find("place", entry, wrong)
        return found

    def _take(self, entry: Entry, found: Inspected) -> None:
        writer = entry.writer or ""
        if entry.content in _NUMBERED:
            lsn = found.footer.get("lsn", 0)
            self._published[writer] = max(self._published[writer], lsn)
        if entry.content == "ids":
            self._runs[writer] += found.runs
        elif found.most:
            self._spoken.append((entry, found.most))
        if writer not in self._living and entry.content:
            self._checked.registries.take(entry, found.footer)

    def _rows(self) -> None:
        """Every row has an id: ids run from 0 without a gap, and nothing speaks beyond them."""
        known: dict[str, int] = {}
        for writer in self._writers:
            if writer in self._living:
                self._late_ids(writer)
            named = 0
            for start, stop in sorted(self._runs[writer]):
                if start > named:
                    self._find(
                        "ids",
                        f"ids/writer={writer}",
                        f"no file names the rows {named} to {start - 1}",
                        writer=writer,
                    )
                named = max(named, stop)
            log = self._logs[writer]
            known[writer] = max(named, log.known)
            self._report.writers.append(
                WriterState(writer, writer in self._living, known[writer], log.waiting)
            )
        for entry, most in self._spoken:
            beyond = most - known[entry.writer or ""]
            if beyond > 0:
                self._find("rows", entry, f"it speaks of {beyond} rows that have no id")

    def _late_ids(self, writer: str) -> None:
        """Take in ids that a living writer published since the folder was listed."""
        folder = self._layout.ids(writer)
        listed = {entry.path for entry in self._tree.of("parquet")}
        for path in sorted(folder.glob("*.parquet")):
            if path not in listed:
                with contextlib.suppress(DamagedFileError, FileNotFoundError):
                    self._runs[writer] += inspect(path, "ids").runs

    # -- the rest ---------------------------------------------------------------

    def _other(self, entry: Entry) -> None:
        if entry.role == "parquet":
            return
        if entry.role == "launch":
            try:
                read_json(entry.path)
            except FileNotFoundError:
                pass
            except OSError as error:
                self._find("unreadable", entry, str(error))
            except ValueError as error:
                self._find("json", entry, str(error))
        elif entry.role == "temporary":
            if is_left_over(entry.path) and entry.path.exists():  # or it was finished meanwhile
                self._find("temporary", entry, "its process is gone")
        elif entry.role == "aside":
            self._find("aside", entry, "left alone")
        elif entry.role == "unknown":
            self._find("unknown", entry, "left alone")
        self._looked(entry)

    def _names(self) -> None:
        """Registries know whatever the files of closed writers name."""
        registries = self._checked.registries
        waiting = any(self._logs[w].waiting for w in self._writers)
        for path, missing in (
            (self._layout.signals, registries.missing_signals),
            (self._layout.tags, registries.missing_tags),
        ):
            try:
                lacking = missing(read_json(path))
            except FileNotFoundError:
                lacking = missing({})
            except OSError as error:
                self._find("unreadable", path.name, str(error))
                continue
            except ValueError as error:
                self._find("registry", path.name, f"it is damaged ({error})")
                continue
            # A process that was killed may not have come to them: its log tells them again.
            if lacking and not waiting:
                self._find("registry", path.name, f"it lacks {', '.join(map(repr, lacking[:5]))}")
