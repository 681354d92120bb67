"""A new batch size for watched loaders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from weightslab.hyperparameters.values import Refusal

__all__ = ["Resizable", "resized"]


class Resizable(Protocol):
    """What a watched loader lets an edit see and do."""

    is_training: bool

    @property
    def batch_size(self) -> int | None:
        """Samples in a batch, those of the next epoch; None when the loader does not say."""

    @property
    def current(self) -> int | None:
        """Samples in a batch of the epoch under way."""

    def resize(self, size: int) -> None:
        """Have batches of `size` from the next epoch on; raises `Refusal` where that cannot be."""


def resized(
    loaders: Mapping[str, Resizable], name: str | None, before: int | None, after: int
) -> list[str]:
    """Give `after` to the loader of that name, else to the training loaders that have `before`.

    `before` None: the key is new, and means all training loaders where they agree.

    Returns:
        Names of the loaders that have it from their next epoch on.

    Raises:
        Refusal: there are none; says what the loaders have, or why one cannot take it.
    """
    if name is not None:
        if loaders[name].batch_size != after:
            loaders[name].resize(after)
        return [name]
    training = {name: loader for name, loader in loaders.items() if loader.is_training}
    sizes = {loader.batch_size for loader in training.values()}
    if before is None and len(sizes) == 1:
        (before,) = sizes
    chosen = [name for name, loader in training.items() if loader.batch_size == before]
    there = [name for name, loader in training.items() if loader.batch_size == after]
    if not training:
        raise Refusal("no training loader is watched")
    if not chosen and not there:
        present = ", ".join(f"{name!r} has {one.batch_size}" for name, one in training.items())
        raise Refusal(f"no training loader had batches of {before}: {present}")
    refused = []
    for one in chosen:
        try:
            training[one].resize(after)
        except Refusal as why:
            refused.append(f"not by {one!r}: {why}")
        else:
            there.append(one)
    if not there:
        raise Refusal("; ".join(refused))
    return there
