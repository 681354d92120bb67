"""What an evaluation costs beside a plain loop that computes the same losses.

The plain loop is what a script without WeightsLab has: model.eval(), no_grad, a loader in
order, the loss of every sample. Ours is the whole pass: the fresh loader, isolation, the
default function, and every value in a buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from common import in_turns, row, scratch_folder
from loop import mlp, random_data, resnet
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from weightslab.evaluation.isolation import isolated
from weightslab.evaluation.managed_loader import ManagedLoader
from weightslab.evaluation.runner import run_pass


class Buffer:
    """Keeps what a pass records, as that of an evaluation does."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def samples(self, signals: Mapping[str, Any], rows: Any, *, step: int, log: bool) -> None:
        """Keep values of samples."""
        self.kept.append((rows.copy(), {name: one.copy() for name, one in signals.items()}))

    def instances(self, *values: Any, **how: Any) -> None:
        """Keep values of instances."""
        self.kept.append(values)

    def scalars(self, scalars: Mapping[str, float], *, step: int) -> None:
        """Keep single numbers."""
        self.kept.append(scalars)


def measure(
    what: str, network: Callable[[], nn.Module], data: TensorDataset, batch: int, rounds: int
) -> None:
    """Evaluate `data` in both ways in turns."""
    plain_model, plain_loss = network(), nn.CrossEntropyLoss(reduction="none")

    def plain() -> torch.Tensor:
        plain_model.eval()
        losses = []
        with torch.no_grad():
            for inputs, labels in DataLoader(data, batch_size=batch):
                losses.append(plain_loss(plain_model(inputs), labels))
        return torch.cat(losses)

    with wl.Session(what) as session:
        model = wl.watch_or_edit(network(), flag="model")
        wl.watch_or_edit(nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="loss")
        loader: Any = wl.watch_or_edit(
            DataLoader(data, batch_size=batch), flag="data", loader_name="val"
        )

        def ours() -> None:
            registry, buffer = session.registry, Buffer()
            with (
                session.batches.apart(),
                session.recording.diverted(buffer),
                isolated(registry.models.values(), registry.signals.values()),
            ):
                run_pass(
                    ManagedLoader(loader.weightslab.evaluation_loader()),
                    model=model,
                    signals=registry.signals,
                    say=print,
                )
            assert sum(len(rows) for rows, _ in buffer.kept) == len(data)

        ours(), plain()
        pair = in_turns(plain, ours, rounds=rounds)
        again = in_turns(plain, plain, rounds=rounds)
    row(
        f"10k samples, {what}, batch {batch}",
        f"{pair.ratio:.3f}x, {(pair.ours_s - pair.floor_s) * 1e3:+.1f} ms",
        floor=f"{pair.floor_s * 1e3:.1f} ms, again {again.ratio:.3f}x",
        goal="at most 1.1x",
    )


def main() -> None:
    """Print a row for each network."""
    flat = random_data(10_000, 784)
    measure("784 MLP", mlp, flat, 128, rounds=25)
    measure("784 MLP", mlp, flat, 32, rounds=25)
    measure("residual, 3 x 16 x 16", resnet, random_data(10_000, 3, 16, 16), 100, rounds=3)


if __name__ == "__main__":
    with scratch_folder():
        main()
