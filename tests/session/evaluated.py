"""A small real training with a loader to evaluate, for the tests of evaluations."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from weightslab.evaluation.request import Outcome
from weightslab.session import current

__all__ = ["Training", "ahead", "curve", "finished", "journal", "wait_until"]

SAMPLES = 19
"""In batches of 4 the last one is short."""


def wait_until(true: Callable[[], object], seconds: float = 30) -> None:
    """Let another thread get there."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


class Training:
    """A linear model, watched with its loss, its optimizer and two loaders."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        inputs, targets = torch.randn(SAMPLES, 4), torch.randint(0, 3, (SAMPLES,))
        self.inputs, self.targets = inputs, targets
        data = TensorDataset(inputs, targets)
        self.model = wl.watch_or_edit(nn.Linear(4, 3), flag="model")
        self.optimizer = wl.watch_or_edit(torch.optim.SGD(self.model.parameters(), lr=0.1))
        self.loss = wl.watch_or_edit(
            nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="loss"
        )
        self.train = wl.watch_or_edit(
            DataLoader(TensorDataset(inputs, targets), batch_size=4, shuffle=True),
            flag="data",
            loader_name="train_loader",
        )
        self.val = wl.watch_or_edit(
            DataLoader(data, batch_size=4), flag="data", loader_name="val_loader"
        )
        self.steps = 0

    def epoch(
        self, on_batch: Callable[[int], object] = lambda _: None, *, call: bool = False
    ) -> list[int]:
        """Train; batches that were skipped, since a call of ours evaluated."""
        skipped = []
        for batch, (inputs, targets, _) in enumerate(self.train):
            if call and wl.run_pending_evaluation():
                skipped.append(batch)
                continue
            self.optimizer.zero_grad()
            self.loss(self.model(inputs), targets).mean().backward()
            self.optimizer.step()
            self.steps += 1
            on_batch(batch)
        return skipped

    def mean_loss(self) -> float:
        """What an evaluation finds now."""
        with torch.no_grad():
            losses = nn.functional.cross_entropy(
                self.model(self.inputs), self.targets, reduction="none"
            )
        return float(losses.double().mean())


def ahead(loader: Any) -> Iterator[Any]:
    """The batches of a loader, drawn on a thread of its own."""
    batches: queue.Queue[Any] = queue.Queue(1)

    def draw() -> None:
        for batch in loader:
            batches.put(batch)
        batches.put(None)

    threading.Thread(target=draw, daemon=True).start()
    while (batch := batches.get()) is not None:
        yield batch


def curve(signal: str = "loss", *, marked: bool = True) -> list[tuple[str, int, float]]:
    """(end of the hash, step, value) of the markers of a curve, or of its other points."""
    frame = wl.history(signal, kind="global").with_columns(
        pl.col("experiment_hash").fill_null("").alias("hash")
    )
    chosen = frame.filter(pl.col("hash").str.contains("_") == marked)
    return [
        (name.partition("_")[2], step, value)
        for name, step, value in chosen.select("hash", "step", "value").rows()
    ]


def finished(request: int) -> Outcome:
    """The outcome of a request, once it has one."""
    found: list[Outcome] = []

    def is_over() -> bool:
        outcome = current().evaluations.controller.find(request)
        assert outcome is not None
        found[:] = [outcome]
        return outcome.state not in ("waiting", "running")

    wait_until(is_over)
    return found[0]


def journal() -> list[dict[str, Any]]:
    """What the journal says of evaluations, oldest first."""
    entries = current().ledger._store.pending.journal
    return [
        {"name": one.name, "actor": one.actor, **json.loads(one.value or "")}
        for one in entries
        if one.verb == "evaluation"
    ]
