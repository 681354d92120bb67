"""The process that merges: what may happen to it, and what it leaves."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import signal
import time
import warnings
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import pytest

from tests.ledger.compaction.test_compactor import (
    QUIET,
    everything,
    expected,
    files,
    fill,
    wait_for_merges,
)
from tests.ledger.disks import FaultyFiles
from tests.ledger.support import run_script, sample_rows
from weightslab.errors import WeightsLabWarning
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.compaction.compactor import Compactor
from weightslab.ledger.compaction.order import Order, carry_out
from weightslab.ledger.compaction.pauses import Pauses
from weightslab.ledger.compaction.plan import FAN
from weightslab.ledger.files import Files


class Here:
    """Carries orders out at once, on this thread and on a disk of its own."""

    finished = True

    def __init__(self, disk: Files) -> None:
        self.disk = disk
        self.orders: list[dict[str, Any]] = []

    def __call__(self, order: Order, rest: RLock) -> Here:
        self.orders.append(order.words())
        with contextlib.suppress(OSError):  # a process that dies of it
            carry_out(order.words(), self.disk)
        return self

    def end(self) -> None:
        """Nothing to end."""

    def disown(self) -> None:
        """Nothing to let go of."""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Merging:
    """A ledger's compactor whose child and clock are the test's."""

    def __init__(self, ledger: Ledger, start: Any) -> None:
        self.clock = Clock()
        writer = ledger._writer
        assert writer._publisher is not None
        assert writer.name is not None
        self.compactor = Compactor(
            writer._store,
            writer._layout,
            writer._files,
            writer._notices,
            writer.rest,
            start=start,
            clock=self.clock,
        )
        self._name, self._covered = writer.name, writer._publisher.covered

    def tick(self, times: int = 1, pause_s: float = 0.0) -> None:
        for _ in range(times):
            self.compactor.tick(self._name, self._covered)
            self.clock.now += pause_s


def filled(root: Path, flushes: int = FAN) -> Ledger:
    ledger = Ledger(root, options=QUIET)
    fill(ledger, flushes)
    ledger._writer.publish(bases=True)
    return ledger


@pytest.mark.parametrize("kind", ["create", "write", "sync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_child_whose_disk_refuses_loses_nothing_and_its_merges_are_made_later(
    tmp_path: Path, kind: str, number: int
) -> None:
    """Refused at its n-th operation, a child leaves nothing behind; all is merged in the end."""
    for at in itertools.count():
        root = tmp_path / str(at)
        ledger = filled(root)
        whole = everything(root)
        disk = FaultyFiles(kind, at, number)
        merging = Merging(ledger, Here(disk))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WeightsLabWarning)
            merging.tick(2)
            assert everything(root) == whole
            merging.tick(4, pause_s=400)
        ledger.close()
        assert everything(root) == whole
        assert len(files(root, "history/kind=sample")) == 1
        assert list((root / "_tmp").iterdir()) == []
        if not disk.failed:
            break
    assert at > 1


def test_a_full_disk_is_tried_again_after_growing_pauses(tmp_path: Path) -> None:
    """A disk that stays full is asked less and less often; once it has room all is merged."""
    ledger = filled(tmp_path / "run")
    disk = FaultyFiles("sync", 0, errno.ENOSPC, forever=True)
    child = Here(disk)
    merging = Merging(ledger, child)
    with pytest.warns(WeightsLabWarning, match="tried again"):
        merging.tick(100)
    # At once, and then after pauses: the clock stands still.
    assert len(child.orders) == 2
    merging.tick(100, pause_s=6.0)
    assert 4 < len(child.orders) < 12
    disk.heal()
    merging.tick(4, pause_s=400)
    assert len(files(tmp_path / "run", "history/kind=sample")) == 1
    ledger.close()


def test_pauses_double_up_to_some_minutes_and_end_with_success() -> None:
    """At once, 5 s, 10 s and so on, never above 320 s; what passed begins anew."""
    clock = Clock()
    pauses = Pauses(clock)
    found = []
    for _ in range(10):
        pauses.failed("it")
        start = clock.now
        while pauses.waits("it"):
            clock.now += 5
        found.append(clock.now - start)
    assert found == [0, 5, 10, 20, 40, 80, 160, 320, 320, 320]
    pauses.passed("it")
    assert pauses.failed("it") == 1
    assert not pauses.waits("it")


def test_a_child_that_cannot_be_started_is_tried_again_after_growing_pauses(
    tmp_path: Path,
) -> None:
    """No memory for a process: it is not tried at every tick, and said once."""
    attempts = 0

    def refuse(order: Order, rest: RLock) -> Here:
        nonlocal attempts
        attempts += 1
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    ledger = filled(tmp_path / "run")
    merging = Merging(ledger, refuse)
    with pytest.warns(WeightsLabWarning, match="cannot start"):
        merging.tick(50)
    assert attempts == 2
    merging.tick(3, pause_s=5.0)
    assert attempts == 3
    ledger.close()


def test_what_a_killed_child_left_is_removed_when_it_has_ended(tmp_path: Path) -> None:
    """Half a merged file does not lie about until the training ends, and is never published."""

    class Killed(Here):
        def __call__(self, order: Order, rest: RLock) -> Here:
            words = order.words()
            Path(words["paths"][0]).write_bytes(b"half")
            Path(words["results"]).write_bytes(b'{"rows": 40, "err')
            return self

    ledger = filled(tmp_path / "run")
    merging = Merging(ledger, Killed(Files()))
    merging.tick()
    assert len(list((tmp_path / "run/_tmp").iterdir())) == 2
    merging.compactor._start_child = Here(Files())
    merging.tick(4, pause_s=400)
    assert list((tmp_path / "run/_tmp").iterdir()) == []
    ledger.close()
    assert sample_rows(tmp_path / "run") == expected(FAN)


def test_a_damaged_file_is_a_border_and_the_files_around_it_are_merged(tmp_path: Path) -> None:
    """One file that cannot be read stays; what stands before and behind it is merged apart."""
    root = tmp_path / "run"
    ledger = filled(root, 2 * FAN + 1)
    broken = files(root, "history/kind=sample")[FAN // 2]
    broken.write_bytes(b"PAR1 nothing PAR1")
    merging = Merging(ledger, Here(Files()))
    with pytest.warns(WeightsLabWarning, match=broken.name):
        merging.tick(8)
    left = files(root, "history/kind=sample")
    assert broken in left
    assert len(left) == FAN // 2 + 1 + 1 + (2 * FAN + 1 - FAN // 2 - 1 - FAN)
    assert len(files(root, "history/kind=instance")) == 3
    ledger.close()


def test_a_damaged_merged_journal_stops_no_other_merge(tmp_path: Path) -> None:
    """A journal file whose footer is torn is left alone; history is merged all the same."""
    root = tmp_path / "run"
    ledger = filled(root)
    ledger.compact()
    merged = files(root, "journal")[0]
    assert "000000001-" in merged.name
    fill(ledger, FAN, start=FAN)
    ledger._writer.publish(bases=True)
    merged.write_bytes(b"PAR1 nothing PAR1")
    merging = Merging(ledger, Here(Files()))
    with pytest.warns(WeightsLabWarning, match=merged.name):
        merging.tick(4)
    assert len(files(root, "history/kind=sample")) == 2
    assert merged.exists()
    assert ledger.notices.counts()[str(("compaction", str(merged)))] == 1
    ledger.close()


def test_what_is_kept_in_mind_does_not_grow_with_the_merges(tmp_path: Path) -> None:
    """Of files that were merged away nothing is remembered."""
    ledger = filled(tmp_path / "run")
    merging = Merging(ledger, Here(Files()))
    for start in range(FAN, 5 * FAN, FAN):
        merging.tick(3)
        fill(ledger, FAN, start=start)
    merging.tick(3)
    whole = merging.compactor._whole
    assert set(whole._tiers) | set(whole._rows) <= set(files(tmp_path / "run", ""))
    ledger.close()


def test_what_a_child_prints_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sitecustomize that greets on standard output is not taken for results."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text("print('hello', flush=True)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    ledger = filled(tmp_path / "run")
    wait_for_merges(ledger)
    assert len(files(tmp_path / "run", "history/kind=sample")) == 1
    assert list((tmp_path / "run/_tmp").iterdir()) == []
    ledger.close()
    assert ledger.notices.messages() == []


def test_a_worker_that_is_forked_while_a_child_starts_holds_nothing_up(tmp_path: Path) -> None:
    """A DataLoader worker that lives on cannot keep the flush thread waiting for the child."""
    script = """
    import os, signal, sys, threading, time
    from tests.ledger.compaction.test_compactor import fill, QUIET, files
    from weightslab.ledger import Ledger, LedgerOptions
    from pathlib import Path
    ledger = Ledger(sys.argv[1], options=QUIET)
    fill(ledger, 8)
    ledger._writer.publish(bases=True)
    starting, forked = threading.Event(), threading.Event()
    def hook(name, arguments):
        if name == "subprocess.Popen" and not starting.is_set():
            starting.set()
            forked.wait(1)  # as long as the fork waits for us, if it does
    sys.addaudithook(hook)
    def ticks():
        while len(files(Path(sys.argv[1]), "history/kind=sample")) > 1:
            ledger._writer.compact()
            time.sleep(0.05)
    thread = threading.Thread(target=ticks, daemon=True)
    thread.start()
    assert starting.wait(30)
    worker = os.fork()
    if worker == 0:
        time.sleep(120)
        os._exit(0)
    forked.set()
    thread.join(30)
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    print("stuck" if thread.is_alive() else "merged", flush=True)
    os._exit(0)
    """
    assert run_script(script, tmp_path / "run", path=True).stdout.strip() == "merged"


class ReadOnlyAtLast(Files):
    broken = False

    def remove(self, path: Path) -> None:
        if self.broken:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        super().remove(path)


def test_a_ledger_closes_whatever_becomes_of_its_child(tmp_path: Path) -> None:
    """A merge that cannot be cleared away costs neither the end of a run nor its lock."""
    disk = ReadOnlyAtLast()
    root = tmp_path / "run"
    ledger = Ledger(root, options=QUIET, files=disk)
    fill(ledger, FAN)
    ledger._writer.publish(bases=True)
    with ledger._flusher.lock:
        ledger._writer.compact()
        compactor = ledger._writer._compactor
        assert compactor is not None
        deadline = time.monotonic() + 60
        while not compactor._child.finished:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    disk.broken = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeightsLabWarning)
        ledger.close()
    assert not disk.is_locked(root / "_wal/0-0/lock")
    assert sample_rows(root) == expected(FAN)


def test_an_error_of_merging_does_not_cost_the_last_flush(tmp_path: Path) -> None:
    """Whatever ending the merges raises is said, and what waits is written all the same."""

    class Unending(Here):
        finished = False

        def end(self) -> None:
            raise RuntimeError("no end")

    root = tmp_path / "run"
    ledger = filled(root)
    merging = Merging(ledger, Unending(Files()))
    merging.tick()
    ledger._writer._compactor = merging.compactor
    rows = ledger.ids.block("train", range(5))
    ledger.append_samples({"loss": np.ones(5)}, rows, step=FAN)
    with pytest.warns(WeightsLabWarning, match="no end"):
        ledger.close()
    assert not Files().is_locked(root / "_wal/0-0/lock")
    assert len(sample_rows(root)) == 5 * (FAN + 1)


def test_an_error_of_merging_holds_no_flush_up(tmp_path: Path) -> None:
    """Whatever merging raises in the background, it is said once, and flushes go on."""

    class Unfinished(Here):
        @property
        def finished(self) -> bool:  # type: ignore[override]
            raise RuntimeError("nobody knows")

    root = tmp_path / "run"
    fast = LedgerOptions(flush_interval_s=0.02, sync_interval_s=0.02)
    ledger = Ledger(root, options=fast)
    fill(ledger, FAN)
    with ledger._flusher.lock:
        ledger._writer.publish(bases=True)
        merging = Merging(ledger, Unfinished(Files()))
        merging.compactor._child = Unfinished(Files())
        ledger._writer._compactor.stop()
        ledger._writer._compactor = merging.compactor
    deadline = time.monotonic() + 60
    with pytest.warns(WeightsLabWarning, match="nobody knows"):
        while not ledger.notices.messages():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not ledger._flusher.failing
    rows = ledger.ids.block("train", range(5))
    ledger.append_samples({"loss": np.ones(5)}, rows, step=FAN)
    while ledger._store.tail_rows:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ledger.close()


def test_the_process_has_the_lowest_priority_and_ends_with_its_parent() -> None:
    """It yields to everything else, and goes when whoever started it is gone."""
    script = """
    import os, subprocess, sys, time
    from pathlib import Path
    module = "weightslab.ledger.compaction.process"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen(
        [sys.executable, "-m", module, str(os.getpid())],
        stdin=subprocess.PIPE, start_new_session=True, **quiet,
    )
    until = time.monotonic() + 30
    def nice():
        return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[16]
    while nice() != "19":
        assert time.monotonic() < until, nice()
        time.sleep(0.01)
    print(child.pid, flush=True)
    # The other end of its input stays open: only the parent's death is left to end it.
    keeper = subprocess.Popen(["sleep", "60"], **quiet, pass_fds=[child.stdin.fileno()])
    print(keeper.pid, flush=True)
    os.kill(os.getpid(), 9)
    """
    child, keeper = map(int, run_script(script, path=True).stdout.split())
    try:
        until = time.monotonic() + 20
        while is_there(child):
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        os.kill(keeper, signal.SIGKILL)


def is_there(process: int) -> bool:
    """Whether a process lives; one that nobody asked how it ended does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
