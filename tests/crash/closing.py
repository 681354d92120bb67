"""The end of a round: compare the dead folder, recover it, merge it, check it, compare again."""

from __future__ import annotations

import json
from pathlib import Path

from tests.crash.board import ROLES, Board
from tests.crash.roles import has_command, run_command, tiny_options
from weightslab.ledger import Ledger

__all__ = ["end", "read_result"]

_MOST_FILES = 32
"""Most files of one partition once everything due was merged."""


def end(root: Path, board: Board, result: Path) -> None:
    """Look at everything, and note what there was in `result`. Raises AssertionError."""
    _look(root, board)
    # As many writers as the round ever had: each takes up what one of the dead left.
    ledgers = [Ledger(root, rank=rank, options=tiny_options()) for rank in _ranks(root)]
    for ledger in ledgers:
        ledger.close()
    _look(root, board)
    if has_command("compact"):
        assert run_command("compact", str(root)) == 0, "weightslab compact failed"
        _check_merged(root)
    if has_command("fsck"):
        assert run_command("fsck", str(root)) == 0, "weightslab fsck found problems"
    rows = _look(root, board)
    _count_plainly(root)
    doubts = sum(len(board.doubts(role)) for role in range(ROLES))
    files = sum(1 for path in root.rglob("*") if path.is_file())
    calls = int(board.begun.sum())
    result.write_text(json.dumps({"rows": rows, "doubts": doubts, "files": files, "calls": calls}))


def read_result(path: Path) -> dict[str, int]:
    """What `end` noted."""
    found: dict[str, int] = json.loads(path.read_text())
    return found


def _ranks(root: Path) -> list[int]:
    return [int(path.name.partition("-")[0]) for path in (root / "_wal").iterdir()]


def _look(root: Path, board: Board) -> int:
    import weightslab as wl
    from tests.crash.checking import check

    with wl.Session(root, mode="r") as session:
        return check(board, session, living=False)


def _check_merged(root: Path) -> None:
    """Nowhere do files pile up."""
    for folder in root.rglob("writer=*"):
        files = sum(1 for _ in folder.glob("*.parquet"))
        assert files <= _MOST_FILES, f"{files} files in {folder}"


def _count_plainly(root: Path) -> None:
    """Parquet readers that know nothing of us count each row once, too."""
    import polars as pl

    import weightslab as wl

    pattern = f"{root}/history/kind=sample/*/signal=loss/**/*.parquet"
    plain = pl.scan_parquet(pattern, hive_partitioning=False).select(pl.len()).collect().item()
    with wl.Session(root, mode="r"):
        ours = len(wl.history("loss"))
    assert plain == ours, f"plain Parquet has {plain} rows of loss, we read {ours}"
