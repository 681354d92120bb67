"""The process that merges, seen from the one that started it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from threading import RLock
from typing import Protocol

from weightslab.ledger.compaction.order import Order

__all__ = ["Child", "Merging"]


class Merging(Protocol):
    """An order that is being carried out."""

    @property
    def finished(self) -> bool:
        """Whether it has ended, in whatever way."""

    def end(self) -> None:
        """End it now."""

    def disown(self) -> None:
        """In a forked child of this process: let go of it without a word."""


class Child:
    """A process that merges. Raises OSError when it cannot be started.

    `rest` is held while it is started: a process that is forked in between would keep our
    ends of its pipes open.
    """

    def __init__(self, order: Order, rest: RLock) -> None:
        if not sys.executable:
            raise OSError("there is no Python interpreter to start")
        with rest:
            self._process = subprocess.Popen(  # noqa: S603  # our own module, no shell
                # -P: a module of the working directory must not stand in for one of ours.
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "weightslab.ledger.compaction.process",
                    str(os.getpid()),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Ctrl-C is for the training.
                start_new_session=True,
                env=_environment(),
            )
        assert self._process.stdin is not None
        try:
            with self._process.stdin as stream:
                stream.write(json.dumps(order.words()).encode() + b"\n")
        except OSError:
            self.end()
            raise

    @property
    def finished(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._process.poll() is not None

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()

    def disown(self) -> None:
        """In a forked child of this process: let go of it without a word."""
        # Not ours: nothing is to be waited for, and nothing said about it.
        self._process.returncode = 0


def _environment() -> dict[str, str]:
    """What the child needs to find this package, and to take one core at the most."""
    package = str(Path(__file__).parents[3])
    found = os.environ.get("PYTHONPATH")
    path = package if not found else os.pathsep.join((package, found))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
