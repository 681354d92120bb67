"""What `wl.compute_signals` costs beside a plain loop over the dataset that calls the function."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from common import in_turns, row, scratch_folder
from torch.utils.data import DataLoader, Dataset

import weightslab as wl

ROUNDS = 5
BATCH = 64
GOAL = "none is set; near 1x"


class Numbers(Dataset[Any]):
    """Items that cost nothing: what is measured is all ours."""

    def __len__(self) -> int:
        """Number of samples."""
        return 20_000

    def __getitem__(self, index: int) -> Any:
        """A number and a label."""
        return index, 0


class Pictures(Dataset[Any]):
    """Pictures of 128 x 128 pixels, put together, cropped and flipped, as floats or bytes."""

    def __init__(self, *, floats: bool) -> None:
        self.floats = floats
        self.source = np.random.default_rng(0).integers(0, 256, (64, 144, 144, 3), np.uint8)

    def __len__(self) -> int:
        """Number of samples."""
        return 2_000

    def __getitem__(self, index: int) -> Any:
        """A picture, [128, 128, 3] bytes or [3, 128, 128] floats of 0..1, and a label."""
        levels = self.source[index % 64]
        levels = np.roll(levels, index, axis=1)[8:-8, 8:-8][:, ::-1]
        if not self.floats:
            return np.ascontiguousarray(levels), 0
        return torch.from_numpy(levels.transpose(2, 0, 1).copy()).float().div_(255), 0


def number(ctx: Any) -> float:
    """The sample itself."""
    return float(ctx.data)


def brightness(ctx: Any) -> float:
    """Mean level, 0..255."""
    return float(ctx.image.mean())


def blue(ctx: Any) -> int:
    """How many pixels are rather blue."""
    red, green, blue = (ctx.image[:, :, channel] for channel in range(3))
    return int(((blue > 150) & (blue > red) & (blue > green)).sum())


def bytes_of(picture: Any) -> np.ndarray:
    """What a user's own loop does to have levels."""
    if isinstance(picture, torch.Tensor):
        picture = (picture.permute(1, 2, 0) * 255).round().byte().numpy()
    return picture


def plain(dataset: Any, functions: list[Callable[[Any], Any]], workers: int) -> None:
    """The loop that somebody would write, with a loader's workers where there are some."""
    read: Any = dataset
    if workers:
        loader = DataLoader(dataset, BATCH, num_workers=workers, collate_fn=list)
        read = (item for items in loader for item in items)
    else:
        read = (dataset[index] for index in range(len(dataset)))
    kept: dict[str, list[float]] = {function.__name__: [] for function in functions}
    for data, _ in read:
        context = SimpleNamespace(data=data)
        for function in functions:
            if function is not number:
                context.image = bytes_of(data)
            kept[function.__name__].append(function(context))


def show(what: str, dataset: Any, functions: list[Callable[[Any], Any]], workers: int) -> None:
    """Print one pair."""
    loader = DataLoader(dataset, BATCH, num_workers=workers)
    pair = in_turns(
        lambda: plain(dataset, functions, workers),
        lambda: wl.compute_signals(loader, origin=what, signals=functions),
        rounds=ROUNDS,
    )
    count = len(dataset)
    added_us = (pair.ours_s - pair.floor_s) / count * 1e6
    row(
        what,
        f"{count / pair.ours_s:,.0f} samples/s, {added_us:+.1f} µs each ({pair.ratio:.2f}x)",
        floor=f"{'a loader' if workers else 'a plain loop'} {count / pair.floor_s:,.0f} samples/s",
        goal=GOAL,
    )


def main() -> None:
    """Print what a pass costs: over nothing, over pictures, with and without workers."""
    with wl.Session("run"):
        for function in (number, brightness, blue):
            wl.signal(function)
        show("numbers", Numbers(), [number], 0)
        show("pictures as bytes", Pictures(floats=False), [brightness], 0)
        show("pictures as bytes, two signals", Pictures(floats=False), [brightness, blue], 0)
        show("pictures as floats", Pictures(floats=True), [brightness], 0)
        for workers in (1, 2):
            show(f"as bytes, workers: {workers}", Pictures(floats=False), [brightness], workers)
            show(f"as floats, workers: {workers}", Pictures(floats=True), [brightness], workers)


if __name__ == "__main__":
    with scratch_folder():
        main()
