"""The crash suite in a short form; `nox -s crash` is the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_sixty_kills_lose_double_and_change_nothing() -> None:
    """Writers, a merger and a reader are killed at random: all that was saved is there once."""
    repository = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.crash.suite", "--kills", "60", "--round", "20"],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(repository), *sys.path])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 lost, 0 doubled, 0 wrong" in ended.stdout
