"""Who writes where: the format file, the writer's lock, the number of a launch."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from weightslab.errors import FolderError, LedgerFormatError
from weightslab.ledger.files import Files, Lock
from weightslab.ledger.layout import FORMAT_VERSION, Layout
from weightslab.ledger.unfinished import is_left_over

__all__ = [
    "Claim",
    "check_format",
    "claim_named",
    "claim_writer",
    "clear_temporary",
    "folders_of",
    "new_launch",
]


@dataclass(frozen=True, slots=True)
class Claim:
    """A writer of this process: its name and the lock that makes it ours."""

    writer: str
    lock: Lock


def check_format(layout: Layout) -> bool:
    """Whether the folder holds a ledger that this version can read.

    Raises:
        LedgerFormatError: it holds one of another format, or a damaged `ledger.json`.
    """
    try:
        manifest = json.loads(layout.manifest.read_text())
        version = manifest["format_version"]
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LedgerFormatError(
            f"{layout.manifest} is not a ledger's format file ({error}): "
            f"restore it, or choose another folder"
        ) from error
    if version != FORMAT_VERSION:
        raise LedgerFormatError(
            f"{layout.root} has format {version}, this version reads {FORMAT_VERSION}: "
            f"install the version of weightslab-lightning that wrote it"
        )
    return True


def claim_writer(files: Files, layout: Layout, rank: int, *, fresh: bool) -> Claim:
    """Lock the first writer of `rank` that no living process holds.

    `fresh` passes over writers that have written before: for a process that
    already made rows of its own before it could reach the folder.

    Raises OSError when the folder cannot be written.
    """
    if layout.root.exists() and not layout.root.is_dir():
        raise FolderError(f"{layout.root} is a file: choose a folder for the run")
    files.make_folder(layout.root)
    if not check_format(layout):
        manifest = {"format_version": FORMAT_VERSION, "created": time.time(), "by": "weightslab"}
        text = json.dumps(manifest).encode()
        files.publish(layout.temporary, layout.manifest, lambda stream: stream.write(text))
    number = 0
    while True:
        writer = f"{rank}-{number}"
        folder = layout.log(writer)
        # A folder without the file was made by an attempt that failed: nobody wrote there.
        if not (fresh and (folder / "lock").exists()):
            lock = _lock(files, folder)
            if lock is not None:
                return Claim(writer, lock)
        number += 1


def claim_named(files: Files, layout: Layout, writer: str) -> Claim | None:
    """Lock a writer of the folder; None when a living process holds it."""
    lock = files.lock(layout.log(writer) / "lock")
    return None if lock is None else Claim(writer, lock)


def _lock(files: Files, folder: Path) -> Lock | None:
    made = not folder.is_dir()
    files.make_folder(folder)
    try:
        return files.lock(folder / "lock")
    except OSError:
        if made:
            # Or every attempt on a disk that knows no locks would leave a folder.
            with contextlib.suppress(OSError):
                files.remove(folder / "lock")
        raise


def clear_temporary(files: Files, layout: Layout) -> None:
    """Remove unfinished files of processes that are gone (`unfinished` says which)."""
    if not layout.temporary.is_dir():
        return
    for path in layout.temporary.iterdir():
        if is_left_over(path):
            files.remove(path)


def folders_of(layout: Layout, writer: str) -> list[Path]:
    """Every folder that holds something of a writer, those inside before those around them."""
    leaves = [layout.log(writer), layout.ids(writer), layout.journal(writer)]
    leaves += [layout.family(name, writer) for name in ("tags", "signals", "arrays")]
    leaves.append(layout.arrays(writer))
    leaves += (layout.root / "history").glob(f"kind=*/*/*/writer={writer}")
    found: dict[Path, None] = {}
    for leaf in leaves:
        above = [p for p in leaf.parents if p.is_relative_to(layout.root)]
        found.update(dict.fromkeys(p for p in (leaf, *above) if p.is_dir()))
    return sorted(found, key=lambda p: len(p.parts), reverse=True)


def new_launch(files: Files, layout: Layout, rank: int) -> int:
    """Number of this launch, from 1: the ranks of one process group share it.

    Ranks know each other by what their launcher gives them all, and each takes part in a
    launch once: whichever saves first opens it, and a group that is started again under
    the same run id opens the next one.
    """
    group = _process_group()
    files.make_folder(layout.launches)
    while True:
        known = sorted(p for p in layout.launches.iterdir() if p.suffix == ".json")
        number = int(known[-1].stem) if known else 0
        ours = bool(group and number) and _group_of(known[-1]) == group
        if ours and files.create(layout.temporary, _mark(layout, number, rank), b""):
            return number
        number += 1
        content = {"launch": number, "started": time.time(), "process": os.getpid(), "group": group}
        path = layout.launches / f"{number:06d}.json"
        if files.create(layout.temporary, path, json.dumps(content).encode()):
            files.create(layout.temporary, _mark(layout, number, rank), b"")
            return number


def _mark(layout: Layout, launch: int, rank: int) -> Path:
    """What says that a rank takes part in a launch."""
    return layout.launches / f"{launch:06d}.rank-{rank}"


def _process_group() -> str | None:
    """What only the ranks of one process group have in common; None for a lone process."""
    torch, slurm = os.environ.get("TORCHELASTIC_RUN_ID"), os.environ.get("SLURM_JOB_ID")
    if torch:
        return f"{torch}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    return f"{slurm}/{os.environ.get('SLURM_STEP_ID', '0')}" if slurm else None


def _group_of(launch: Path) -> str | None:
    """The process group of a launch; None when the file is torn or not of ours."""
    try:
        found = json.loads(launch.read_text())
    except (OSError, ValueError):
        return None
    return found.get("group") if isinstance(found, dict) else None
