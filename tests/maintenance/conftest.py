"""A real run folder for each test, built once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.maintenance.support import build


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that nobody may change."""
    root = tmp_path_factory.mktemp("built") / "run"
    build(root)
    return root


@pytest.fixture
def run(built: Path, tmp_path: Path) -> Path:
    """A run folder of the test's own."""
    return shutil.copytree(built, tmp_path / "run")
