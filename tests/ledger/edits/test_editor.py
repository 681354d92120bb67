"""The time of an edit when clocks disagree, and edits that a disk does not take."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.ledger.disks import FaultyFiles
from tests.ledger.support import FailingFiles, UnmappedFailingFiles
from weightslab.errors import WeightsLabWarning
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.queries.samples import discarded_ids

STILL = LedgerOptions(sync_interval_s=1e6, flush_interval_s=1e6)
ONE = np.array([0], np.int32)


class Clock:
    """A clock that shows what it is told."""

    def __init__(self, shows_s: float) -> None:
        self.shows_s = shows_s

    def __call__(self) -> float:
        return self.shows_s


def opened(root: Path, clock: Clock) -> Ledger:
    ledger = Ledger(root, options=STILL, now=clock)
    ledger.register("train", range(2))
    return ledger


def new_log(ledger: Ledger) -> None:
    """Let the next record need a new file."""
    if ledger._writer._wal is not None:
        ledger._writer._wal.break_off()


def found(root: Path) -> list[str]:
    return discarded_ids(Ledger(root, mode="r"), None)


@pytest.mark.parametrize("hour", [3600.0, -3600.0])
def test_an_edit_in_sight_of_another_wins_whatever_the_clocks_say(
    tmp_path: Path, hour: float
) -> None:
    """Of two writers an hour apart, whoever edits last wins, in every process and in the tables."""
    first = opened(tmp_path, Clock(1e9))
    second = opened(tmp_path, Clock(1e9 + hour))
    first.edit.discard(ONE, True)
    assert second.edit.discard(ONE, False) == 1
    assert found(tmp_path) == []
    assert first.edit.discard(ONE, True) == 1
    assert found(tmp_path) == ["train/0"]
    assert second.edit.discard(ONE, False) == 1
    first._others.look()
    assert (first.discarded.count, second.discarded.count, found(tmp_path)) == (0, 0, [])
    first.close()
    second.close()


def test_a_clock_that_steps_back_lets_no_old_edit_win(tmp_path: Path) -> None:
    """Within a launch and between launches the later edit stays the newer one."""
    clock = Clock(1e9)
    ledger = opened(tmp_path, clock)
    ledger.edit.discard(ONE, True)
    clock.shows_s -= 3600
    ledger.edit.discard(ONE, False)
    assert ledger.discarded.count == 0
    clock.shows_s -= 3600
    other = opened(tmp_path, clock)
    assert other.discarded.count == 0
    other.edit.discard(ONE, True)
    ledger.close()
    other.close()
    clock.shows_s -= 3600
    again = opened(tmp_path, clock)
    assert again.discarded.count == 1
    again.edit.discard(ONE, False)
    again.close()
    assert found(tmp_path) == []


def test_the_times_of_a_journal_only_grow(tmp_path: Path) -> None:
    """A microsecond after the newest edit where the clock says less, else the clock's time."""
    clock = Clock(1000.0)
    ledger = opened(tmp_path, clock)
    for shows_s in (1000.0, 999.0, 1000.0, 1001.0):
        clock.shows_s = shows_s
        ledger.edit.discard(ONE, not ledger.discarded.count)
    times = [entry.time_us for entry in ledger._store.pending.journal]
    assert times == [1_000_000_000, 1_000_000_001, 1_000_000_002, 1_001_000_000]
    ledger.close()


def test_a_newer_time_in_ones_own_files_is_seen_at_opening(tmp_path: Path) -> None:
    """A snapshot does not hide the time of the edits behind it."""
    clock = Clock(1e9)
    ledger = opened(tmp_path, clock)
    ledger.edit.tag(ONE, "t", True)
    ledger.close()
    clock.shows_s = 10.0
    again = opened(tmp_path, clock)
    again.edit.discard(ONE, True)
    assert again._store.pending.journal[-1].time_us == 1_000_000_000_000_001
    again.close()


@pytest.mark.parametrize("disk", [FailingFiles, UnmappedFailingFiles])
@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda ledger: ledger.edit.tag(ONE, "hard", True), "tag 'hard' of 1 sample"),
        (lambda ledger: ledger.edit.discard(ONE, True), "discard of 1 sample"),
        (lambda ledger: ledger.edit.categorize(ONE, "sky", "grey"), "'grey' as 'sky' of 1 sample"),
        (lambda ledger: ledger.edit.register_category("sky", ["grey"]), "categories of 'sky'"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*cannot be written:weightslab.WeightsLabWarning")
def test_an_edit_that_no_disk_took_is_said_at_the_call_once_an_outage(
    tmp_path: Path,
    disk: type[FailingFiles],
    attached: bool,
    edit: Callable[[Ledger], object],
    named: str,
) -> None:
    """The call says that the edit waits in memory: again only after the disk worked between."""
    files = disk()
    files.broken = not attached
    ledger = Ledger(tmp_path, options=STILL, files=files)
    ledger.register("train", range(2))
    files.broken = True
    new_log(ledger)
    with pytest.warns(WeightsLabWarning, match=f"{named} could not be put on the disk") as caught:
        edit(ledger)
        ledger.edit.tag(ONE, "other", True)
    assert sum("could not be put" in str(said.message) for said in caught) == 1
    files.broken = False
    ledger._writer.tick()
    ledger.flush()
    ledger.edit.tag(ONE, "whole", True)
    files.broken = True
    new_log(ledger)
    with pytest.warns(WeightsLabWarning, match="tag 'third' of 1 sample could not be put"):
        ledger.edit.tag(ONE, "third", True)
    files.broken = False
    ledger.close()


def test_a_log_that_cannot_be_synced_is_said_at_the_edit(tmp_path: Path) -> None:
    """What a disk refuses to sync is not on it, and the call that waited for it says so."""
    files = FaultyFiles()
    ledger = Ledger(tmp_path, options=STILL, files=files)
    ledger.register("train", range(2))
    ledger.edit.tag(ONE, "whole", True)
    files.fail("sync", 0, errno.EIO)
    with pytest.warns(WeightsLabWarning) as caught:
        ledger.edit.tag(ONE, "hard", True)
    assert any("'hard' of 1 sample could not be put" in str(said.message) for said in caught)
    ledger.close()


def test_edits_that_are_lost_at_the_end_are_counted(tmp_path: Path) -> None:
    """A run that ends on a full disk says how many edits it takes with it."""
    files = FailingFiles()
    files.broken = True
    with pytest.warns(WeightsLabWarning) as caught:
        ledger = Ledger(tmp_path, options=STILL, files=files)
        ledger.edit.tag(ledger.register("train", range(2)), "hard", True)
        ledger.edit.discard(ONE, True)
        ledger.close()
    assert any("0 values and 2 edits wait" in str(said.message) for said in caught)
