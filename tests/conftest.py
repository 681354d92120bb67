"""What every test starts with: an empty working directory and no session."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def fresh_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the test in its own folder, with no session before it and none left after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WEIGHTSLAB_ROOT_LOG_DIR", raising=False)
    _reset()
    yield
    _reset()


def _reset() -> None:
    # A test that never touched a session must not load torch for this.
    session = sys.modules.get("weightslab.session")
    if session is not None:
        session.reset()
