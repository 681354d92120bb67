"""The two commands of the README, and what no text of ours may say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALL = 'python -m pip install -c constraints.txt ".[demo]" && weightslab demo'
TEST = "python -m pip install nox && nox -s tests"
TEXTS = [
    path
    for pattern in ("*.md", "*.toml", "*.txt", "noxfile.py", "src/**/*.py", "examples/**/*")
    for path in sorted(ROOT.glob(pattern))
    if path.is_file() and path.suffix in {".md", ".toml", ".txt", ".py"}
]


def lines(name: str) -> list[str]:
    return (ROOT / name).read_text("utf-8").splitlines()


@pytest.mark.parametrize("command", [INSTALL, TEST])
def test_the_readme_has_two_commands(command: str) -> None:
    """One line installs and runs the main job, one installs and runs the tests."""
    assert lines("README.md").count(command) == 1


def test_the_gate_runs_the_readmes_test_command() -> None:
    """`.ci/run` calls what a stranger is told to call, word for word."""
    assert TEST in lines(".ci/run")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_points_to_somebody_elses_package(path: Path) -> None:
    """`weightslab` on the package index is not ours: no text tells anyone to install it."""
    assert not re.search(r"(pip|uv|poetry)\s+(install|add)\s+weightslab", path.read_text("utf-8"))


def test_constraints_are_plain_pins() -> None:
    """constraints.txt holds names and versions alone: no host, path, hash or option."""
    pins = [line for line in lines("constraints.txt") if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*", pin)] == []
    assert "torch==2.13.0" in pins
    names = [pin.partition("==")[0] for pin in pins]
    assert names == sorted(set(names))
