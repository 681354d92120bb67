"""Small trainings with everything that an evaluation could disturb, and all that they end with."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassAccuracy

import weightslab as wl
from tests.evaluation.passes import rng_states, seed_all

__all__ = ["Augmented", "Counting", "OwnGenerators", "convolutions", "dropout", "same", "train"]

SAMPLES, BATCH, EPOCHS = 24, 6, 2
FIXED = torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(7))
LABELS = [index % 3 for index in range(SAMPLES)]

MODULE_DRAWS = np.random.default_rng(5)
"""A generator beside a dataset, as scripts have it."""


class Plain(Dataset[Any]):
    """Four numbers and a class."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> Any:
        return FIXED[index], LABELS[index]


class Augmented(Plain):
    """The same with noise from every global generator."""

    def __getitem__(self, index: int) -> Any:
        noise = torch.randn(4) + float(np.random.rand()) + random.random()  # noqa: NPY002
        return FIXED[index] + 0.1 * noise, LABELS[index]


class OwnGenerators(Plain):
    """The same with noise from generators that the dataset, a transform and its module hold."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(1)
        self.draws = np.random.default_rng(2)
        third = random.Random(3)
        self.transforms = [lambda x: x + third.random(), self.shift]

    def shift(self, x: torch.Tensor) -> torch.Tensor:
        return x + float(self.draws.random()) + float(MODULE_DRAWS.random())

    def __getitem__(self, index: int) -> Any:
        x = FIXED[index] + torch.randn(4, generator=self.generator)
        for transform in self.transforms:
            x = transform(x)
        return x, LABELS[index]


class Counting(nn.Module):
    """Keeps a count of its calls, a running tensor and a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(4, 3)
        self.calls = 0
        self.last: torch.Tensor | None = None
        self.generator = torch.Generator().manual_seed(11)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        noise = torch.randn(x.shape, generator=self.generator)
        result: torch.Tensor = self.inside(x + noise / self.calls)
        self.last = result.detach()
        return result


def dropout() -> nn.Module:
    """Draws random numbers in train mode."""
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))


def convolutions() -> nn.Module:
    """Buffers that train mode moves, and one module that stays in eval mode while it trains."""
    model = nn.Sequential(
        nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 4, 3, padding=1), nn.BatchNorm1d(4), nn.Dropout1d(),
        nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 3),
    )  # fmt: skip
    model[2].eval()
    return model


def train(
    folder: Path,
    between: Callable[[Mapping[str, Any]], object] | None,
    *,
    model: Callable[[], nn.Module] = dropout,
    dataset: Callable[[], Dataset[Any]] = Augmented,
    autocast: bool = False,
    own_generator: bool = False,
    **loader_options: Any,
) -> dict[str, Any]:
    """Train for two epochs in a session of its own; `between` is called at every micro-step.

    Gradients of two batches accumulate, so every other time that is in the middle of a step.
    Gives all that there is afterwards.
    """
    seed_all()
    MODULE_DRAWS.bit_generator.state = np.random.default_rng(5).bit_generator.state
    loader_options.setdefault("shuffle", True)
    generator = torch.Generator().manual_seed(3) if own_generator else None
    data = dataset()
    with wl.Session(folder):
        net = wl.watch_or_edit(model(), flag="model")
        net_modes = [module.training for module in net.modules()]
        optimizer = wl.watch_or_edit(torch.optim.Adam(net.parameters(), lr=0.01), flag="optimizer")
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        loss = wl.watch_or_edit(
            nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="loss"
        )
        metric = wl.watch_or_edit(MulticlassAccuracy(3), flag="metric", signal_name="accuracy")
        loader = wl.watch_or_edit(
            DataLoader(data, batch_size=BATCH, generator=generator, **loader_options),
            flag="data", loader_name="train",
        )  # fmt: skip
        val = wl.watch_or_edit(DataLoader(data, batch_size=5), flag="data", loader_name="val")
        held = {"model": net, "loader": loader, "val": val, "loss": loss, "metric": metric}
        seen, losses, told = [], [], []
        for _ in range(EPOCHS):
            for number, (x, y, _ids) in enumerate(loader):
                with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                    if between is not None:
                        between(held)
                    per_sample = loss(net(x), y)
                    if between is not None and number == 1:
                        between(held)  # a graph waits for its backward
                    preds = net(x)
                metric(preds.detach().float(), y)
                (per_sample.mean() + 0.1 * preds.float().pow(2).mean()).backward()
                if between is not None:
                    between(held)
                if number % 2:
                    optimizer.step()
                    optimizer.zero_grad()
                    schedule.step()
                seen.append(x.clone())
                losses.append(per_sample.detach().clone())
            told.append((metric.compute(), metric._update_count))
            assert wl.current_ids() is None
        loader.__dict__["_iterator"] = None  # workers that live on end here, not at some collection
        drawing = [one for one in (generator, getattr(data, "generator", None)) if one]
        return {
            "batches": seen,
            "losses": losses,
            "weights": dict(net.state_dict()),
            "gradients": [one.grad for one in net.parameters()],
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "modes": net_modes == [module.training for module in net.modules()],
            "metric": {name: getattr(metric, name) for name in metric._defaults},
            "told": told,
            "counts": (getattr(net, "calls", 0), getattr(net, "last", None)),
            "random": [*rng_states(), MODULE_DRAWS.random()],
            "own": [one.get_state() for one in drawing],
            "values": wl.query_signal_history("loss", wl.get_current_experiment_hash()),
        }


def same(one: Any, other: Any, where: str = "") -> None:
    """Fail, and say where, unless two results are equal bit for bit."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for place, (left, right) in enumerate(zip(one, other, strict=True)):
            same(left, right, f"{where}[{place}]")
    else:
        assert one == other, where
