from __future__ import annotations

import errno
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ledger.disks import KINDS, FaultyFiles, ShortFiles
from tests.ledger.stories import LARGE, Told, read_run, tell
from weightslab.errors import WeightsLabWarning
from weightslab.notices import Notices

CODES = (errno.ENOSPC, errno.EACCES, errno.EIO, errno.EROFS)
STRIDE = 5
"""Every fifth operation begins a long failure: the ones between begin the same one."""


def reached(kind: str, tmp_path: Path, *, mapped: bool = True) -> int:
    """How many operations of a kind there are in the whole story."""
    files = FaultyFiles(mapped=mapped)
    for _ in tell(tmp_path / "whole", files, Told(), Notices()):
        pass
    return files.counts[kind]


def lived(
    root: Path, files: FaultyFiles, on_marker: Callable[[str], None] = lambda _: None
) -> tuple[Told, Told]:
    """Run the story on a disk that fails; gives what was saved, and what of it was in files.

    Whatever fails is said once, as a warning, and counted.
    """
    told, durable, flushed, notices = Told(), Told(), Told(), Notices()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for marker in tell(root, files, told, notices):
            if not files.failed:
                durable = flushed
            if marker == "flush":
                flushed = told.copy()
            on_marker(marker)
    assert {w.category for w in caught} <= {WeightsLabWarning}
    messages = Counter(str(w.message) for w in caught)
    assert max(messages.values(), default=0) <= 1, messages
    assert bool(messages) == bool(notices.counts())
    return told, durable


def check(root: Path, told: Told) -> None:
    """A folder holds what was saved, once, and nothing else."""
    found = read_run(root)
    assert found.values == told.values
    assert found.edits == told.edits
    assert found.arrays == told.arrays


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("append", "log")])
def test_one_refused_operation_loses_and_doubles_nothing(tmp_path: Path, kind: str) -> None:
    """Whatever single operation a disk refuses, all that was saved is in the folder once."""
    total = reached(kind, tmp_path)
    assert total > 0
    for at in range(total):
        files = FaultyFiles(kind, at, CODES[at % len(CODES)])
        told, _ = lived(tmp_path / "run", files)
        assert files.failed == 1
        check(tmp_path / "run", told)
        shutil.rmtree(tmp_path / "run")


@pytest.mark.parametrize("kind", ["append", "log"])
def test_one_refused_write_to_an_appended_log_loses_nothing(tmp_path: Path, kind: str) -> None:
    """The same where a log cannot be mapped and every record is a write."""
    total = reached(kind, tmp_path, mapped=False)
    assert total > 0
    for at in range(total):
        files = FaultyFiles(kind, at, CODES[at % len(CODES)], mapped=False)
        told, _ = lived(tmp_path / "run", files)
        assert files.failed == 1
        check(tmp_path / "run", told)
        shutil.rmtree(tmp_path / "run")


def test_a_write_that_takes_a_part_of_a_record_loses_nothing(tmp_path: Path) -> None:
    """A log that takes only a part of any record goes on in another file."""
    for at in range(reached("log", tmp_path, mapped=False)):
        told, _ = lived(tmp_path / "run", ShortFiles(at))
        check(tmp_path / "run", told)
        shutil.rmtree(tmp_path / "run")


@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "appended"])
def test_a_disk_that_refuses_everything_for_a_while_loses_nothing(
    tmp_path: Path, mapped: bool
) -> None:
    """A full disk from any operation on, over a flush or two: then everything is written."""
    for at in range(0, reached("any", tmp_path, mapped=mapped), STRIDE):
        files = FaultyFiles("any", at, errno.ENOSPC, forever=True, mapped=mapped)
        flushes: list[str] = []

        def heal(marker: str, files: FaultyFiles = files, flushes: list[str] = flushes) -> None:
            if files.failed and marker == "flush":
                flushes.append(marker)
            if files.failed and (marker == "close" or len(flushes) > 1):
                files.heal()

        told, _ = lived(tmp_path / "run", files, heal)
        # A disk that fails for good in a close may cost the large arrays that waited.
        told.arrays.pop(LARGE)
        found = read_run(tmp_path / "run")
        found.arrays.pop(LARGE, None)
        assert found == told
        shutil.rmtree(tmp_path / "run")


def test_a_disk_that_is_read_only_from_any_moment_on_keeps_what_it_has(tmp_path: Path) -> None:
    """Remounted read-only at any operation and for good: what was in files stays, right."""
    for at in range(1, reached("any", tmp_path), STRIDE):
        files = FaultyFiles("any", at, errno.EROFS, forever=True)
        told, durable = lived(tmp_path / "run", files)
        if (tmp_path / "run/ledger.json").exists():
            found = read_run(tmp_path / "run")
            assert found.holds(durable)
            assert told.holds(found)
            shutil.rmtree(tmp_path / "run")
        else:
            assert not durable.values
