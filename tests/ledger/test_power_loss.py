from __future__ import annotations

import random
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.ledger.power import Disk, Image, Killed, PowerLossFiles
from tests.ledger.stories import LARGE, Told, check_run, open_run, read_run, tell, tell_step
from weightslab.errors import WeightsLabWarning
from weightslab.notices import Notices


@dataclass
class Moment:
    """A moment at which the power may fail, and what was acknowledged by then."""

    image: Image
    acknowledged: Told


def moments_of(root: Path, *, mapped: bool) -> tuple[list[Moment], Told]:
    """The disk before each operation of the story and after each thing that it saves."""
    moments: list[Moment] = []
    disk = Disk(root.parent)
    acknowledged, told, done = Told(), Told(), Told()

    def reach() -> None:
        moments.append(Moment(disk.image(), acknowledged))

    saved = 0
    before = "open"
    for marker in tell(root, PowerLossFiles(disk, reach, mapped=mapped), told, Notices()):
        saved = saved + 1 if marker == "saved" else 0
        if before in ("flush", "close"):
            acknowledged = done
        if marker == "saved" and saved in (2, 3, 4):
            # An edit is durable when it returns, and with it all that was logged before.
            acknowledged = told.without_large(acknowledged)
        done = told.copy()
        before = marker
        reach()
    acknowledged = done
    reach()
    return moments, told


@pytest.mark.parametrize("seed", [None, 1, 2], ids=["synced", "mixed1", "mixed2"])
@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "appended"])
def test_a_power_loss_at_any_moment_loses_only_the_unacknowledged_end(
    tmp_path: Path, mapped: bool, seed: int | None
) -> None:
    """Whatever a disk kept of what was not synced, what was acknowledged is there, and right."""
    moments, told = moments_of(tmp_path / "live/run", mapped=mapped)
    assert len(moments) > 300
    for at, moment in enumerate(moments):
        dice = None if seed is None else random.Random(1000 * seed + at)
        moment.image.restore(tmp_path / "back", dice)
        check_run(tmp_path / "back/run", moment.acknowledged, told)
        shutil.rmtree(tmp_path / "back")


def test_a_folder_goes_on_after_a_power_loss(tmp_path: Path) -> None:
    """The next launch takes up what is there, and adds to it without mixing anything up."""
    moments, told = moments_of(tmp_path / "live/run", mapped=True)
    for at in range(0, len(moments), 6):
        moment = moments[at]
        moment.image.restore(tmp_path / "back", random.Random(at))
        root = tmp_path / "back/run"
        root.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WeightsLabWarning)
            ledger = open_run(root, PowerLossFiles(Disk(root), lambda: None))
            there = {ledger.ids.name(row) for row in range(len(ledger.ids))}
            rows = ledger.ids.add(["after", "x"], "train")
            ledger.append_samples({"later": np.array([7.0, 8.0])}, rows, step=9)
            ledger.edit.tag(rows[:1], "late", True)
            ledger.close()
        assert not any(name.startswith("lost/") for name in there)
        found = read_run(root)
        for name, value in (("after", 7.0), ("x", 8.0)):
            assert found.values.pop(("later", name, 0, 9, value)) == 1
        assert found.edits.pop(("late", "after")) is True
        assert found.holds(moment.acknowledged)
        assert told.holds(found)
        shutil.rmtree(tmp_path / "back")


def test_a_power_loss_after_a_kill_costs_nothing_that_the_next_launch_built_on(
    tmp_path: Path,
) -> None:
    """Killed anywhere in a flush and taken up again: with the next edit all of it is durable."""
    at = 0
    while True:
        disk, told, life = Disk(tmp_path / f"{at}"), Told(), Life(at)
        root = disk.root / "run"
        files = PowerLossFiles(disk, life.reach)
        disk.root.mkdir()
        ledger = open_run(root, files)
        for step in range(3):
            for _ in tell_step(ledger, step, told):
                pass
            life.counting = step == 2
            try:
                ledger.flush()
            except Killed:
                break
        ledger.disown()
        if not life.dead:
            break
        large = told.arrays.pop(LARGE)
        again = open_run(root, PowerLossFiles(disk, lambda: None))
        again.edit.tag(again.ids.add(["x"], "train"), "late", True)
        told.edits["late", "x"] = True
        for flush in (False, True):
            if flush:
                again.flush()
            disk.image().restore(tmp_path / "back", None)
            found = read_run(tmp_path / "back/run")
            assert found.arrays.pop(LARGE) in (large - 1, large)
            assert found == told
            shutil.rmtree(tmp_path / "back")
        again.close()
        at += 1
    assert at > 40


class Life:
    """Ends a process at its n-th operation since `counting`."""

    def __init__(self, at: int) -> None:
        self.dead = self.counting = False
        self._left = at

    def reach(self) -> None:
        if self.counting:
            self.dead |= self._left == 0
            self._left -= 1
        if self.dead:
            raise Killed
