"""What importing costs, and `weightslab --help`."""

from __future__ import annotations

import subprocess
import sys

from common import in_turns, row

ROUNDS = 7
MEMORY = """
import resource, sys
for line in sys.argv[1:]:
    exec(line)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
EVERYTHING = "import weightslab as wl; [getattr(wl, name) for name in wl.__all__]"


def python(*arguments: str) -> str:
    """Run the interpreter, and wait."""
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def main() -> None:
    """Print the rows of the import."""
    for name, line in (
        ("import weightslab", "import weightslab"),
        ("every public name", EVERYTHING),
    ):
        pair = in_turns(
            lambda: python("-c", "import torch"),
            lambda line=line: python("-c", f"import torch; {line}"),
            rounds=ROUNDS,
        )
        grown = int(python("-c", MEMORY, "import torch", line)) - int(
            python("-c", MEMORY, "import torch")
        )
        row(
            f"{name}, on top of torch",
            f"{pair.ours_s - pair.floor_s:+.3f} s ({pair.ratio:.2f}x), {grown:+d} MiB",
            floor=f"import torch {pair.floor_s:.2f} s",
            goal="at most 0.3 s, 30 MiB",
        )
    pair = in_turns(
        lambda: python("-c", "pass"), lambda: python("-m", "weightslab", "--help"), rounds=ROUNDS
    )
    row(
        "weightslab --help",
        f"{pair.ours_s:.3f} s ({pair.ratio:.1f}x)",
        floor=f"python -c pass {pair.floor_s:.3f} s",
        goal="in 0.3 s",
    )


if __name__ == "__main__":
    main()
