"""Run folders whose files are merged while nobody trains."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ledger.compaction.test_compactor import QUIET, everything, files, fill
from tests.ledger.support import run_script
from tests.maintenance.support import flip
from weightslab.errors import FolderError
from weightslab.ledger import Ledger
from weightslab.ledger.compaction.plan import FAN
from weightslab.maintenance.check import check, open_tree
from weightslab.maintenance.compact import compact


@pytest.mark.parametrize("archive", [False, True])
def test_a_closed_run_has_few_files_and_the_same_content(tmp_path: Path, archive: bool) -> None:
    """Of every writer the files are merged; what is read is the same, and fsck finds nothing."""
    root = tmp_path / "run"
    for rank in (0, 3):
        ledger = Ledger(root, options=QUIET, rank=rank)
        fill(ledger, FAN + 2)
        ledger.close()
    before = everything(root)
    merged: list[Path] = []
    done = compact(root, archive=archive, on_merge=merged.append)
    assert done.merges == len(merged) > 0
    assert (done.living, done.refused, done.notices) == ((), (), ())
    assert done.files == len(files(root, "")) < done.files_before / 2
    assert done.bytes == sum(path.stat().st_size for path in files(root, ""))
    assert everything(root) == before
    assert check(open_tree(root)).report.findings == []
    assert compact(root, archive=archive).merges == 0


def test_a_killed_runs_log_becomes_files_and_a_living_run_is_left_alone(tmp_path: Path) -> None:
    """What a killed writer logged is published first; a writer at work is named, not touched."""
    root = tmp_path / "run"
    script = """
    import os, sys
    from tests.ledger.compaction.test_compactor import QUIET, fill
    from weightslab.ledger import Ledger
    fill(Ledger(sys.argv[1], options=QUIET, rank=5), 9)
    os.kill(os.getpid(), 9)
    """
    assert run_script(script, root, path=True).returncode == -9
    living = Ledger(root, options=QUIET)
    fill(living, FAN)
    held = files(root, "history")
    done = compact(root)
    assert done.living == ("0-0",)
    assert done.merges > 0
    assert [p for p in held if "writer=0-0" in str(p)] == [
        p for p in files(root, "history") if "writer=0-0" in str(p)
    ]
    living.close()


@pytest.mark.parametrize("archive", [False, True])
def test_a_damaged_file_is_said_and_stays_and_the_rest_is_merged(
    tmp_path: Path, archive: bool
) -> None:
    """What cannot be merged is named and kept; every other file is merged all the same."""
    root = tmp_path / "run"
    ledger = Ledger(root, options=QUIET)
    fill(ledger, 2 * FAN + 1)
    ledger.close()
    broken = files(root, "history/kind=sample")[FAN]
    flip(broken)
    with pytest.warns(match=broken.name):
        done = compact(root, archive=archive)
    assert any(broken.name in text for text in done.notices)
    assert not any("training goes on" in text for text in done.notices)
    assert done.refused == ("0-0",)
    assert broken.exists()
    assert len(files(root, "history/kind=sample")) == 3
    assert len(files(root, "history/kind=instance")) == (1 if archive else 3)


def test_an_archive_of_many_files_opens_few(tmp_path: Path) -> None:
    """A partition of more files than the process may open is archived into one."""
    root = tmp_path / "run"
    script = """
    import resource, sys
    from pathlib import Path
    import numpy as np
    from tests.ledger.compaction.test_compactor import QUIET, files
    from weightslab.ledger import Ledger
    from weightslab.maintenance.compact import compact
    root = Path(sys.argv[1])
    ledger = Ledger(root, options=QUIET)
    rows = ledger.ids.block("train", range(3))
    for step in range(150):
        ledger.append_samples({"loss": np.ones(3)}, rows, step=step, log=False)
        ledger._writer.publish(bases=False)
    ledger.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    done = compact(root, archive=True)
    print(done.refused, done.notices, len(files(root, "history")))
    """
    assert run_script(script, root, check=True, path=True).stdout.strip() == "() () 1"


def test_a_file_without_a_footer_is_said_and_set_aside(tmp_path: Path) -> None:
    """What cannot be merged is named and set aside, and nothing of it is removed."""
    root = tmp_path / "run"
    ledger = Ledger(root, options=QUIET)
    fill(ledger, FAN)
    ledger.close()
    broken = files(root, "history/kind=sample")[3]
    broken.write_bytes(b"PAR1 nothing PAR1")
    with pytest.warns(match=broken.name):
        done = compact(root)
    assert any(broken.name in text for text in done.notices)
    assert (root / "_damaged" / broken.relative_to(root)).read_bytes() == b"PAR1 nothing PAR1"


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    """An error says what was expected."""
    with pytest.raises(FolderError, match="no ledger"):
        compact(tmp_path)
