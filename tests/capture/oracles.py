"""Datasets whose items say which one they are: x of item i is i. Importable by spawned workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, get_worker_info

from weightslab.capture.loader import watch_loader
from weightslab.session import Session, current

__all__ = [
    "Batched",
    "Keyed",
    "Noisy",
    "Numbers",
    "Pairs",
    "Resumable",
    "Stream",
    "Triples",
    "ids_of",
    "item_name",
    "said",
    "watch",
]


class Numbers(Dataset[Any]):
    """Item i is (i, i % 3)."""

    def __init__(self, length: int = 20, first: int = 0) -> None:
        self.length = length
        self.first = first
        self.reads = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.reads += 1
        return torch.tensor([float(self.first + index)]), index % 3


class Noisy(Numbers):
    """The same, drawing from every random generator for each item."""

    def __getitem__(self, index: int) -> Any:
        import random

        noise = torch.rand(1) + float(np.random.rand()) + random.random()  # noqa: NPY002
        return torch.tensor([float(index)]), noise


class Batched(Numbers):
    """The same, fetched by the batch."""

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self[index] for index in indices]


class Triples(Dataset[Any]):
    """Item i is (i, i % 3, third[i])."""

    def __init__(self, third: Sequence[Any]) -> None:
        self.third = third

    def __len__(self) -> int:
        return len(self.third)

    def __getitem__(self, index: int) -> Any:
        return torch.tensor([float(index)]), index % 3, self.third[index]


class Keyed(Dataset[Any]):
    """Item i is {"x": i, field: given[i]}."""

    def __init__(self, field: str, given: Sequence[Any]) -> None:
        self.field = field
        self.given = given

    def __len__(self) -> int:
        return len(self.given)

    def __getitem__(self, index: int) -> Any:
        return {"x": torch.tensor([float(index)]), self.field: self.given[index]}


class Stream(IterableDataset[Any]):
    """Numbers 0..length, split over the workers; `shift` may be set in a worker."""

    def __init__(self, length: int = 20) -> None:
        self.length = length
        self.shift = 0

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        start, step = (info.id, info.num_workers) if info else (0, 1)
        for number in range(start, self.length, step):
            yield torch.tensor([float(number + self.shift)]), number % 3


class Resumable(IterableDataset[Any]):
    """Numbers 0..length with a state, as torchdata's loader resumes them."""

    def __init__(self, length: int = 20) -> None:
        self.length = length
        self.at = 0

    def __iter__(self) -> Iterator[Any]:
        while self.at < self.length:
            self.at += 1
            yield torch.tensor([float(self.at - 1)]), 0
        self.at = 0

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        if set(state) != {"at"}:
            raise ValueError(state)
        self.at = state["at"]


class Pairs(Sampler[list[int]]):
    """A batch sampler of its own: (0, n-1), (1, n-2), ..."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length // 2

    def __iter__(self) -> Iterator[list[int]]:
        for index in range(self.length // 2):
            yield [index, self.length - 1 - index]


def item_name(item: Any) -> str:
    """The id of an item of `Numbers` or `Stream`."""
    return f"n{int(item[0])}"


def watch(loader: Any, session: Session | None = None, **options: Any) -> DataLoader[Any]:
    """Watch in the current session, called "train" unless told otherwise."""
    options.setdefault("name", "train")
    return watch_loader(session or current(), loader, **options)


def ids_of(loader: Any) -> list[tuple[str, int]]:
    """(id, what the item says it is) of every sample of one epoch."""
    found: list[tuple[str, int]] = []
    for batch in loader:
        batch_ids = current().batches.current
        assert batch_ids is not None
        x = batch if isinstance(batch, torch.Tensor) else None
        if x is None:
            x = batch["x"] if isinstance(batch, dict) else batch[0]
        numbers = [int(number) for number in x.reshape(-1)]
        found += list(zip(batch_ids.ids, numbers, strict=True))
    return found


def said() -> str:
    """Everything that the session warned of."""
    return "\n".join(current().notices.messages())
