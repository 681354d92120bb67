"""Which session a verb acts on: re-entry, forks, threads."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import weightslab as wl
from tests.spec.support import python
from weightslab import session as sessions
from weightslab.errors import StateError


def test_a_session_is_entered_once(tmp_path: Path) -> None:
    """A session entered twice would leave a closed one behind: it is refused, and stays current."""
    session = wl.Session(tmp_path / "run")
    with session:
        with pytest.raises(StateError, match=r"was entered already.*wl\.Session"), session:
            pass
        assert sessions.current() is session
        wl.save_signals({"loss": [1.0]}, ["a"])
    assert sessions.current_or_none() is None
    with pytest.raises(StateError, match="is closed"), session:
        pass
    assert sessions.current_or_none() is None


CHILD_OF_A_READER = """
import os, sys
import weightslab as wl
from weightslab.errors import ReadOnlyError
with wl.Session(sys.argv[1], mode="r"):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            # No query here: a forked child that uses Polars after its parent did hangs.
            wl.tag_samples(["a"], "hard")
        except ReadOnlyError:
            status = 0
        finally:
            os._exit(status)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_of_a_reading_session_does_not_write(tmp_path: Path) -> None:
    """A process forked while a folder is open for reading does not write to it either."""
    with wl.Session(tmp_path / "run"):
        wl.save_signals({"loss": [1.0]}, ["a"])
        wl.tag_samples(["a"], "easy")
    before = sorted(tmp_path.rglob("*"))
    done = python(CHILD_OF_A_READER, tmp_path / "run")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(tmp_path.rglob("*")) == before


class SlowSource:
    """A source whose rows take a while."""

    def __init__(self, session: wl.Session) -> None:
        self.session = session
        self.attached = 0

    def attach(self) -> None:
        _ = self.session.ledger  # as a loader's source does
        time.sleep(0.05)
        self.attached += 1


def test_threads_that_need_the_ledger_at_once_wait_for_its_samples(tmp_path: Path) -> None:
    """Each source is attached once, and before any thread gets the ledger."""
    with wl.Session(tmp_path / "run") as session:
        _ = session.ledger
        sources = [SlowSource(session) for _ in range(4)]
        for source in sources:
            session.registry.register_source(source)
        seen: list[list[int]] = []

        def look() -> None:
            _ = session.ledger
            seen.append([source.attached for source in sources])

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [[1] * 4] * 8


CLOSES_BADLY = """
import sys
import weightslab as wl
from weightslab.session import slot

class Stuck:
    def close(self):
        raise OSError("no space left")

stuck = [Stuck() for _ in range(3)]
sessions = [wl.Session(f"{sys.argv[1]}/{name}") for name in "abc"]
for session, one in zip(sessions, stuck):
    session.ledger.append_scalars({"x": 1.0}, step=0)
    slot.close_at_exit(one)
"""


def test_a_session_that_cannot_close_keeps_no_other_from_closing(tmp_path: Path) -> None:
    """At exit every session is closed; those that cannot are warned of."""
    done = python(CLOSES_BADLY, tmp_path)
    assert done.returncode == 0
    assert done.stderr.count("could not be closed") == 1
    assert "Traceback" not in done.stderr
    assert "OSError: no space left" in done.stderr
    written = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("seg-*")}
    assert written == {"a", "b", "c"}
