"""The demo's training loop: plain PyTorch with public `wl` verbs, as a user would write it.

Shapes: B samples in a batch, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from weightslab.demo.digits import CLASSES, Digits

__all__ = ["LOSS", "train"]

LOSS = "train/loss"
_SETTINGS = {"experiment_name": "digits-demo", "batch_size": 64, "lr": 2e-3, "seed": 0}


def train(digits: Digits, folder: Path, *, epochs: int, on_epoch: Callable[[float], None]) -> None:
    """Train on the given labels and leave the record of every sample in `folder`.

    `on_epoch` gets the mean loss of each epoch as it ends.
    """
    with _one_thread(), wl.Session(folder):
        settings = wl.watch_or_edit(dict(_SETTINGS), flag="hyperparameters")
        torch.manual_seed(settings["seed"])
        dataset = TensorDataset(torch.from_numpy(digits.images), torch.from_numpy(digits.given))
        loader = wl.watch_or_edit(
            DataLoader(dataset, batch_size=settings["batch_size"], shuffle=True),
            flag="data",
            loader_name="train",
        )
        model = wl.watch_or_edit(_network(), flag="model")
        optimizer = wl.watch_or_edit(
            torch.optim.Adam(model.parameters(), lr=settings["lr"]), flag="optimizer"
        )
        criterion = wl.watch_or_edit(
            nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name=LOSS
        )
        for _ in range(epochs):
            total = 0.0
            for images, labels, ids in loader:
                logits = model(images)
                loss = criterion(logits, labels, batch_ids=ids)
                wl.save_signals(
                    {"train/label_probability": _probability_of(labels, logits)},
                    batch_ids=ids,
                    targets=labels,
                    preds=logits.argmax(dim=1),
                )
                optimizer.zero_grad()
                loss.mean().backward()
                optimizer.step()
                total += loss.sum().item()
            on_epoch(total / len(digits))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch work on one core: a network this small only waits for a second one.

    On a busy machine the waiting takes most of the time; seen: 25 s instead of 3.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _network() -> nn.Module:
    """A small convolutional network: [B, 8, 8] to logits [B, C]."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8)),
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, CLASSES),
    )


def _probability_of(labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """How likely [B] the network holds the given label."""
    return logits.detach().softmax(dim=1).gather(1, labels[:, None])[:, 0]
