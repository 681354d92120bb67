"""A process of lowest priority that merges files.

`python -m weightslab.ledger.compaction.process PARENT`, PARENT the process that started it.

It reads one line of JSON, an order, from its standard input, and carries it out; the process
that started it gives the files their names. Nothing that a reader sees is touched here, so it
may die at any moment. It ends by itself when its parent is gone.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

from weightslab.ledger.compaction.order import carry_out
from weightslab.ledger.files import Files

__all__ = ["main"]

_WATCH_S = 0.5


def main() -> None:
    """Do what standard input asks for."""
    parent = int(sys.argv[1])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    os.nice(19)
    carry_out(json.loads(sys.stdin.readline()), Files())


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)


if __name__ == "__main__":
    main()
