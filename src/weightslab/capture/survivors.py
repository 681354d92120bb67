"""Which items of a batch its collate function kept.

A collate function may leave items out (broken images, say). Then the batch has
fewer rows than were fetched, and handing it the ids of all would shift them.
Shapes: B items fetched. Runs in DataLoader workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from weightslab.capture.carry import Origins

__all__ = ["survivors"]


def survivors(batch: Any, data: Any, origins: Origins) -> Origins:
    """Origins of the rows that `batch` holds, out of the B items in `data`.

    Nothing is guessed: where items are gone and it cannot be told which, the
    answer has neither keys nor names, and says why in `problem`.
    """
    fetched = len(origins)
    known = origins.problem is None
    if not known or _leading(batch) == fetched or not isinstance(data, (list, tuple)):
        return origins
    if len(data) != fetched:
        return Origins(
            problem=f"the dataset gave {len(data)} items for {fetched} indices, and which is "
            f"which cannot be told"
        )
    places = _places(batch, data)
    if places is not None:
        return origins.at(places)
    counts = _row_counts(batch)
    kept = [place for place, item in enumerate(data) if item is not None]
    if len(kept) < fetched and len(kept) in counts:
        return origins.at(kept)
    if len(kept) < fetched or (counts and max(counts) < fetched):
        return Origins(
            problem=f"the collate function made a batch of {_words(counts)} rows out of "
            f"{fetched} items, and which ones are left cannot be told: mark the items that "
            f"it drops as None, or keep the id in the item and give id_fn="
        )
    return origins


def _leading(batch: Any) -> int:
    """Rows of the first tensor of a batch, -1 when it does not begin with one."""
    first = batch
    if isinstance(batch, (list, tuple)):
        first = batch[0] if batch else None
    elif isinstance(batch, Mapping):
        first = next(iter(batch.values()), None)
    return first.size(0) if isinstance(first, torch.Tensor) and first.ndim else -1


def _places(batch: Any, data: list[Any] | tuple[Any, ...]) -> list[int] | None:
    """Place of each item when the batch is a plain list of fetched items."""
    if not isinstance(batch, (list, tuple)):
        return None
    place_of = {id(item): place for place, item in enumerate(data)}
    if len(place_of) < len(data):  # one object at two places: small ints, None
        if len(batch) == len(data) and all(a is b for a, b in zip(batch, data, strict=True)):
            return list(range(len(data)))
        return None
    places = [place_of.get(id(item), -1) for item in batch]
    return None if -1 in places else places


def _row_counts(batch: Any) -> set[int]:
    """Lengths of the tensors of a batch, or of its lists when it has no tensor."""
    if isinstance(batch, Mapping):
        parts = list(batch.values())
    elif isinstance(batch, (list, tuple)):
        parts = list(batch)
    else:
        parts = [batch]
    tensors = {len(p) for p in parts if isinstance(p, (torch.Tensor, np.ndarray)) and p.ndim}
    return tensors or {len(part) for part in parts if isinstance(part, (list, tuple))}


def _words(counts: set[int]) -> str:
    return " or ".join(str(count) for count in sorted(counts)) or "an unknown number of"
