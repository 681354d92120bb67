"""A process of lowest priority that merges files.

`python -m weightslab.ledger.compaction.process PARENT`, PARENT the process that started it.

It reads one line of JSON from its standard input: jobs, and a folder for unfinished files. It
writes each merged file there, syncs it and prints a line; the process that started it gives
the files their names. Nothing that a reader sees is touched here, so it may die at any
moment. It ends by itself when its parent is gone.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from weightslab.ledger.compaction.plan import MergeJob
from weightslab.ledger.files import Files

__all__ = ["main"]

_WATCH_S = 0.5


def main() -> None:
    """Do what standard input asks for."""
    parent = int(sys.argv[1])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    os.nice(19)
    order = json.loads(sys.stdin.readline())
    files, folder = Files(), Path(order["folder"])
    for number, words in enumerate(order["jobs"]):
        # Named by the one who gives them their place: whoever clears up after processes that
        # are gone must not take them when this one has done its work.
        done = _done(files, folder / f"{parent}-{os.getpid()}-{number}-merged", words)
        sys.stdout.write(json.dumps(done) + "\n")
        sys.stdout.flush()


def _done(files: Files, path: Path, words: dict[str, Any]) -> dict[str, Any]:
    """Do one job; what became of it."""
    try:
        with files.open_new(path) as stream:
            rows = MergeJob.restore(words).write(stream)
            stream.flush()
            files.sync(stream.fileno())
    except Exception as error:  # noqa: BLE001  # told to the parent, which says and counts it
        path.unlink(missing_ok=True)
        return {"error": f"{type(error).__name__}: {error}"}
    return {"path": str(path), "rows": rows}


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)


if __name__ == "__main__":
    main()
