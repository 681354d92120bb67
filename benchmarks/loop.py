"""What a training loop pays when its loader, model, optimizer and loss are watched.

A plain loop, the watched one and a second plain one take turns of a few dozen steps;
the second plain one shows how far apart two equal loops land on this machine. Turns of
single steps would measure something else: three networks that push each other out of
the caches, which no training does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from common import percentile, row, scratch_folder
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl

Steps: TypeAlias = Iterator[None]

TURN, WARM = 50, 5
"""Steps of a turn that count, and those before that only warm the caches."""


def loop(
    network: Callable[[], nn.Module], data: TensorDataset, batch: int, *, watched: bool
) -> Steps:
    """One training step per `next`, forever."""
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    criterion: Callable[..., torch.Tensor] = nn.CrossEntropyLoss(reduction="none")
    loader = DataLoader(data, batch_size=batch, shuffle=True)
    if watched:
        model = wl.watch_or_edit(model, flag="model")
        optimizer = wl.watch_or_edit(optimizer, flag="optimizer")
        criterion = wl.watch_or_edit(criterion, flag="loss", signal_name="train/loss")
        loader = wl.watch_or_edit(loader, flag="data", loader_name="train", append_ids=False)
    while True:
        for inputs, labels in loader:
            loss = criterion(model(inputs), labels).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield


def measure(what: str, goal: str, make: Callable[[bool], Steps], *, steps: int) -> None:
    """Take `steps` steps of each loop in turns, and print what watching adds."""
    loops = [make(False), make(True), make(False)]
    taken: list[list[float]] = [[], [], []]
    for turn in range(steps // TURN):
        for place in (0, 1, 2) if turn % 2 == 0 else (2, 1, 0):
            for step in range(WARM + TURN):
                start = time.perf_counter()
                next(loops[place])
                if step >= WARM:
                    taken[place].append(time.perf_counter() - start)
    plain, watched, again = taken
    added_ms = (statistics.median(watched) - statistics.median(plain)) * 1e3
    ratio = statistics.median(watched) / statistics.median(plain)
    noise = statistics.median(again) / statistics.median(plain)
    tail = percentile(watched, 0.99) / percentile(plain, 0.99)
    total = sum(watched) / sum(plain)
    row(
        what,
        f"{ratio:.3f}x, p99 {tail:.2f}x, sum {total:.3f}x, {added_ms:+.3f} ms",
        floor=f"{statistics.median(plain) * 1e3:.2f} ms, again {noise:.3f}x",
        goal=goal,
    )


def mlp() -> nn.Module:
    """784 inputs, two hidden layers."""
    return nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.around = nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[B, inside, H, W] to [B, outside, H / stride, W / stride]."""
        return torch.relu(self.body(inputs) + self.around(inputs))


def resnet() -> nn.Module:
    """A small residual network for 3 x 32 x 32."""
    widths = [(3, 16, 1), (16, 16, 1), (16, 32, 2), (32, 64, 2)]
    blocks = [Block(*width) for width in widths]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def random_data(size: int, *shape: int) -> TensorDataset:
    """Noise with random labels: what it learns does not matter here."""
    draw = torch.Generator().manual_seed(0)
    return TensorDataset(
        torch.randn(size, *shape, generator=draw), torch.randint(10, (size,), generator=draw)
    )


def main() -> None:
    """Print the two rows of the training loop."""
    flat, pictures = random_data(60_000, 784), random_data(2_000, 3, 32, 32)
    with wl.Session("flat"):
        measure(
            "60k x 784 MLP, batch 128, all watched",
            "at most 1.03x and 0.3 ms",
            lambda watched: loop(mlp, flat, 128, watched=watched),
            steps=1500,
        )
    with wl.Session("pictures"):
        measure(
            "residual network, 3 x 32 x 32, batch 32",
            "at most 1.01x",
            lambda watched: loop(resnet, pictures, 32, watched=watched),
            steps=200,
        )


if __name__ == "__main__":
    with scratch_folder():
        main()
