"""Which unfinished files are left over."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from weightslab.ledger.claim import clear_temporary
from weightslab.ledger.files import Files
from weightslab.ledger.layout import Layout
from weightslab.ledger.unfinished import is_left_over, unfinished_name


def unfinished(root: Path, name: str, age_s: float = 0.0) -> Path:
    path = Layout(root).temporary / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def kept(root: Path) -> bool:
    """Whether clearing up leaves the only file; what checks a folder must say the same."""
    (path,) = Layout(root).temporary.iterdir()
    left_over = is_left_over(path)
    clear_temporary(Files(), Layout(root))
    assert path.exists() is not left_over
    return not left_over


def test_names_never_come_twice() -> None:
    """Files of one process and one name do not meet, whatever their layer."""
    assert len({unfinished_name("seg") for _ in range(100)}) == 100


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    """However old, an unfinished file of a living process is its own."""
    unfinished(tmp_path, unfinished_name("seg"), age_s=1e6)
    assert kept(tmp_path)


def test_the_same_number_after_a_restart_is_another_process(tmp_path: Path) -> None:
    """A file of an earlier life with our process number is left over: in containers all are 1."""
    name = re.sub(rf"-{os.getpid()}-\d+-", f"-{os.getpid()}-1-", unfinished_name("seg"))
    unfinished(tmp_path, name)
    assert not kept(tmp_path)


def test_what_a_dead_process_wrote_goes(tmp_path: Path) -> None:
    """Gone, or dead and not waited for: its unfinished files are left over."""
    script = "from weightslab.ledger.unfinished import unfinished_name as n; print(n('seg'))"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        name = process.stdout.read().decode().strip()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        unfinished(tmp_path, name)
        assert not kept(tmp_path)
    unfinished(tmp_path, name)
    assert not kept(tmp_path)


@pytest.mark.parametrize("name", [f"00000000-{2**22 + 1}-1-0123456789ab-seg", "4194305-1-0-seg"])
def test_what_another_host_wrote_goes_when_it_is_old(tmp_path: Path, name: str) -> None:
    """Processes of another machine cannot be asked: their files stay for a day."""
    unfinished(tmp_path, name, age_s=23 * 3600)
    assert kept(tmp_path)
    unfinished(tmp_path, name, age_s=25 * 3600)
    assert not kept(tmp_path)
