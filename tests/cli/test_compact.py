from __future__ import annotations

from pathlib import Path

import pytest

from tests.ledger.compaction.test_compactor import QUIET, everything, fill
from weightslab.cli.app import main
from weightslab.ledger import Ledger
from weightslab.ledger.compaction.plan import FAN


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str]:
    """Exit code and output of a command."""
    with pytest.raises(SystemExit) as ended:
        main(["compact", *map(str, arguments)])
    out, err = capsys.readouterr()
    return ended.value.code, out + err


def test_it_says_what_it_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files and bytes before and now, and exit code 0; an archive as well."""
    root = tmp_path / "run"
    ledger = Ledger(root, options=QUIET)
    fill(ledger, FAN)
    ledger.close()
    before = everything(root)
    code, text = run(capsys, root)
    assert code == 0
    assert "before" in text
    assert "now" in text
    assert not text.startswith("0 merges")
    code, text = run(capsys, root, "--archive")
    assert code == 0
    assert everything(root) == before
    code, text = run(capsys, root, "--archive")
    assert text.startswith("0 merges")


def test_a_folder_that_is_no_run_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and one line."""
    code, text = run(capsys, tmp_path)
    assert code == 2
    assert "no ledger" in text
