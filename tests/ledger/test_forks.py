from __future__ import annotations

import os
from pathlib import Path

from tests.ledger.support import run_script, sample_rows

FORKS = """
import os, sys, threading, warnings, numpy as np
warnings.filterwarnings("ignore", category=DeprecationWarning)
from weightslab.ledger import Ledger, LedgerOptions
ledger = Ledger(sys.argv[1], options=LedgerOptions(flush_interval_s=0.001, sync_interval_s=0.001))
rows = ledger.ids.block("train", range(100))
for step in range(60):
    ledger.append_samples({"loss": np.full(100, step, np.float32)}, rows, step=step)
    child = os.fork()
    if child == 0:
        try:
            ledger.append_samples({"loss": np.full(100, -1, np.float32)}, rows, step=-1)
        except Exception:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
ledger.close()
"""


def test_forks_while_the_threads_write_neither_hang_nor_write(tmp_path: Path) -> None:
    """Forked in the middle of flushes, a child owns nothing and the parent loses nothing."""
    ended = run_script(FORKS, tmp_path / "run")
    assert ended.returncode == 0, ended.stderr
    found = sample_rows(tmp_path / "run")
    assert len(found) == 6000
    assert min(value for *_, value in found) == 0


ORPHAN = """
import os, sys, time, warnings
warnings.filterwarnings("ignore", category=DeprecationWarning)
from weightslab.ledger import Ledger
ledger = Ledger(sys.argv[1])
child = os.fork()
if child == 0:
    os.close(1); os.close(2)
    time.sleep(8)
    os._exit(0)
print(child, flush=True)
os._exit(0)
"""


def test_a_surviving_worker_does_not_keep_the_writers_lock(tmp_path: Path) -> None:
    """A forked worker that outlives the training process does not hold its writer's lock."""
    from weightslab.ledger import Ledger

    ended = run_script(ORPHAN, tmp_path / "run")
    child = int(ended.stdout)
    try:
        ledger = Ledger(tmp_path / "run")
        assert ledger.writer == "0-0"
        ledger.close()
    finally:
        os.kill(child, 9)


BESIDE_OTHERS = """
import os, sys, threading, warnings, numpy as np
warnings.filterwarnings("ignore", category=DeprecationWarning)
from weightslab.ledger import Ledger, LedgerOptions
quick = LedgerOptions(flush_interval_s=0.002, sync_interval_s=0.001)
ledger, other = Ledger(sys.argv[1], options=quick), Ledger(sys.argv[1], options=quick)
rows = ledger.register("train", range(100))
other.register("train", range(100))
ended = threading.Event()
def edit():
    at = 0
    while not ended.is_set():
        other.edit.discard(rows[at % 100 : at % 100 + 1], at % 200 < 100)
        at += 1
thread = threading.Thread(target=edit)
thread.start()
for step in range(60):
    ledger.edit.tag(rows[step : step + 1], "t", True)
    child = os.fork()
    if child == 0:
        ledger.discarded.of(rows)
        try:
            ledger.edit.discard(rows, True)
        except Exception:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
ended.set()
thread.join()
other.edit.discard(rows[:50], True)
other.edit.discard(rows[50:], False)
other.close()
ledger.edit.discard(rows[:1], False)
assert ledger.discarded.of(rows).tolist() == [False] + [True] * 49 + [False] * 50
ledger.close()
"""


def test_forks_while_edits_of_others_are_read_neither_hang_nor_write(tmp_path: Path) -> None:
    """Forked while it reads what another writer edits, a child still knows what is discarded."""
    ended = run_script(BESIDE_OTHERS, tmp_path / "run")
    assert ended.returncode == 0, ended.stderr
