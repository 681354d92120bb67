"""Files that are merged beside a living run: nothing is lost, doubled or reordered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import weightslab as wl
from tests.ledger.support import Row, run_script, sample_rows
from weightslab.errors import WeightsLabWarning
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.compaction.plan import FAN
from weightslab.ledger.history.segments import read_footer
from weightslab.ledger.layout import superseded_ranges

QUIET = LedgerOptions(flush_interval_s=3600, compact=False)


def fill(ledger: Ledger, flushes: int, start: int = 0, samples: int = 5) -> None:
    """One flush for each step: sample values, instances, curves, edits."""
    rows = ledger.ids.block("train", range(samples))
    for step in range(start, start + flushes):
        values = np.arange(samples, dtype=np.float32) + 100 * step
        ledger.append_samples({"loss": values}, rows, step=step)
        ledger.append_instances(
            {"iou": values[:4]}, rows[[0, 0, 1, 1]], np.array([1, 2, 1, 2], np.int32), step=step
        )
        ledger.edit.tag(rows[step % samples :][:1], "seen", step % 2 == 0)
        ledger.flush()


def expected(flushes: int, samples: int = 5) -> list[Row]:
    return [
        (f"train/{s}", step, float(s + 100 * step))
        for s in range(samples)
        for step in range(flushes)
    ]


def files(root: Path, tree: str = "history") -> list[Path]:
    return sorted((root / tree).rglob("*.parquet"))


def everything(root: Path) -> list[object]:
    with wl.Session(root, mode="r"):
        return [
            wl.history("loss").rows(),
            wl.history("loss", kind="global").rows(),
            wl.history("iou", kind="instance").rows(),
            wl.samples().rows(),
            wl.get_samples_by_tag("seen"),
        ]


def test_what_is_read_is_the_same_before_and_after(tmp_path: Path) -> None:
    """Merging changes no history, curve, instance, table or tag, and leaves few files."""
    root = tmp_path / "run"
    ledger = Ledger(root, options=QUIET)
    fill(ledger, 3 * FAN)
    ledger.close()
    before, many = everything(root), len(files(root))
    again = Ledger(root, options=QUIET)
    assert again.compact() > 0
    again.close()
    assert everything(root) == before
    assert len(files(root)) < many / 4
    assert len(files(root, "journal")) < 2 * FAN
    assert sample_rows(root) == expected(3 * FAN)


def test_an_archive_is_one_small_file_of_each_partition(tmp_path: Path) -> None:
    """An archive holds each partition in one file, all of it, and takes new values beside it."""
    root = tmp_path / "run"
    ledger = Ledger(root, options=QUIET)
    fill(ledger, 5)
    before = sum(path.stat().st_size for path in files(root))
    assert ledger.compact(archive=True) > 0
    assert ledger.compact(archive=True) == 0
    per_folder = [len(list(p.glob("*.parquet"))) for p in {f.parent for f in files(root)}]
    assert set(per_folder) == {1}
    assert sum(path.stat().st_size for path in files(root)) < before
    fill(ledger, 2, start=5)
    ledger.close()
    assert sample_rows(root) == expected(7)


def test_an_archive_of_a_single_flush_comes_to_its_end(tmp_path: Path) -> None:
    """A run of one flush, whose journal is one file too, is archived once and no more."""
    ledger = Ledger(tmp_path / "run", options=QUIET)
    fill(ledger, flushes=1)
    ledger.close()
    ledger = Ledger(tmp_path / "run", options=QUIET)
    assert ledger.compact(archive=True) > 0
    assert ledger.compact(archive=True) == 0
    ledger.close()
    assert sample_rows(tmp_path / "run") == expected(1)


def test_a_living_run_merges_by_itself(tmp_path: Path) -> None:
    """While values are saved, a process of its own merges what the flushes left."""
    root = tmp_path / "run"
    options = LedgerOptions(flush_interval_s=0.02, sync_interval_s=0.02, base_interval_s=0.05)
    ledger = Ledger(root, options=options)
    rows = ledger.ids.block("train", range(5))
    step = 0
    deadline = time.monotonic() + 60
    while not any(read_tier(path) >= 1 for path in files(root)):
        assert time.monotonic() < deadline
        values = np.arange(5, dtype=np.float32) + 100 * step
        ledger.append_samples({"loss": values}, rows, step=step)
        step += 1
        time.sleep(0.005)
    ledger.close()
    assert sample_rows(root) == expected(step)
    assert list((root / "_tmp").iterdir()) == []
    assert ledger.notices.messages() == []


def read_tier(path: Path) -> int:
    try:
        return int(read_footer(path)["tier"])
    except FileNotFoundError:
        return 0  # merged away between the listing and the look


def test_a_file_is_not_removed_under_whoever_reads_it(tmp_path: Path) -> None:
    """A scan that began before a merge ends with all its rows; then the inputs go."""
    root = tmp_path / "run"
    ledger = Ledger(root, options=QUIET)
    fill(ledger, FAN)
    scan = ledger._store.history.scan("sample", signals=["loss"])
    first = next(scan)[1]
    assert ledger.compact() > 0
    assert len(files(root, "history/kind=sample")) == FAN + 1
    rest = [chunk for _, chunk in scan]
    assert len(first) + sum(map(len, rest)) == 5 * FAN
    ledger._writer.compact()
    assert len(files(root, "history/kind=sample")) == 1
    ledger.close()
    assert sample_rows(root) == expected(FAN)


def test_a_damaged_input_stays_and_the_rest_is_merged(tmp_path: Path) -> None:
    """A file that cannot be read is set to no use and said once; other partitions are merged."""
    root = tmp_path / "run"
    options = LedgerOptions(flush_interval_s=3600, sync_interval_s=3600)
    ledger = Ledger(root, options=options)
    fill(ledger, FAN)
    ledger._writer.publish(bases=True)
    broken = files(root, "history/kind=sample")[2]
    column = pq.read_metadata(broken).row_group(0).column(2)
    data = bytearray(broken.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 2] ^= 0xFF
    broken.write_bytes(data)
    with pytest.warns(WeightsLabWarning, match="could not be merged"):
        wait_for_merges(ledger)
    assert len(files(root, "history/kind=sample")) == FAN
    assert len(files(root, "history/kind=instance")) == 1
    ledger.close()


def wait_for_merges(ledger: Ledger) -> None:
    """Tick until nothing is due and no child is at work."""
    compactor = ledger._writer._compactor
    assert compactor is not None
    deadline = time.monotonic() + 60
    while True:
        ledger._writer.compact()
        if compactor._child is None:
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_child_that_is_killed_is_started_again_and_given_up_in_the_end(tmp_path: Path) -> None:
    """Killed children cost nothing; a job over which they die again and again is left alone."""
    ledger = Ledger(
        tmp_path / "run", options=LedgerOptions(flush_interval_s=3600, sync_interval_s=3600)
    )
    fill(ledger, FAN)
    ledger._writer.publish(bases=True)
    compactor = ledger._writer._compactor
    assert compactor is not None
    ledger._writer.compact()
    assert compactor._child is not None
    compactor._child._process.send_signal(signal.SIGSTOP)
    compactor._child._process.kill()
    compactor._child._process.wait()
    wait_for_merges(ledger)
    assert len(files(tmp_path / "run", "history/kind=sample")) <= 2
    ledger.close()
    assert sample_rows(tmp_path / "run") == expected(FAN)


KILLED = """
import os, sys, shutil, itertools
from pathlib import Path
from tests.ledger.disks import DyingFiles
from tests.ledger.compaction.test_compactor import QUIET
from weightslab.ledger import Ledger

# Every life is a fork of this process, which has imported everything and started nothing.
for at in itertools.count():
    root = Path(sys.argv[1], str(at))
    shutil.copytree(sys.argv[2], root)
    child = os.fork()
    if child == 0:
        ledger = Ledger(root, options=QUIET, files=DyingFiles(at))
        ledger.compact(archive=sys.argv[3] == "True")
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        break
    assert status == -9, status
"""


@pytest.mark.parametrize("archive", [False, True])
def test_a_kill_at_every_step_of_a_merge_is_exactly_once(tmp_path: Path, archive: bool) -> None:
    """Killed before every single change that merging makes, nothing is lost, doubled or kept."""
    origin = tmp_path / "origin"
    ledger = Ledger(origin, options=QUIET)
    fill(ledger, FAN)
    ledger.close()
    whole = everything(origin)
    lives = tmp_path / "lives"
    lives.mkdir()
    run_script(KILLED, lives, origin, archive, check=True, path=True)
    roots = list(lives.iterdir())
    assert len(roots) > 40
    for root in roots:
        assert everything(root) == whole
        Ledger(root, options=QUIET).close()
        for parent in {path.parent for path in files(root, "")}:
            assert superseded_ranges(parent) == []


MERGING = """
import sys, time, numpy as np
from weightslab.ledger import Ledger, LedgerOptions
root, acknowledged = sys.argv[1:3]
ack = np.memmap(acknowledged, dtype=np.int64, mode="r+")
ledger = Ledger(root, options=LedgerOptions(
    flush_interval_s=0.02, sync_interval_s=0.02, log_bytes=1 << 15, base_interval_s=0.05))
rows = ledger.ids.block("train", range(3))
step = int(ack[0])
while True:
    ledger.append_samples({"loss": np.full(3, step, np.float32)}, rows, step=step)
    step += 1
    ack[0] = step
    time.sleep(0.001)
"""


def test_a_reader_in_another_process_sees_every_row_while_files_are_merged(tmp_path: Path) -> None:
    """Beside a writer that flushes and merges all the time, each look is whole and in order."""
    acknowledged = np.memmap(tmp_path / "ack", dtype=np.int64, mode="w+", shape=(1,))
    root = tmp_path / "run"
    writer = subprocess.Popen(
        [sys.executable, "-c", MERGING, str(root), str(tmp_path / "ack")], stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 60
        while acknowledged[0] < 10 and time.monotonic() < deadline:
            time.sleep(0.005)
        looks, merges = 0, False
        until = time.monotonic() + 40
        while looks < 40 or not merges:
            assert time.monotonic() < until
            known = int(acknowledged[0])
            reader = Ledger(root, mode="r")

            def steps(reader: Ledger = reader) -> np.ndarray:
                (view,) = reader.views()
                time.sleep(0.03)  # files may go between the look and the read
                ((_, chunk),) = view.store.history.read(
                    "sample", signals=["loss"], rows=np.array([1])
                )
                return chunk.columns["step"]

            found = reader.look(steps)
            assert len(found) >= known
            assert (found == np.arange(len(found))).all()
            assert reader.notices.messages() == []
            looks += 1
            merges = any(read_tier(path) for path in files(root, "history/kind=sample"))
    finally:
        writer.kill()
        writer.communicate()


def test_what_a_child_merged_is_not_cleared_away_by_another_writer(tmp_path: Path) -> None:
    """A merged file that waits for its name is its living writer's, not its dead child's."""
    ledger = Ledger(tmp_path / "run", options=LedgerOptions(flush_interval_s=3600))
    fill(ledger, FAN)
    ledger._writer.publish(bases=True)
    with ledger._flusher.lock:
        ledger._writer.compact()
        child = ledger._writer._compactor._child
        assert child is not None
        child._process.wait(60)
        Ledger(tmp_path / "run").close()
        ledger._writer.compact()
    ledger.close()
    assert ledger.notices.messages() == []
    assert any(read_tier(path) for path in files(tmp_path / "run", "history/kind=sample"))


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """A killed run leaves no process behind, and its unfinished merge is removed later."""
    script = """
    import os, sys, time
    from tests.ledger.compaction.test_compactor import fill
    from weightslab.ledger import Ledger, LedgerOptions
    from weightslab.ledger.compaction.plan import FAN
    ledger = Ledger(sys.argv[1], options=LedgerOptions(flush_interval_s=3600, sync_interval_s=3600))
    fill(ledger, FAN)
    ledger._writer.publish(bases=True)
    ledger._writer.compact()
    child = ledger._writer._compactor._child._process
    os.kill(child.pid, 19)
    print(child.pid, flush=True)
    os.kill(os.getpid(), 9)
    """
    ended = run_script(script, tmp_path / "run", path=True)
    child = int(ended.stdout)
    os.kill(child, signal.SIGCONT)
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and state(child) != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    Ledger(tmp_path / "run").close()
    assert list((tmp_path / "run/_tmp").iterdir()) == []
    assert sample_rows(tmp_path / "run") == expected(FAN)


def state(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def test_ids_that_come_again_and_again_stay_in_few_files(tmp_path: Path) -> None:
    """A run whose every flush brings new ids and names has a bounded number of ids files."""
    root = tmp_path / "run"
    ledger = Ledger(root, options=QUIET)
    for step in range(100):
        rows = ledger.ids.add([f"s{step}"], "train")
        ledger.ids.rename(rows, [f"renamed{step}"])
        ledger.append_samples({"loss": np.array([float(step)])}, rows, step=step)
        ledger.flush()
        assert len(files(root, "ids")) <= 33
    ledger.close()
    assert sorted(sample_rows(root)) == sorted((f"renamed{s}", s, float(s)) for s in range(100))
