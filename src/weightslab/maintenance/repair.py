"""A damaged run folder made whole, as far as it goes: nothing is deleted that held something.

Each change is one rename, link or removal of its own, in an order in which a kill at
any moment leaves nothing worse: a repair is simply run again. Parts of living writers
are left alone.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from weightslab.errors import WeightsLabWarning
from weightslab.ledger.claim import Claim
from weightslab.ledger.files import Files, Lock
from weightslab.ledger.layout import FORMAT_VERSION, Layout
from weightslab.ledger.settle import settle_claimed
from weightslab.maintenance.check import Checked, check, open_tree
from weightslab.maintenance.registries import read_json
from weightslab.maintenance.report import Finding
from weightslab.maintenance.tree import Tree
from weightslab.notices import Notices

__all__ = ["Action", "Repaired", "repair"]

OnTree = Callable[[Tree], Callable[[str], None]]
"""Takes what is to be checked, gives what is called with the name of each file."""

ASIDE = "_damaged"
"""Folder inside the run folder for what cannot be read; paths below it are as they were."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a repair did."""

    verb: str
    """ "set aside", "removed", "rebuilt", "published", "claimed" or "left"."""
    path: str
    text: str = ""


@dataclass(slots=True)
class Repaired:
    """What was done."""

    actions: list[Action] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """What could not be done, and why."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {"actions": [asdict(action) for action in self.actions], "failed": self.failed}


def repair(
    root: Path,
    *,
    files: Files | None = None,
    on_tree: OnTree | None = None,
) -> Repaired:
    """Mend what can be mended; `check` afterwards says what is left.

    Args:
        on_tree: given what is to be checked; gives what is called with each file's name.

    Raises:
        FolderError: there is no run.
        OSError: the folder cannot be written.
    """
    return _Repair(root, files or Files()).run(on_tree)


class _Repair:
    """One repair of one folder."""

    def __init__(self, root: Path, files: Files) -> None:
        self._root = root
        self._layout = Layout(root)
        self._files = files
        self._locks: dict[str, Lock] = {}
        self._done = Repaired()

    def run(self, on_tree: OnTree | None) -> Repaired:
        tree = open_tree(self._root)
        if not tree.of("manifest"):
            return self._done  # no run: what made it none must be done again
        try:
            self._claim(tree)
            checked = check(tree, held=self._locks, on_file=on_tree(tree) if on_tree else None)
            if checked.report.of("format"):
                return self._done
            self._mend(checked)
            self._publish(self._unsettled(tree, checked))
        finally:
            for lock in self._locks.values():
                lock.release()
        return self._done

    def _did(self, verb: str, path: str, text: str = "") -> None:
        self._done.actions.append(Action(verb, path, text))

    def _claim(self, tree: Tree) -> None:
        """Hold every writer that no living process holds; one without a folder gets its own."""
        for writer in tree.writers():
            folder = self._layout.log(writer)
            known = folder.is_dir()
            self._files.make_folder(folder)
            lock = self._files.lock(folder / "lock")
            if lock is None:
                self._did("left", f"_wal/{writer}", "a living process writes: end it first")
                continue
            self._locks[writer] = lock
            if not known:
                self._did("claimed", f"_wal/{writer}")

    # -- files -------------------------------------------------------------------

    def _mend(self, checked: Checked) -> None:
        report = checked.report
        shared_is_ours = not report.living
        # What is damaged goes before its left-over inputs would: those may be its data.
        for finding in sorted(report.findings, key=lambda f: f.mend != "set aside"):
            mine = finding.writer in self._locks if finding.writer else shared_is_ours
            if finding.kind == "temporary" or (mine and finding.mend):
                self._mend_one(finding, checked)

    def _mend_one(self, finding: Finding, checked: Checked) -> None:
        path = self._root / finding.path
        if finding.mend == "set aside":
            self._set_aside(path)
        elif finding.mend == "remove":
            self._files.remove(path)
            self._did("removed", finding.path)
        elif finding.kind == "log" and path.is_file():
            # Its whole records are published, and the log goes then: the rest is kept here.
            self._keep(path)
        elif finding.kind == "registry":
            self._rebuild_registry(path, checked)
        elif finding.kind == "ledger" and checked.healthy:
            self._rebuild_manifest(path)

    def _set_aside(self, path: Path) -> None:
        target = self._free(path)
        self._files.make_folder(target.parent)
        self._files.rename(path, target)
        self._files.sync_folder(target.parent)
        self._files.sync_folder(path.parent)
        self._did("set aside", self._relative(path), self._relative(target))

    def _keep(self, path: Path) -> None:
        """Give a file that will be replaced or removed a second name under `_damaged`."""
        target = self._free(path)
        if target.exists():
            return
        self._files.make_folder(target.parent)
        try:
            self._files.link(path, target)
        except OSError:

            def content(stream: Any) -> None:
                with path.open("rb") as source:
                    shutil.copyfileobj(source, stream)

            self._files.publish(self._layout.temporary, target, content)
        self._files.sync_folder(target.parent)
        self._did("set aside", self._relative(path), self._relative(target))

    def _free(self, path: Path) -> Path:
        """Where a damaged file goes: the name that it had, numbered where that is taken."""
        target = self._root / ASIDE / path.relative_to(self._root)
        number = 0
        free = target
        while free.exists():
            if free.is_file() and free.samefile(path):
                break  # an earlier repair, killed behind the link, kept it already
            number += 1
            free = target.with_name(f"{target.name}.{number}")
        return free

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    # -- what all writers share --------------------------------------------------

    def _rebuild_registry(self, path: Path, checked: Checked) -> None:
        try:
            held = read_json(path)
        except (OSError, ValueError):
            held = {}
            if path.exists():
                self._keep(path)
        known = checked.registries
        whole = known.all_tags(held) if path == self._layout.tags else known.all_signals(held)
        self._write_json(path, whole)

    def _rebuild_manifest(self, path: Path) -> None:
        self._keep(path)
        created = path.stat().st_mtime
        self._write_json(
            path, {"format_version": FORMAT_VERSION, "created": created, "by": "weightslab fsck"}
        )

    def _write_json(self, path: Path, content: dict[str, Any]) -> None:
        text = json.dumps(content, indent=1, sort_keys=True).encode()
        self._files.publish(self._layout.temporary, path, lambda stream: stream.write(text))
        self._did("rebuilt", self._relative(path))

    # -- logs ----------------------------------------------------------------------

    def _unsettled(self, tree: Tree, checked: Checked) -> list[str]:
        """Writers whose logs, or whose files without what was set aside, are to be written."""
        touched = {f.writer for f in checked.report.findings if f.mend in ("publish", "set aside")}
        logs = {entry.writer for entry in tree.of("log")}
        return sorted(w for w in self._locks if w in touched | logs)

    def _publish(self, writers: list[str]) -> None:
        """Open each writer as its next launch would, and close it."""
        for writer in writers:
            claim = Claim(writer, self._locks.pop(writer))
            notices = Notices()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", WeightsLabWarning)  # told here, by us
                published = settle_claimed(self._layout, claim, self._files, notices)
            claim.lock.release()
            if not published:
                said = notices.messages() or [f"the log of writer {writer} could not be published"]
                self._done.failed += said
            else:
                self._did("published", f"_wal/{writer}")
            lock = self._files.lock(self._layout.log(writer) / "lock")
            if lock is not None:
                self._locks[writer] = lock
