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
