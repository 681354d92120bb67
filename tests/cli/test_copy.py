"""`weightslab copy` as it is typed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.test_fsck import typed
from tests.maintenance.support import build, history, killed_writer


@pytest.fixture
def run(tmp_path: Path) -> Path:
    build(tmp_path / "run")
    return tmp_path / "run"


def test_a_run_is_copied(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line says what was copied and where it is a run now."""
    assert typed("copy", run, tmp_path / "copy") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-1].endswith(f": {tmp_path / 'copy'} is a run now")
    assert history(tmp_path / "copy") == history(run)


def test_a_refusal_is_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be copied exits with 1 and one line that says what to do."""
    killed_writer(run)
    assert typed("copy", run, tmp_path / "copy") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: records wait in ")
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("words", [(), ("run",), ("", "there"), ("run", "")])
def test_wrong_usage(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Both places must be named."""
    assert typed("copy", *words) == 2


def test_ctrl_c_and_the_same_command_again(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted it says what is there and exits with 130; typed again it goes on."""
    # Many files, so that there is time to interrupt.
    for number in range(3000):
        (run / f"note{number:04d}").write_bytes(b"x" * 1000)
    target = tmp_path / "copy"
    copying = subprocess.Popen(
        [sys.executable, "-m", "weightslab", "copy", str(run), str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while len(list(target.glob("note*"))) < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    copying.send_signal(signal.SIGINT)
    out, err = copying.communicate(timeout=60)
    assert (copying.returncode, err.strip()) == (130, "stopped")
    assert "no run yet; the same command goes on with it" in out
    assert not (target / "ledger.json").exists()
    assert typed("copy", run, target) == 0
    assert "holds a copy that did not finish" in capsys.readouterr().out
    assert history(target) == history(run)
    assert len(list(target.glob("note*"))) == 3000
