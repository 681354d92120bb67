"""Merges on disks that fail: power lost at any moment, operations refused at every place."""

from __future__ import annotations

import contextlib
import errno
import random
import shutil
import warnings
from pathlib import Path

import pytest

from tests.ledger.compaction.test_compactor import QUIET, everything, files, fill
from tests.ledger.disks import FaultyFiles
from tests.ledger.power import Disk, Image, PowerLossFiles
from weightslab.errors import WeightsLabWarning
from weightslab.ledger import Ledger
from weightslab.ledger.compaction.plan import FAN


@pytest.mark.parametrize("archive", [False, True])
def test_a_power_loss_at_any_moment_of_a_merge_costs_nothing(tmp_path: Path, archive: bool) -> None:
    """Whatever the disk kept of a merge, all rows, edits and arrays are there once."""
    root = tmp_path / "live/run"
    images: list[Image] = []
    disk = Disk(tmp_path / "live")
    merging = False

    def reach() -> None:
        if merging:
            images.append(disk.image())

    ledger = Ledger(root, options=QUIET, files=PowerLossFiles(disk, reach))
    fill(ledger, FAN)
    ledger._writer.publish(bases=True)
    whole = everything(root)
    merging = True
    assert ledger.compact(archive=archive) > 0
    images.append(disk.image())
    merging = False
    ledger.close()
    assert len(images) > 20
    for at, image in enumerate(images):
        image.restore(tmp_path / "back", random.Random(at) if at % 2 else None)
        assert everything(tmp_path / "back/run") == whole
        shutil.rmtree(tmp_path / "back")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("kind", ["create", "write", "sync", "sync_folder", "rename", "remove"])
def test_a_merge_that_the_disk_refuses_changes_nothing_and_is_done_later(
    tmp_path: Path, kind: str, number: int
) -> None:
    """Refused at its n-th operation, a merge says so, loses nothing and is made up for."""
    origin = tmp_path / "origin"
    ledger = Ledger(origin, options=QUIET)
    fill(ledger, FAN)
    ledger.close()
    whole = everything(origin)
    for at in range(100):
        root = tmp_path / "run"
        shutil.copytree(origin, root)
        disk = FaultyFiles()
        ledger = Ledger(root, options=QUIET, files=disk)
        disk.fail(kind, at, number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WeightsLabWarning)
            with contextlib.suppress(OSError):
                ledger.compact()
        failed = disk.failed
        assert everything(root) == whole
        disk.heal()
        ledger.compact()
        ledger.close()
        assert everything(root) == whole
        assert len(files(root, "history/kind=sample")) == 1
        shutil.rmtree(root)
        if not failed:
            break
    assert at > 0


class TwiceUnsynced(FaultyFiles):
    """One folder's sync fails when a file got its name, and once more when it is taken back."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0

    def sync_folder(self, path: Path) -> None:
        if self.left and "kind=sample" in str(path):
            self.left -= 1
            raise OSError(errno.EIO, "Input/output error")
        super().sync_folder(path)


@pytest.mark.parametrize("target_goes", [True, False], ids=["unsynced", "unremoved"])
def test_a_merge_that_failed_and_could_not_be_taken_back_is_made_again_and_stays(
    tmp_path: Path, target_goes: bool
) -> None:
    """What a failed attempt left under the name is gone before the next one, never after it."""
    root = tmp_path / "run"
    disk = TwiceUnsynced()
    ledger = Ledger(root, options=QUIET, files=disk)
    fill(ledger, FAN)
    ledger._writer.publish(bases=True)
    whole = everything(root)
    disk.left = 2 if target_goes else 1
    if not target_goes:
        disk.fail("remove", 0, errno.EIO)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeightsLabWarning)
        with contextlib.suppress(OSError):
            ledger.compact()
    disk.left = 0
    ledger.compact()
    assert len(files(root, "history/kind=sample")) == 1
    ledger._writer.publish(bases=True)
    rows = ledger.ids.block("train", range(5))
    ledger.edit.tag(rows[:1], "later", True)
    ledger.flush()
    ledger.close()
    assert len(files(root, "history/kind=sample")) == 1
    assert everything(root)[:3] == whole[:3]
