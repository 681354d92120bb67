"""What the tests of this room share: readers through the public verbs, and small real data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import weightslab as wl

__all__ = [
    "Evaluation",
    "Items",
    "Numbers",
    "Training",
    "curve",
    "digits",
    "feed",
    "markers",
    "python",
    "said",
    "series",
    "table",
    "trained",
    "triples",
    "wait_until",
]


def triples(signal: str) -> list[tuple[str, int, float]]:
    """Rows (sample id, step, value) of a signal, without the hash."""
    return [row[:3] for row in wl.query_signal_history(signal)]


def trained(signal: str) -> list[tuple[str, int, float]]:
    """Rows (sample id, step, value) of the training, without those of evaluations."""
    rows = wl.query_signal_history(signal)
    return [row[:3] for row in rows if row[3] is None or "_" not in row[3]]


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


def wait_until(true: Callable[[], object], seconds: float = 20) -> None:
    """Let another thread get there."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def digits(count: int = 32, start: int = 0) -> TensorDataset:
    """Handwritten digits [count, 64] between 0 and 1, and their labels [count]."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    part = slice(start, start + count)
    return TensorDataset(
        torch.tensor(images[part] / 16, dtype=torch.float32), torch.tensor(labels[part])
    )


class Training:
    """A small network on real digits, everything watched; `for` gives its batches.

    The watched loss is called `signal_name`; an item of the loop trains it on one batch.
    """

    def __init__(
        self, signal_name: str = "train_loss", *, count: int = 32, batch: int = 8, seed: int = 0
    ) -> None:
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        self.model = wl.watch_or_edit(network, flag="model")
        self.optimizer = wl.watch_or_edit(
            torch.optim.SGD(self.model.parameters(), lr=0.1), flag="optimizer"
        )
        self.loss = wl.watch_or_edit(
            nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name=signal_name
        )
        self.loader = wl.watch_or_edit(
            DataLoader(digits(count), batch_size=batch, shuffle=True),
            flag="data",
            loader_name="train",
        )

    def step(self, batch: Sequence[Any]) -> torch.Tensor:
        """Train on one batch; the losses [B]."""
        inputs, labels, ids = batch
        losses = self.loss(self.model(inputs), labels, batch_ids=ids)
        self.optimizer.zero_grad()
        losses.mean().backward()
        self.optimizer.step()
        return losses.detach()

    def run(self, epochs: int = 1) -> None:
        """Train."""
        for _ in self.steps(epochs):
            pass

    def steps(self, epochs: int = 1) -> Iterator[int]:
        """Train, and stop after each step for whoever has something to do there."""
        number = 0
        for _ in range(epochs):
            for batch in self.loader:
                self.step(batch)
                yield number
                number += 1


class Evaluation(Training):
    """A training beside `val_loader`, with the watched `eval_loss` and `accuracy` for it.

    The experiment has a name, so that there is a hash.
    """

    def __init__(self, *, count: int = 32, held_out: int = 20, seed: int = 0) -> None:
        wl.watch_or_edit({"experiment_name": "digits"}, flag="hyperparameters")
        super().__init__("train_loss", count=count, seed=seed)
        self.eval_loss = wl.watch_or_edit(
            nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="eval_loss"
        )
        self.accuracy = wl.watch_or_edit(
            lambda preds, targets: (preds.argmax(1) == targets).float(),
            flag="metric",
            name="accuracy",
        )
        self.held_out = digits(held_out, start=1000)
        self.val_loader = wl.watch_or_edit(
            DataLoader(self.held_out, batch_size=8), flag="data", loader_name="val_loader"
        )

    def expected(self) -> dict[str, float]:
        """The means over the held-out samples, computed without WeightsLab."""
        images, labels = self.held_out.tensors
        with torch.no_grad():
            logits = self.model(images)
        return {
            "eval_loss": float(nn.functional.cross_entropy(logits, labels)),
            "accuracy": float((logits.argmax(1) == labels).float().mean()),
        }


def markers(signal: str) -> dict[str, float]:
    """What evaluations left on the curve of a signal: value by hash, in order."""
    frame = wl.history(signal, kind="global").select("experiment_hash", "value")
    return {name: value for name, value in frame.rows() if name is not None and "_" in name}


def series(signal: str) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every sample, in order of arrival."""
    found: dict[str, list[tuple[int, float]]] = {}
    for sample, step, value in triples(signal):
        found.setdefault(sample, []).append((step, value))
    return found


def feed(signal: str, steps: range, ids: tuple[str, ...] = ("a", "b"), **options: Any) -> None:
    """Save 1.0, 2.0, ... of each sample at every step."""
    for step in steps:
        values = [float(number + 1) for number in range(len(ids))]
        wl.save_signals({signal: values}, list(ids), step=step, **options)
