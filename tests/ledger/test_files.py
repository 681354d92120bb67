from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from tests.ledger.disks import FaultyFiles
from tests.ledger.stories import OPTIONS
from weightslab.errors import WeightsLabWarning
from weightslab.ledger import Ledger
from weightslab.ledger.files import Files
from weightslab.ledger.log.frames import log_files


class LinklessFiles(Files):
    """A file system that knows no second names."""

    def link(self, source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")


class Syncs(Files):
    """Remembers which folders were synced; refuses while `broken` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.synced: list[Path] = []
        self.broken = False

    def sync_folder(self, path: Path) -> None:
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")
        self.synced.append(path)


def test_a_replaced_file_is_never_removed(tmp_path: Path) -> None:
    """When the folder cannot be synced after a file was replaced, one of both is there."""
    files = Syncs()
    target = tmp_path / "run/tags.json"
    files.publish(tmp_path / "tmp", target, lambda s: s.write(b"old"))
    files.broken = True
    with pytest.raises(OSError, match="Input/output"):
        files.publish(tmp_path / "tmp", target, lambda s: s.write(b"new"))
    assert target.read_bytes() in (b"old", b"new")


def test_a_folder_whose_parent_was_not_synced_is_synced_with_the_next_try(tmp_path: Path) -> None:
    """A folder that is there, but maybe not on the disk, is not taken for durable."""
    files = Syncs()
    files.broken = True
    with pytest.raises(OSError, match="Input/output"):
        files.make_folder(tmp_path / "a")
    files.broken = False
    files.make_folder(tmp_path / "a")
    assert files.synced == [tmp_path]


@pytest.mark.parametrize("files", [Files(), LinklessFiles()], ids=["links", "linkless"])
def test_a_name_is_taken_once(tmp_path: Path, files: Files) -> None:
    """Of several that create a file one does, and it stays as that one wrote it."""
    target = tmp_path / "launches/000001.json"
    assert files.create(tmp_path / "tmp", target, b"mine")
    assert not files.create(tmp_path / "tmp", target, b"theirs")
    assert target.read_bytes() == b"mine"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_log_that_could_not_be_synced_is_replaced_by_files(tmp_path: Path) -> None:
    """After a failed sync the disk may have dropped what it says that it has: files are made."""
    files = FaultyFiles("sync", 10**9, forever=True)
    ledger = Ledger(tmp_path / "run", files=files, options=OPTIONS)
    rows = ledger.ids.add(["a"], "train")
    ledger.append_samples({"loss": np.array([1.0])}, rows, step=0)
    files.fail_from_now()
    with pytest.warns(WeightsLabWarning) as caught:
        ledger.edit.tag(rows, "t", True)
    assert "Input/output" in str(caught[0].message)
    files.heal()
    broken = log_files(tmp_path / "run/_wal/0-0")
    ledger.edit.tag(rows, "u", True)
    assert log_files(tmp_path / "run/_wal/0-0") == broken
    assert ledger._writer.gap
    ledger.flush()
    assert log_files(tmp_path / "run/_wal/0-0") == []
    ledger.close()


def test_a_sync_reaches_the_operating_system() -> None:
    """A descriptor that cannot be synced is refused by the system: it was asked."""
    reading, writing = os.pipe()
    try:
        with pytest.raises(OSError, match="Invalid argument"):
            Files().sync(writing)
    finally:
        os.close(reading)
        os.close(writing)


def test_a_mapped_log_has_its_blocks_before_anything_is_written(tmp_path: Path) -> None:
    """Room is taken when the log is made: a full disk is an error then, and no signal later."""
    mapped = Files().map_log(tmp_path / "1.wal", 1 << 20)
    assert mapped is not None
    assert (tmp_path / "1.wal").stat().st_blocks * 512 >= 1 << 20
    mapped.map.close()
    os.close(mapped.descriptor)
