"""The time of an edit, when clocks disagree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

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
