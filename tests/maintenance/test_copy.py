"""A closed run folder is copied whole, or is no run yet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.maintenance.support import (
    LivingWriter,
    flip,
    found,
    history,
    killed_writer,
    merge,
    report,
    segment,
    table,
)
from weightslab.errors import FolderError
from weightslab.ledger.layout import FORMAT_VERSION
from weightslab.maintenance.copy import MARKER, carry_out, plan_copy
from weightslab.maintenance.repair import repair


def copied(source: Path | str, target: Path | str) -> list[str]:
    """Copy a run; gives the files that were copied."""
    plan = plan_copy(str(source), str(target))
    names: list[str] = []
    carry_out(plan, names.append)
    return names


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a run but the marks by which living processes know of each other's edits."""
    paths = [p for p in root.rglob("*") if p.is_file() and p.name != "edits"]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in paths}


def test_a_copy_is_the_run(run: Path, tmp_path: Path) -> None:
    """Every file has its bytes, the copy is clean, and history and samples are the same."""
    target = tmp_path / "new" / "copy"
    copied(run, target)
    assert contents(target) == contents(run)
    assert found(target) == []
    assert history(target) == history(run)
    assert table(target) == table(run)


def test_what_stays_behind(run: Path, tmp_path: Path) -> None:
    """Inputs of a merge, temporary files and what was set aside are not copied; notes are."""
    flip(segment(run, signal_name="a%2Fb"))
    repair(run)
    merge([segment(run, at=at) for at in range(3)])
    (run / "_tmp").mkdir(exist_ok=True)
    (run / "_tmp/4194305-1-0-seg").write_bytes(b"unfinished")
    (run / "notes.txt.gz").write_bytes(b"not packed at all")
    target = tmp_path / "copy"
    copied(run, target)
    assert found(target) == [("unknown", "notes.txt.gz")]
    assert (target / "notes.txt.gz").read_bytes() == b"not packed at all"
    assert history(target) == history(run)
    assert not (target / "_tmp").exists()


def test_a_living_run_is_refused(run: Path, tmp_path: Path) -> None:
    """A run that is being written is not copied."""
    with LivingWriter(run), pytest.raises(FolderError, match="living process writes"):
        plan_copy(str(run), str(tmp_path / "copy"))


def test_records_that_wait_in_a_log_are_refused(run: Path, tmp_path: Path) -> None:
    """What a killed process left is published first, and the message says how."""
    killed_writer(run)
    with pytest.raises(FolderError, match=r"weightslab fsck .* --repair"):
        plan_copy(str(run), str(tmp_path / "copy"))
    repair(run)
    copied(run, tmp_path / "copy")
    assert history(tmp_path / "copy", "late") == history(run, "late")


@pytest.mark.parametrize(
    ("source", "match"), [("nowhere", "holds no run"), ("empty", "holds no run")]
)
def test_a_source_that_is_no_run(tmp_path: Path, source: str, match: str) -> None:
    """Only a run is copied."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(FolderError, match=match):
        plan_copy(str(tmp_path / source), str(tmp_path / "copy"))


def test_targets_that_are_not_free(run: Path, tmp_path: Path) -> None:
    """A run, a file and a folder with something in it are no targets."""
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").write_text("")
    for name, match in (("run", "already holds a run"), ("file", "a file"), ("full", "not empty")):
        with pytest.raises(FolderError, match=match):
            plan_copy(str(run), str(tmp_path / name))


def test_another_scheme(run: Path) -> None:
    """Places that are not tested are refused by name."""
    with pytest.raises(FolderError, match="gs:// is not known"):
        plan_copy(str(run), "gs://bucket/run")


class StoppedError(Exception):
    """What ends a copy in these tests."""


def stopped(run: Path, target: Path, after: int) -> None:
    """Begin a copy and stop it after some files."""
    seen: list[str] = []

    def on_file(name: str) -> None:
        seen.append(name)
        if len(seen) == after:
            raise StoppedError

    with pytest.raises(StoppedError):
        carry_out(plan_copy(str(run), str(target)), on_file)


def test_a_part_of_a_copy_is_no_run_and_goes_on(run: Path, tmp_path: Path) -> None:
    """Stopped in the middle there is no run; the same copy takes up what is missing."""
    target = tmp_path / "copy"
    stopped(run, target, 5)
    assert not (target / "ledger.json").exists()
    with pytest.raises(FolderError, match="holds no ledger"):
        history(target)
    assert report(target).problems[0].kind == "format"
    plan = plan_copy(str(run), str(target))
    assert plan.is_resumed
    assert 5 <= len(plan.files) - len(plan.missing) < len(plan.files)
    carry_out(plan)
    assert contents(target) == contents(run)


def test_a_file_that_is_shorter_or_older_is_copied_again(run: Path, tmp_path: Path) -> None:
    """What is there already counts only if it is as long and not older."""
    target = tmp_path / "copy"
    stopped(run, target, 40)
    here = {p.relative_to(target) for p in target.rglob("*.parquet")}
    shorter, older = sorted(here)[:2]
    (target / shorter).write_bytes(b"short")
    (run / older).touch()
    missing = plan_copy(str(run), str(target)).missing
    assert {shorter.as_posix(), older.as_posix()} <= set(missing)
    copied(run, target)
    assert contents(target) == contents(run)


def test_an_unfinished_copy_of_another_run(run: Path, tmp_path: Path) -> None:
    """A part of one run is never completed with files of another."""
    target = tmp_path / "copy"
    stopped(run, target, 3)
    (run / "ledger.json").write_text(
        json.dumps({"format_version": FORMAT_VERSION, "created": 0, "by": "x"})
    )
    with pytest.raises(FolderError, match="copy of another run"):
        plan_copy(str(run), str(target))
    (target / MARKER).write_bytes(b"{")
    with pytest.raises(FolderError, match="copy of another run"):
        plan_copy(str(run), str(target))


def test_a_copy_that_died_behind_its_last_file(run: Path, tmp_path: Path) -> None:
    """With ledger.json there and the marker not yet gone, the same copy ends it."""
    target = tmp_path / "copy"
    marker = {"from": "", "run": (run / "ledger.json").read_text()}
    copied(run, target)
    (target / MARKER).write_text(json.dumps(marker))
    assert copied(run, target) == []
    assert found(target) == []


def test_a_source_that_changes_meanwhile(run: Path, tmp_path: Path) -> None:
    """A folder that was written to while it was copied makes no run."""
    plan = plan_copy(str(run), str(tmp_path / "copy"))
    killed_writer(run)
    repair(run)
    with pytest.raises(FolderError, match="changed while it was copied"):
        carry_out(plan)
    assert not (tmp_path / "copy/ledger.json").exists()
    copied(run, tmp_path / "copy")
    assert history(tmp_path / "copy", "late") == history(run, "late")


@pytest.mark.parametrize("inside", ["backup", "history/kind=sample/backup", ".."])
def test_a_target_inside_the_run_or_around_it_is_refused(
    run: Path, tmp_path: Path, inside: str
) -> None:
    """A run is not copied into itself, also not by a link, and nothing is written."""
    before = contents(run)
    (tmp_path / "link").symlink_to(run)
    for source in (run, tmp_path / "link"):
        with pytest.raises(FolderError, match="one inside the other"):
            plan_copy(str(source), str(run / inside))
    assert contents(run) == before
