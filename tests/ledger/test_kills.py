"""Processes that really die, and what is there afterwards."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.ledger.stories import Told, check_run, open_run, tell
from tests.ledger.support import run_script, sample_rows, samples
from weightslab.ledger import Ledger
from weightslab.ledger.files import Files
from weightslab.notices import Notices

WRITER = """
import sys, numpy as np
from weightslab.ledger import Ledger, LedgerOptions
root, acknowledged = sys.argv[1:3]
ack = np.memmap(acknowledged, dtype=np.int64, mode="r+")
ledger = Ledger(root, options=LedgerOptions(
    flush_interval_s=0.03, sync_interval_s=0.03, log_bytes=1 << 16, base_interval_s=0.1))
step = int(ack[0])
while True:
    names = [f"s{step % 50}", f"new{step}"]
    rows = ledger.ids.add(names, "train")
    ledger.append_samples({"loss": np.array([step, step], np.float32)}, rows, step=step)
    if step % 7 == 0:
        ledger.edit.tag(rows[1:], "seventh", True)
    step += 1
    ack[0] = step
"""


def check(root: Path, acknowledged: int, restarts: set[int]) -> None:
    """Every acknowledged row and tag is there, once.

    A step that was saved and not yet acknowledged may follow; the next process then
    saves it again, as it must.
    """
    found = sample_rows(root)
    times = Counter(step for sample, step, _ in found if sample.startswith("new"))
    steps = sorted(times)
    assert steps in (list(range(acknowledged)), list(range(acknowledged + 1)))
    assert {step for step, count in times.items() if count > 1} <= restarts
    assert max(times.values()) <= 2
    assert all(value == step for _, step, value in found)
    assert len(found) == 2 * times.total()
    table = {r["sample_id"]: r for r in samples(root)}
    tagged = {name for name, row in table.items() if row["tag:seventh"]}
    expected = {f"new{step}" for step in range(0, acknowledged, 7)}
    assert expected <= tagged <= expected | {f"new{acknowledged}"}
    newest = max(step for step in steps if step % 50 == 3)
    assert table["s3"]["signals//loss"] == newest


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_every_acknowledged_row_and_tag_survives_kills(tmp_path: Path, how: signal.Signals) -> None:
    """Killed again and again at random, a folder holds every acknowledged row and tag once."""
    acknowledged = np.memmap(tmp_path / "ack", dtype=np.int64, mode="w+", shape=(1,))
    root = tmp_path / "run"
    dice = random.Random(int(how))
    restarts: set[int] = set()
    for _ in range(5):
        begun = int(acknowledged[0])
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root), str(tmp_path / "ack")],
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 60
        while acknowledged[0] < begun + 60 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.25))
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == -how, errors.decode()
        assert acknowledged[0] >= begun + 60
        check(root, int(acknowledged[0]), restarts)
        restarts.add(int(acknowledged[0]))
    survivor = Ledger(root)
    survivor.close()
    check(root, int(acknowledged[0]), restarts)


@pytest.mark.parametrize(
    "ending", ["sys.exit(3)", "raise RuntimeError('mine')", "os._exit(3)", "pass"]
)
def test_every_way_to_end_keeps_what_was_saved(tmp_path: Path, ending: str) -> None:
    """However a script ends, what it saved and tagged is in the folder, and its exit is its own."""
    script = f"""
    import os, sys, weightslab as wl
    session = wl.Session(sys.argv[1]).__enter__()
    wl.save_signals({{"loss": [1.0, 2.0]}}, ["a", "b"], step=0)
    wl.tag_samples(["b"], "bad")
    {ending}
    """
    ended = run_script(script, tmp_path / "run")
    expected = {"pass": 0, "sys.exit(3)": 3, "os._exit(3)": 3}.get(ending, 1)
    assert ended.returncode == expected, ended.stderr
    assert sample_rows(tmp_path / "run") == [("a", 0, 1.0), ("b", 0, 2.0)]
    assert [r["tag:bad"] for r in samples(tmp_path / "run")] == [False, True]


DYING = """
import os, sys, itertools, numpy as np
from pathlib import Path
from tests.ledger.disks import DyingFiles
from weightslab.ledger import Ledger, LedgerOptions

def live(folder, at):
    ledger = Ledger(folder / "run", files=DyingFiles(at), options=LedgerOptions(
        flush_interval_s=1e9, log_bytes=1 << 12))
    rows = ledger.ids.block("train", range(4))
    for step in range(2):
        values = np.full(4, step, np.float32)
        ledger.append_samples({"loss": values, "acc": -values}, rows, step=step)
        ledger.edit.tag(rows[step : step + 1], "seen", True)
        ledger.append_arrays("preds", rows, np.full(4, step))
        (folder / "acknowledged").write_text(str(step + 1))
        ledger.ids.rename(rows[step : step + 1], [f"name{step}"])
        ledger.flush()
    ledger.close()

# Every life is a fork of this process, which has imported everything and started nothing.
for at in itertools.count():
    folder = Path(sys.argv[1], str(at))
    folder.mkdir()
    child = os.fork()
    if child == 0:
        live(folder, at)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        break
    assert status == -9, status
"""


def test_a_kill_at_every_step_of_publishing_is_exactly_once(tmp_path: Path) -> None:
    """Killed before every single change of the folder, no acknowledged row is lost or doubled."""
    run_script(DYING, tmp_path, check=True, path=True)
    folders = [p.parent for p in tmp_path.glob("*/acknowledged")]
    assert len(folders) > 60
    for folder in folders:
        steps = int((folder / "acknowledged").read_text())
        check_dead(folder / "run", steps)
        Ledger(folder / "run").close()
        check_dead(folder / "run", steps)


STORY = """
import os, sys, itertools
from pathlib import Path
from tests.ledger.disks import DyingFiles
from tests.ledger.stories import Told, tell
from weightslab.notices import Notices

def live(folder, at):
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT)
    files = DyingFiles(at, mapped=sys.argv[2] == "mapped")
    for _ in tell(folder / "run", files, Told(), Notices()):
        os.write(said, b".")
    os.write(said, b".")

for at in itertools.count():
    folder = Path(sys.argv[1], str(at))
    folder.mkdir()
    child = os.fork()
    if child == 0:
        live(folder, at)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        break
    assert status == -9, status
"""


@pytest.mark.parametrize("kind", ["mapped", "appended"])
def test_a_kill_at_every_change_loses_at_most_what_was_not_saved(tmp_path: Path, kind: str) -> None:
    """Killed before any change of the folder, all that was saved is there once, and goes on."""
    told = Told()
    markers = tell(tmp_path / "whole", Files(), told, Notices())
    saved = [Told(), *(told.copy() for _ in markers), told]
    lives = tmp_path / "lives"
    lives.mkdir()
    run_script(STORY, lives, kind, check=True, path=True)
    folders = list(lives.iterdir())
    assert len(folders) > (120 if kind == "mapped" else 40)
    for folder in folders:
        acknowledged = saved[(folder / "said").stat().st_size].without_large(Told())
        check_run(folder / "run", acknowledged, told)
        if acknowledged != Told():
            open_run(folder / "run", Files()).close()
            check_run(folder / "run", acknowledged, told)


def check_dead(root: Path, steps: int) -> None:
    for name, sign in (("loss", 1), ("acc", -1)):
        found = sample_rows(root, name)
        values = [(step, value) for _, step, value in found]
        for length in (steps, steps + 1):
            if sorted(values) == sorted((s, sign * s) for s in range(length) for _ in range(4)):
                break
        else:
            pytest.fail(f"{name}: {found} after {steps} acknowledged steps")
    table = samples(root)
    assert [bool(r["tag:seen"]) for r in table][:steps] == [True] * steps
    assert len(table) == 4
    assert {r["prediction"] for r in table} <= {steps - 1, steps}
