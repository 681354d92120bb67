"""The processes of a round. Each runs in a fork of its own until it is killed.

No Polars was imported before the fork, so that a reader may import it here.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np

from tests.crash import plan
from tests.crash.board import Board
from weightslab.cli.app import app, main
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.files import Files, MappedFile

__all__ = ["compact_dead", "has_command", "read", "run_command", "tiny_options", "write"]

_PAUSE_S = 0.0005
_CHILD_KILLED = "the process that merges them died"


class _UnmappedFiles(Files):
    """A file system that cannot preallocate: its logs are appended to."""

    def map_log(self, path: Path, size_bytes: int) -> MappedFile | None:
        return None


def tiny_options() -> LedgerOptions:
    """Everything that a ledger does in minutes, many times a second."""
    return LedgerOptions(
        flush_interval_s=0.05, sync_interval_s=0.02, log_bytes=1 << 15, base_interval_s=0.2
    )


def has_command(name: str) -> bool:
    """Whether `weightslab <name>` exists."""
    return name in app.list_commands(click.Context(app))


def run_command(*arguments: str) -> int:
    """Run `weightslab` in this process; gives its exit code."""
    try:
        main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


class _Writing:
    """One writing role: makes its calls in order, from the one after the last that it began."""

    def __init__(self, root: Path, board: Board, role: int, *, rank: int, mapped: bool) -> None:
        self._root = root
        self._files = Files() if mapped else _UnmappedFiles()
        self._rank = rank
        self._role = role
        self._board = board
        self._open()

    def _open(self) -> None:
        self._ledger = Ledger(
            self._root, rank=self._rank, options=tiny_options(), files=self._files
        )
        self._pool = self._ledger.register("train", range(plan.POOL))
        self._own = self._ledger.register(f"own{self._role}", range(plan.OWN_COUNT))

    def run(self) -> None:
        begun, done = self._board.begun, self._board.done
        role = self._role
        while True:
            k = int(begun[role]) + 1
            begun[role] = k
            self._call(k)
            done[role] = k
            if k % 101 == 0:
                self._ledger.flush()
            if k % 503 == 0:
                self._check_quiet()
                self._ledger.close()
                self._open()
            time.sleep(_PAUSE_S)

    def _call(self, k: int) -> None:
        ledger, pool = self._ledger, self._pool
        step = plan.step_of(self._role, k)
        assert isinstance(step, int)
        kind = k % plan.CYCLE
        if kind in (0, 6):
            chosen = plan.batch(k)
            losses = np.full(len(chosen), step, np.float32)
            # Doubles beside floats: in one record they must come back as they went in.
            columns = {"loss": losses, "acc": step + chosen / plan.POOL}
            ledger.append_samples(columns, pool[chosen], step=step)
        elif kind == 1:
            rows = ledger.ids.add([f"new{self._role}-{k}"], "train")
            ledger.append_samples({"loss": np.array([step], np.float32)}, rows, step=step)
        elif kind == 2:
            chosen = np.tile(plan.batch(k, 4), 2)
            annotations = np.repeat(np.array([1, 2], np.int32), 4)
            values = (step + annotations / 4).astype(np.float64)
            ledger.append_instances({"iou": values}, pool[chosen], annotations, step=step)
        elif kind == 3:
            own = self._own[plan.array_samples(k)]
            # Of two writers' arrays the one counts whose sample has the newer value: so it
            # comes last, and a kill in between leaves the old array or the new one.
            ledger.append_arrays("preds", own, np.full((len(own), plan.ARRAY_LENGTH), step))
            ledger.append_samples({"loss": np.full(len(own), step, np.float32)}, own, step=step)
        elif kind == 4:
            sample, present = plan.edited(self._role, k)
            ledger.edit.tag(pool[sample : sample + 1], "hit", present)
        elif kind == 5:
            sample, discarded = plan.edited(self._role, k)
            ledger.edit.discard(pool[sample : sample + 1], discarded)
        else:
            ledger.append_scalars({"lr": float(step)}, step=step)

    def _check_quiet(self) -> None:
        # The one thing that it may say is what was done to it.
        said = [m for m in self._ledger.notices.messages() if _CHILD_KILLED not in m]
        if said:
            raise AssertionError(f"the writer of role {self._role} said: {said}")


def write(root: Path, board_path: Path, role: int, *, rank: int, mapped: bool) -> None:
    """Save without end."""
    _Writing(root, Board(board_path), role, rank=rank, mapped=mapped).run()


def compact_dead(root: Path) -> None:
    """Merge what dead writers left, again and again, as the command line does."""
    archive = False
    while True:
        code = run_command("compact", str(root), *(["--archive"] if archive else []))
        assert code == 0, f"weightslab compact ended with {code}"
        archive = not archive
        time.sleep(0.05)


def read(root: Path, board_path: Path) -> None:
    """Look at the living folder without end, and end with an error at the first thing wrong."""
    import weightslab as wl
    from tests.crash.checking import check

    board = Board(board_path)
    while True:
        with wl.Session(root, mode="r") as session:
            for _ in range(3):
                check(board, session, living=True)
                board.looks[0] += 1
                # What a reader knows of other writers may be a second old.
                time.sleep(1.05)
