"""Start a process as a fork, end it, and find what it started itself.

The starter is prepared but owns nothing: it has imported the package, has no ledger open and
never touched Polars, so that a fork is as good as a new interpreter and costs milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FAILED", "Process", "children_of"]

FAILED = 70
"""Exit code of a process whose work raised."""
_SET_DEATH_SIGNAL = 1


@dataclass(slots=True)
class Process:
    """One of the processes of a round, which may be started again and again."""

    name: str
    work: Callable[[], object]
    log: Path
    """What it prints, and what it dies of when nobody killed it."""
    id: int = 0
    """Process id; 0 while it does not run."""
    due: float = 0.0
    """When it is to be started again."""

    def start(self) -> None:
        """Start it."""
        parent = os.getpid()
        self.id = os.fork()
        if self.id == 0:
            self._run(parent)

    def _run(self, parent: int) -> None:
        code = FAILED
        try:
            # Nobody may go on writing after the one who counts is gone.
            ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
            if os.getppid() != parent:
                return
            descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            self.work()
            code = 0
        except BaseException:  # noqa: BLE001  # the end of a process: its log says why
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def kill(self, how: signal.Signals) -> None:
        """End it and wait. Raises AssertionError when it had ended by itself."""
        os.kill(self.id, how)
        ended = self.wait()
        assert ended == -how, f"{self.name} ended with {ended} by itself:\n{self.last_words()}"

    def wait(self) -> int:
        """Wait for its end; gives its exit code, negative for a signal."""
        _, status = os.waitpid(self.id, 0)
        self.id = 0
        return os.waitstatus_to_exitcode(status)

    def check_alive(self) -> None:
        """Raise AssertionError when it has ended by itself."""
        if self.id:
            gone, status = os.waitpid(self.id, os.WNOHANG)
            if gone:
                self.id = 0
                code = os.waitstatus_to_exitcode(status)
                raise AssertionError(f"{self.name} ended with {code}:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of what it printed."""
        return self.log.read_text()[-4000:] if self.log.exists() else ""


def children_of(process: int) -> list[int]:
    """Ids of the living processes that `process` started, from whichever thread."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{process}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        return found
    return found
