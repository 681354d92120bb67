"""Kill the processes that share a run folder, again and again, and see that nothing is lost.

Two processes write, one merges what dead writers left, one reads and compares without end;
each may be killed at any moment, and so may the processes that a writer starts to merge.
A round is a folder of its own, so that comparing stays quick.

Run: `python -m tests.crash.suite [--kills 1000] [--round 100] [--seed N]`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.crash import closing, roles
from tests.crash.board import ROLES, Board
from tests.crash.processes import Process, children_of

__all__ = ["main"]

_BETWEEN_KILLS_S = 0.3


@dataclass(frozen=True, slots=True)
class Setting:
    """What differs between rounds."""

    name: str
    ranks: tuple[int, ...]
    mapped: bool = True


SETTINGS = (
    Setting("two processes", (0, 0)),
    Setting("ranks 0 and 1", (0, 1)),
    Setting("two processes, logs that cannot be mapped", (0, 0), mapped=False),
)


class Round:
    """One folder, its processes and what happened to them."""

    def __init__(self, folder: Path, setting: Setting, dice: random.Random) -> None:
        self.folder = folder
        self.dice = dice
        self.kills: Counter[str] = Counter()
        root, board = folder / "run", folder / "board"
        self.board = Board(board, fresh=True)
        self.root = root
        self.writers = [
            self._process(
                f"writer {role}",
                lambda role=role, rank=rank: roles.write(
                    root, board, role, rank=rank, mapped=setting.mapped
                ),
            )
            for role, rank in enumerate(setting.ranks)
        ]
        self.reader = self._process("reader", lambda: roles.read(root, board))
        self.others: list[Process] = []
        if roles.has_command("compact"):
            self.others.append(self._process("compactor", lambda: roles.compact_dead(root)))
        self.others.append(self.reader)

    def _process(self, name: str, work: object) -> Process:
        assert callable(work)
        return Process(name, work, self.folder / f"{name}.log")

    def run(self, kills: int) -> dict[str, int]:
        """Kill `kills` times; gives what was compared at the end.

        Raises AssertionError when anything is lost, doubled or wrong.
        """
        everybody = [*self.writers, *self.others]
        try:
            for process in self.writers:
                process.start()
            while not all(self.board.done > 20):
                time.sleep(0.01)
                self._look_after(self.writers)
            for process in self.others:
                process.start()
            while self.kills.total() < kills:
                self._pass_time(self.dice.expovariate(1 / _BETWEEN_KILLS_S), everybody)
                self._strike()
            self._wait_for_a_look()
        finally:
            for process in everybody:
                if process.id:
                    with contextlib.suppress(AssertionError):
                        process.kill(signal.SIGKILL)
        for role in range(ROLES):
            self.board.note_death(role)
        return self._close()

    def _pass_time(self, duration_s: float, processes: list[Process]) -> None:
        until = time.monotonic() + min(duration_s, 5 * _BETWEEN_KILLS_S)
        while time.monotonic() < until:
            self._look_after(processes)
            time.sleep(0.002)

    def _look_after(self, processes: list[Process]) -> None:
        """Start again what was killed; nobody may have ended by itself."""
        for process in processes:
            process.check_alive()
            if process.id == 0 and time.monotonic() >= process.due:
                process.start()

    def _strike(self) -> None:
        """Kill somebody; now and then both writers at once."""
        draw = self.dice.random()
        if draw < 0.15:
            for writer in self.writers:
                self._kill(writer)
        elif draw < 0.65:
            self._kill(self.dice.choice(self.writers))
        elif draw < 0.8:
            self._kill_child(self.dice.choice([*self.writers, *self.others]))
        elif draw < 0.95:
            self._kill(self.others[0])
        else:
            # Last and least: it needs time to look.
            self._kill(self.reader)

    def _how(self) -> signal.Signals:
        return signal.SIGTERM if self.dice.random() < 0.15 else signal.SIGKILL

    def _kill(self, process: Process) -> None:
        if process.id == 0:
            return
        process.kill(self._how())
        process.due = time.monotonic() + self.dice.choice((0.0, self.dice.uniform(0, 0.3)))
        self.kills[process.name] += 1
        if process in self.writers:
            self.board.note_death(self.writers.index(process))

    def _kill_child(self, process: Process) -> None:
        for child in children_of(process.id) if process.id else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, self._how())
                self.kills[f"child of {process.name}"] += 1

    def _wait_for_a_look(self) -> None:
        """Let the reader find everything right once more."""
        looks = int(self.board.looks[0])
        deadline = time.monotonic() + 60
        while self.board.looks[0] == looks:
            assert time.monotonic() < deadline, "the reader did not look for a minute"
            self._look_after([*self.writers, *self.others])
            time.sleep(0.01)

    def _close(self) -> dict[str, int]:
        """Compare the dead folder, recover, merge and check it, and compare again."""
        result = self.folder / "result"
        end = self._process("end", lambda: closing.end(self.root, self.board, result))
        end.start()
        code = end.wait()
        assert code == 0, f"the folder at the end:\n{end.last_words()}"
        return closing.read_result(result)


def main(arguments: list[str]) -> int:
    """Run rounds until there were enough kills; 0 when nothing was lost, doubled or wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.suite")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--round", type=int, default=100, help="kills in one folder")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args(arguments)
    dice = random.Random(given.seed)
    print(f"{given.kills} kills, seed {given.seed}", flush=True)
    total: Counter[str] = Counter()
    number = 0
    while total["kills"] < given.kills:
        setting = SETTINGS[number % len(SETTINGS)]
        number += 1
        folder = Path(tempfile.mkdtemp(prefix="wl-crash-"))
        begun = time.monotonic()
        turn = Round(folder, setting, dice)
        try:
            found = turn.run(min(given.round, given.kills - total["kills"]))
        except AssertionError as error:
            print(f"round {number}, {setting.name}, seed {given.seed}: FAILED\n{error}")
            print(f"its folder is kept: {folder}")
            return 1
        shutil.rmtree(folder)
        found |= {"kills": turn.kills.total(), "looks": int(turn.board.looks[0])}
        total.update(found)
        who = ", ".join(f"{name} {n}" for name, n in sorted(turn.kills.items()))
        print(
            f"round {number}, {setting.name}: {found['kills']} kills ({who}), "
            f"{found['calls']:,} calls of which {found['doubts']} in doubt, "
            f"{found['rows']:,} rows compared, {found['looks']} looks at the living folder, "
            f"{found['files']} files, {time.monotonic() - begun:.0f} s",
            flush=True,
        )
    print(
        f"{total['kills']:,} kills, {total['calls']:,} calls, {total['rows']:,} rows compared, "
        f"{total['looks']} looks: 0 lost, 0 doubled, 0 wrong"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
