"""The process that merges, seen from the one that started it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from weightslab.ledger.compaction.plan import MergeJob
from weightslab.ledger.files import Files

__all__ = ["Child"]


class Child:
    """A process that merges. Raises OSError when it cannot be started."""

    def __init__(self, jobs: list[MergeJob], folder: Path) -> None:
        if not sys.executable:
            raise OSError("there is no Python interpreter to start")
        self.jobs = jobs
        self._folder = folder
        self._process = subprocess.Popen(  # noqa: S603  # our own module, no shell
            # -P: a module of the working directory must not stand in for one of ours.
            [sys.executable, "-P", "-m", "weightslab.ledger.compaction.process", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the training.
            start_new_session=True,
            env=_environment(),
        )
        order = {"folder": str(folder.absolute()), "jobs": [job.words() for job in jobs]}
        assert self._process.stdin is not None
        try:
            with self._process.stdin as stream:
                stream.write(json.dumps(order).encode() + b"\n")
        except OSError:
            self._process.kill()
            self._process.wait()
            raise

    @property
    def finished(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._process.poll() is not None

    def results(self) -> list[tuple[MergeJob, dict[str, Any]]]:
        """What became of the jobs; one that the process did not live to do is left out."""
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            # What stands behind the last end of a line was cut off.
            *lines, _ = stream.read().split(b"\n")
        results = [json.loads(line) for line in lines]
        return list(zip(self.jobs, results, strict=False))

    def end(self, files: Files) -> None:
        """Kill it, and remove what it made."""
        self._process.kill()
        self._process.wait()
        for _, result in self.results():
            if "path" in result:
                files.remove(Path(result["path"]))
        for path in self._folder.glob(f"{os.getpid()}-{self._process.pid}-*"):
            files.remove(path)

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
