"""Run every benchmark, or those that are named, each in a process of its own and in bounded time.

python benchmarks/run.py [loop save_signals ...]
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ALL = (
    "import_time",
    "registration",
    "save_signals",
    "tags",
    "curves",
    "trajectory",
    "recent",
    "signals",
    "compaction",
    "memory",
    "export",
    "compute_signals",
    "loop",
    "evaluation",
)
LIMIT_S = 150


def main(names: list[str]) -> int:
    """Print all results; the exit code says whether every benchmark ran, never how fast."""
    unknown = sorted(set(names) - set(ALL))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(ALL)}", file=sys.stderr)
        return 2
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    return max([_run(name) for name in names or ALL])


def _run(name: str) -> int:
    print(f"\n{name}", flush=True)
    try:
        done = subprocess.run([sys.executable, HERE / f"{name}.py"], timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        print(f"{name} took longer than {LIMIT_S} s and was ended")
        return 1
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
