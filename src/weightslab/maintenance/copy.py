"""A closed run folder copied to another place, local or S3.

`ledger.json` is written last, so that a part of a copy is no run; until then a marker
says whose copy it is, and the same command goes on with it. Names and bytes of files
stay; logs, locks, left-overs and what was set aside stay behind.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from weightslab.errors import FolderError
from weightslab.ledger.files import Files
from weightslab.ledger.layout import FORMAT_VERSION, FileRange, Layout, without_superseded
from weightslab.maintenance.places import Held, Place, place_of

__all__ = ["MARKER", "Plan", "carry_out", "plan_copy"]

MARKER = "copy-unfinished.json"
_MANIFEST = "ledger.json"
_STAY = frozenset(("_tmp", "_damaged", "_wal"))
_STREAMS = 8
"""Files under way at once: a bucket answers slowly, and there are many small ones."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a copy has to do."""

    source: Place
    target: Place
    files: dict[str, Held]
    """Every file that the copy has, but for `ledger.json`."""
    missing: tuple[str, ...]
    """Those that are not there yet."""
    writers: tuple[str, ...]
    manifest: bytes
    is_resumed: bool
    """Whether the target holds a part of this copy."""


def plan_copy(source: str, target: str) -> Plan:
    """Look at both places; nothing is written.

    Raises:
        FolderError: the source is no closed run, or the target is not free.
    """
    here, there = place_of(source), place_of(target)
    _refuse_nested(here, there)
    held = here.listing()
    manifest = _manifest(here, held)
    _refuse_open(here, held)
    found = there.listing()
    is_resumed = _is_resumed(there, found, manifest)
    wanted = _wanted(held)
    missing = [name for name, file in wanted.items() if not _is_there(file, found.get(name))]
    return Plan(here, there, wanted, tuple(missing), _writers(held), manifest, is_resumed)


def _refuse_nested(source: Place, target: Place) -> None:
    """One inside the other would be a copy of itself, and a run that holds another."""
    if source.files != target.files:
        return
    here, there = (os.path.realpath(place.path) for place in (source, target))
    if here != there and os.path.commonpath((here, there)) in (here, there):
        raise FolderError(
            f"{target.shown} and {source.shown} lie one inside the other: choose a target "
            f"beside the run"
        )


def carry_out(plan: Plan, on_file: Callable[[str], None] | None = None) -> None:
    """Copy what is missing, compare sizes, and make the target a run.

    Args:
        on_file: called with the name of each file that was copied.

    Raises:
        FolderError: the source changed meanwhile, or a file arrived with another size.
        OSError: a place refuses. What is there stays, and the same copy goes on from it.
    """
    source, target = plan.source, plan.target
    marker = {"from": source.shown, "run": plan.manifest.decode()}
    target.write(MARKER, json.dumps(marker).encode())
    for writer in plan.writers:
        # A writer is known by its folder, and a bucket knows no empty ones.
        target.write(f"_wal/{writer}/lock", b"")
    with ThreadPoolExecutor(_STREAMS) as pool:
        under_way = {pool.submit(target.take, source, name): name for name in plan.missing}
        try:
            for done in as_completed(under_way):
                done.result()
                if on_file is not None:
                    on_file(under_way[done])
        except FileNotFoundError as error:
            pool.shutdown(cancel_futures=True)
            raise FolderError(_changed(source)) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    _verify(plan)
    target.write(_MANIFEST, plan.manifest)
    target.remove(MARKER)
    if target.local is not None and (target.local / "_tmp").is_dir():
        (target.local / "_tmp").rmdir()


def _verify(plan: Plan) -> None:
    source, target = plan.source, plan.target
    held = source.listing()
    _refuse_open(source, held)
    if _wanted(held) != plan.files:
        raise FolderError(_changed(source))
    found = target.listing()
    for name, file in plan.files.items():
        arrived = found.get(name)
        if arrived is None or arrived.size_bytes != file.size_bytes:
            came = "is missing" if arrived is None else f"has {arrived.size_bytes} bytes"
            raise FolderError(
                f"{name} {came} in {target.shown}, expected {file.size_bytes} bytes: "
                f"copy again, it goes on from what is there"
            )


def _changed(source: Place) -> str:
    return f"{source.shown} changed while it was copied: copy again, it goes on from what is there"


def _manifest(place: Place, held: dict[str, Held]) -> bytes:
    if _MANIFEST not in held:
        unfinished = "a copy that did not finish" if MARKER in held else "no run"
        raise FolderError(f"{place.shown} holds {unfinished}: name a run folder")
    try:
        version = place.read_json(_MANIFEST)["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise FolderError(
            f"{place.shown}/{_MANIFEST} is damaged ({error}): `weightslab fsck` says more"
        ) from error
    if version != FORMAT_VERSION:
        raise FolderError(
            f"{place.shown} has format {version}, this version copies {FORMAT_VERSION}: "
            f"use the version of weightslab-lightning that wrote it"
        )
    return place.read(_MANIFEST)


def _refuse_open(place: Place, held: dict[str, Held]) -> None:
    """Only a closed folder is copied: nobody writes, and everything is in files."""
    if place.local is not None:
        layout, files = Layout(place.local), Files()
        for writer in layout.writers():
            if files.is_locked(layout.log(writer) / "lock"):
                raise FolderError(
                    f"a living process writes to {place.shown} (writer {writer}): "
                    f"end the run, then copy it"
                )
    logs = [name for name in held if name.startswith("_wal/") and name.endswith(".wal")]
    if logs:
        raise FolderError(
            f"records wait in {place.shown}/{logs[0]}: turn them into files with "
            f"`weightslab fsck {place.shown} --repair`, then copy it"
        )


def _is_resumed(there: Place, found: dict[str, Held], manifest: bytes) -> bool:
    """Whether the target holds a part of this copy. Raises FolderError when it is not free."""
    if MARKER in found:
        try:
            marker = there.read_json(MARKER)
            same = marker["run"] == manifest.decode()
        except (ValueError, KeyError, TypeError):
            same = False
        if not same:
            raise FolderError(
                f"{there.shown} holds a copy of another run that did not finish: "
                f"choose another target, or remove it"
            )
        return True
    if _MANIFEST in found:
        raise FolderError(f"{there.shown} already holds a run: choose another target")
    if found:
        raise FolderError(f"{there.shown} is not empty: choose a new or empty target")
    if there.local is not None and there.local.exists() and not there.local.is_dir():
        raise FolderError(f"{there.shown} is a file: choose a folder")
    return False


def _wanted(held: dict[str, Held]) -> dict[str, Held]:
    """The files of a listing that belong to a copy."""
    ranges: dict[Path, list[FileRange]] = defaultdict(list)
    for name in held:
        covers = FileRange.parse(Path(name))
        if covers is not None:
            ranges[covers.path.parent].append(covers)
    everything = {str(covers.path) for found in ranges.values() for covers in found}
    current = {
        str(covers.path) for found in ranges.values() for covers in without_superseded(found)
    }
    superseded = everything - current
    return {
        name: file
        for name, file in sorted(held.items())
        if name.partition("/")[0] not in _STAY
        and name not in superseded
        and name not in (_MANIFEST, MARKER)
    }


def _writers(held: dict[str, Held]) -> tuple[str, ...]:
    found = {name.split("/")[1] for name in held if name.startswith("_wal/")}
    for name in held:
        parts = (p.removeprefix("writer=") for p in name.split("/")[:-1] if p.startswith("writer="))
        found.update(parts)
    return tuple(sorted(found))


def _is_there(file: Held, found: Held | None) -> bool:
    # Files appear whole and most never change: one that is as long and not older is the same.
    return (
        found is not None
        and found.size_bytes == file.size_bytes
        and found.changed_ns >= file.changed_ns
    )
