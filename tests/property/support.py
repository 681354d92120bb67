"""What the properties share: strategies for text, and one look at everything a folder holds."""

from __future__ import annotations

import csv
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

import weightslab as wl

__all__ = ["FEW", "NAMES", "TEXT", "at_every_age", "csv_rows", "folder", "json_rows", "same"]

FEW = settings(max_examples=20, deadline=None)
"""For examples that write a folder each."""

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
"""Text that a file can hold: any character of Unicode but half of a surrogate pair."""

_AWKWARD = (
    "a/b", "a//b", "../up", ".", "..", "/", "a,b", 'say "x"', "it's", "two\nlines", "\r\n", "\t",
    "🦊", "é", "e\u0301", "a%2Fb", "a=b", "null", "None", "nan", "all", "tags", "signals", "0", " ",
    "#", "\\", "\x00", "\u202e", "__HIVE_DEFAULT_PARTITION__", "tag:x", "{}", "[1]", "-1",
    "L" * 300,
)  # fmt: skip

NAMES = st.one_of(TEXT, st.sampled_from(_AWKWARD))
"""Names as somebody gives them: any text, and what is special in paths, files and formats."""


@contextmanager
def folder() -> Iterator[Path]:
    """A run folder of its own, for one example."""
    with tempfile.TemporaryDirectory() as place:
        yield Path(place) / "run"


def at_every_age(root: Path, fill: Callable[[], None], look: Callable[[], None]) -> None:
    """Fill a folder and look: at once, when it is in files, when closed, and when opened again."""
    with wl.Session(root) as session:
        fill()
        look()
        session.flush()
        look()
    with wl.Session(root, mode="r"):
        look()
    with wl.Session(root):
        look()


def json_rows(path: Path) -> Any:
    """A JSON file, strictly: NaN and Infinity are no JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no strict JSON")

    return json.loads(path.read_text("utf-8"), parse_constant=refuse)


def csv_rows(path: Path) -> list[dict[str, str]]:
    """A CSV file as its readers see it."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def same(found: list[float], expected: list[float]) -> bool:
    """Whether two lists of floats hold the same, NaN being NaN."""
    return len(found) == len(expected) and all(
        a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(found, expected, strict=True)
    )
