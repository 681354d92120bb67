"""The signals of a session: what it inherits, whom it makes wait and for how long, how it ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import weightslab as wl
from tests.signals.support import Gate, feed, said, series
from tests.spec.support import python
from weightslab.session import Session, current


def half(ctx: Any) -> float:
    return ctx.subscribed_value / 2


# -- whose signals ------------------------------------------------------------------------


def test_a_session_that_is_entered_inherits() -> None:
    """Definitions reach an inner session in their order, and stay with the outer one."""
    for name in ("second", "first"):
        wl.signal(name=name, subscribe_to="loss")(half)
    with wl.Session("a") as a:
        wl.signal(name="inner", subscribe_to="first")(half)
        assert [one.name for one in a.signals.registry] == ["second", "first", "inner"]
        feed("loss", [0])
        assert set(series("inner")) == {"a", "b"}
    assert [one.name for one in current().signals.registry] == ["second", "first"]
    with wl.Session("b") as b:
        assert [one.name for one in b.signals.registry] == ["second", "first"]


def test_a_fresh_start_forgets() -> None:
    """`wl.reset()` computes what is left, and leaves no definition behind."""
    wl.signal(name="half", subscribe_to="loss")(half)
    feed("loss", [0])
    wl.reset()
    assert len(current().signals.registry) == 0
    assert current().recording.listener is None
    assert set(series("half")) == {"a", "b"}


FORKED = """
import os, sys
import weightslab as wl

@wl.signal(subscribe_to="loss")
def half(ctx):
    return ctx.subscribed_value / 2

with wl.Session(sys.argv[1]) as session:
    wl.save_signals({"loss": [1.0]}, ["parent"], step=0)
    session.settled()
    child = os.fork()
    if child == 0:
        wl.save_signals({"loss": [2.0]}, ["child"], step=0)
        wl.reset()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_forked_child_has_them_and_a_thread_of_its_own(tmp_path: Path) -> None:
    """A rank that is forked computes its own signals."""
    done = python(FORKED, tmp_path / "run")
    assert (done.returncode, done.stderr) == (0, "")
    with wl.Session(tmp_path / "run", mode="r"):
        assert series("half") == {"parent": [(0, 0.5)], "child": [(0, 1.0)]}


def test_a_signal_that_is_defined_again_takes_over() -> None:
    """Values that come later fire the newer function, the one before keeps its own."""
    wl.signal(name="x", subscribe_to="loss")(lambda ctx: 1.0)
    feed("loss", [0], ["a"])
    wl.history()
    wl.signal(name="x", subscribe_to="loss")(lambda ctx: 2.0)
    feed("loss", [1], ["a"])
    wl.signal(name="x", subscribe_to="other")(lambda ctx: 3.0)
    feed("loss", [2], ["a"])
    assert series("x") == {"a": [(0, 1.0), (1, 2.0)]}


# -- waiting ---------------------------------------------------------------------------------


def test_whoever_reads_waits(tmp_path: Path) -> None:
    """Tables, lazy frames and Parquet files have what was to be computed."""

    @wl.signal(name="half", subscribe_to="loss")
    def slow(ctx: Any) -> float:
        time.sleep(0.01)
        return half(ctx)

    with wl.Session(tmp_path / "run") as session:
        lazy = wl.scan_history("half")
        feed("loss", [0])
        assert lazy.collect().height == 2
        feed("loss", [1], ["c"])
        assert "c" in wl.samples().drop_nulls("signals//half")["sample_id"]
        feed("loss", [2])
        assert wl.history("half", kind="global").height == 3
        feed("loss", [3])
        session.flush()
        (file,) = (tmp_path / "run").glob("**/kind=sample/**/signal=half/**/*.parquet")
        assert pl.read_parquet(file, columns=["step"]).height == 7
        assert said() == ""


def test_waiting_ends_with_a_word() -> None:
    """A signal that stands still does not hold a query for ever; what is missing is said."""
    gate = Gate()
    wl.signal(name="stuck", subscribe_to="loss")(gate)
    session = current()
    session.signals.most_wait_s = 0.05
    feed("loss", [0])
    with pytest.warns(wl.WeightsLabWarning) as caught:
        assert wl.history("loss").height == 2
    assert [str(one.message).partition(" ")[0] for one in caught] == ["1"]
    assert "still wait for their signals after 0.05 s" in said()
    assert not session.signals.drain()
    gate.open.set()
    session.signals.most_wait_s = 30
    assert session.signals.drain()
    assert wl.status()["signals"]["waiting"] == 0


def test_a_session_that_ends_gives_up_with_a_word() -> None:
    """After its time is over the rest is counted, and what stands still disturbs nobody."""
    gate = Gate()
    with wl.Session("run") as session:
        wl.signal(name="stuck", subscribe_to="loss")(gate)
        feed("loss", [0, 1, 2])
        assert gate.reached.wait(30)
        session.signals.most_wait_s = 0.05
        with pytest.warns(wl.WeightsLabWarning) as caught:
            session.close()
    assert any("3 batches of values were given up" in str(one.message) for one in caught)
    assert session.signals.status()["dropped"] == {"stuck": 2}
    gate.open.set()
    with wl.Session("run", mode="r"):
        assert wl.history("loss").height == 6


@pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")
def test_ctrl_c_ends_the_waiting() -> None:
    """Whoever does not want to wait for signals at the end loses them alone: the run is closed."""
    gate = Gate()
    with wl.Session("run") as session:
        wl.signal(name="stuck", subscribe_to="loss")(gate)
        feed("loss", [0])
        assert gate.reached.wait(30)

        def interrupted() -> None:
            threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
            session.close()

        # Whoever starts the tests in the background of a script has it ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                interrupted()
        finally:
            signal.signal(signal.SIGINT, before)
    gate.open.set()
    assert session.ledger.closed
    with wl.Session("run", mode="r"):
        assert wl.history("loss").height == 2


def test_a_signal_may_read_tag_and_end(tmp_path: Path) -> None:
    """Within a signal nothing waits for itself: not a query, an export, a flush, nor the end."""

    @wl.signal(name="x", subscribe_to="loss")
    def x(ctx: Any) -> float:
        wl.tag_samples([ctx.sample_id], "seen")
        assert ctx.sample_id in wl.get_samples_by_tag("seen", origin=None)
        wl.write_dataframe(tmp_path / "table.json")
        current().flush()
        found = float(wl.scan_history("loss").collect().height)
        if ctx.step == 1:
            wl.reset()
        return found

    feed("loss", [0], ["a"])
    assert series("x") == {"a": [(0, 1.0)]}
    assert said() == ""
    session = current()
    feed("loss", [1], ["a"])
    assert session.signals.drain()
    assert session.ledger.closed
    assert current() is not session
    feed("loss", [2], ["a"])


AT_EXIT = """
import sys, time
import weightslab as wl

@wl.signal(subscribe_to="loss")
def half(ctx):
    time.sleep(0.02)
    return ctx.subscribed_value / 2

session = wl.Session(sys.argv[1]).__enter__()
for step in range(20):
    wl.save_signals({"loss": [1.0]}, ["a"], step=step)
"""


def test_the_end_of_the_script_waits(tmp_path: Path) -> None:
    """A script that just ends has all of its signals."""
    done = python(AT_EXIT, tmp_path / "run")
    assert (done.returncode, done.stderr) == (0, "")
    with wl.Session(tmp_path / "run", mode="r"):
        assert series("half") == {"a": [(step, 0.5) for step in range(20)]}


KILLED = """
import os, signal, sys
import weightslab as wl

done = []

@wl.signal(subscribe_to="loss", include_history=True)
def length(ctx):
    if ctx.step == 30:
        os.kill(os.getpid(), signal.SIGKILL)
    return float(len(ctx.subscribed_history))

session = wl.Session(sys.argv[1]).__enter__()
for step in range(100):
    wl.save_signals({"loss": [1.0, 2.0]}, ["a", "b"], step=step)
session.settled()
"""


def test_a_kill_takes_no_result_that_was_saved(tmp_path: Path) -> None:
    """Results are as safe as values: a process that is killed keeps all of them."""
    done = python(KILLED, tmp_path / "run")
    assert done.returncode == -9
    with wl.Session(tmp_path / "run", mode="r"):
        expected = [(step, float(step)) for step in range(30)]
        assert series("length") == {"a": expected, "b": expected}


def test_status_names_what_waits_and_what_failed() -> None:
    """Three numbers that tell whether signals keep up."""
    assert wl.status()["signals"] == {
        "waiting": 0,
        "dropped": {},
        "failed": {},
        "unheard": {},
        "history_bytes": 0,
    }


def test_a_reading_session_hears_nothing(tmp_path: Path) -> None:
    """A folder that is open for reading takes no value, whatever is defined."""
    with wl.Session(tmp_path / "run"):
        feed("loss", [0])
    wl.signal(name="half", subscribe_to="loss")(half)
    with Session(tmp_path / "run", mode="r"):
        assert wl.history("half").is_empty()
        assert wl.history("loss").height == 2
    assert os.getpid() == current().process_id
