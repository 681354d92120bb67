"""What `import weightslab` does: nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROBE = """
import atexit, json, logging, os, signal, sys, threading, warnings

def state():
    return {
        "threads": [thread.name for thread in threading.enumerate()],
        "environment": dict(os.environ),
        "files": sorted(os.listdir()),
        "exit calls": atexit._ncallbacks(),
        "signals": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "filters": [str(entry) for entry in warnings.filters],
        "loggers": [logging.root.level, *map(str, logging.root.handlers)],
        "hooks": [str(sys.excepthook), str(threading.excepthook), str(sys.meta_path)],
    }

before = state()
import weightslab
after = state()
json.dump({
    "changed": {key: [before[key], after[key]] for key in before if before[key] != after[key]},
    "loaded": sorted({name.partition(".")[0] for name in sys.modules}),
}, sys.stderr)
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh process saw before and after the import."""
    folder: Path = tmp_path_factory.mktemp("import")
    done = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout == "", "the import prints"
    answer: dict[str, Any] = json.loads(done.stderr)
    return answer


def test_import_changes_nothing_of_the_process(imported: dict[str, Any]) -> None:
    """No thread, file, environment variable, handler, filter or hook appears."""
    assert imported["changed"] == {}


@pytest.mark.parametrize("library", ["torch", "polars", "pandas", "pyarrow", "numpy", "rich"])
def test_import_loads_no_heavy_library(imported: dict[str, Any], library: str) -> None:
    """Libraries load with the first verb that needs them."""
    assert library not in imported["loaded"]
