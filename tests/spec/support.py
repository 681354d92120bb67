"""What the tests of this room share: readers through the public verbs, and small real data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

import weightslab as wl

__all__ = ["Items", "Numbers", "curve", "python", "said", "table", "triples"]


def triples(signal: str) -> list[tuple[str, int, float]]:
    """Rows (sample id, step, value) of a signal, without the hash."""
    return [row[:3] for row in wl.query_signal_history(signal)]


def curve(signal: str) -> list[tuple[int, float]]:
    """Points (step, value) of a signal's global curve."""
    return wl.history(signal, kind="global").select("step", "value").rows()


def table(**filters: Any) -> dict[tuple[str, int], dict[str, Any]]:
    """The rows that `write_dataframe` writes, by (sample_id, annotation_id)."""
    rows = json.loads(wl.write_dataframe("table.json", **filters).read_text("utf-8"))
    found = {(row["sample_id"], row["annotation_id"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def said(session: wl.Session) -> str:
    """Everything that the session warned of."""
    return "\n".join(session.notices.messages())


def python(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


class Numbers(Dataset[Any]):
    """Item i is (tensor [1] that holds i, i % classes): the data say which sample they are."""

    def __init__(self, length: int = 6, classes: int = 3) -> None:
        self.length = length
        self.classes = classes
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.read.append(index)
        return torch.tensor([float(index)]), index % self.classes


class Items(Dataset[Any]):
    """The items that it is given."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]
