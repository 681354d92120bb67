"""The thread that looks after a file."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.hyperparameters.support import until
from weightslab.errors import InputError
from weightslab.hyperparameters.watcher import Watcher, checked_interval
from weightslab.notices import Notices


class Looking:
    """Counts looks, and fails at some of them."""

    def __init__(self, failing: int = 0) -> None:
        self.notices = Notices()
        self.looks = 0
        self.failing = failing

    def look(self, wait: Callable[[float], bool]) -> None:
        """One look."""
        self.looks += 1
        if self.looks <= self.failing:
            raise OSError("not now")


def _threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "weightslab-hyperparameters"]


def test_it_looks_until_it_is_stopped() -> None:
    """Again and again; stopped, the thread is gone."""
    looking = Looking()
    watcher = Watcher(looking, 0.01)
    until(lambda: looking.looks > 2)
    watcher.stop()
    watcher.stop()
    until(lambda: not _threads())


def test_it_ends_with_what_it_watches() -> None:
    """Nobody holds it any more: the thread does not, either."""
    watcher = Watcher(Looking(), 0.01)
    gc.collect()
    until(lambda: not _threads())
    watcher.stop()


@pytest.mark.filterwarnings("ignore:looking at the file")
def test_a_look_that_fails_is_said_and_tried_again() -> None:
    """The thread outlives an error, which is counted."""
    looking = Looking(failing=2)
    watcher = Watcher(looking, 0.01)
    until(lambda: looking.looks > 3)
    watcher.stop()
    assert list(looking.notices.counts().values()) == [2]
    assert "OSError: not now" in looking.notices.messages()[0]


def test_it_keeps_no_interpreter_alive(tmp_path: Any) -> None:
    """A script that ends while its file is watched ends."""
    (tmp_path / "c.yaml").write_text("lr: 1")
    script = (
        "import weightslab as wl\n"
        f"hp = wl.watch_or_edit({str(tmp_path / 'c.yaml')!r}, flag='hp', poll_interval=0.01)\n"
        "print(hp.lr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


@pytest.mark.parametrize("seconds", [0.01, 1, 2.5, 86_400])
def test_intervals(seconds: float) -> None:
    """Any number of seconds from a hundredth to a day."""
    assert checked_interval(seconds) == seconds


@pytest.mark.parametrize(
    "bad", [0, -1, 0.001, 86_401, float("nan"), float("inf"), True, "1", None, [1]]
)
def test_what_is_no_interval(bad: Any) -> None:
    """The error says what was expected and what came."""
    with pytest.raises(InputError, match=r"poll_interval is a number of seconds from 0\.01 to"):
        checked_interval(bad)
