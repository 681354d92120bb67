"""What travels from the place where a sample is read to the loop that receives it.

Shapes: B samples in a batch. Everything here runs in DataLoader workers too:
plain values, torch and the standard library only.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import index as as_integer
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import torch

__all__ = [
    "Carried",
    "Fetched",
    "FetchedBatch",
    "Keys",
    "Origins",
    "id_field",
    "id_strings",
    "is_named_tuple",
    "pack_keys",
]

Keys: TypeAlias = "array[int] | list[Any]"
"""Positions in the loader's dataset, packed; a plain list where keys are no integers."""

ID_FIELDS = ("id", "sample_id", "idx", "index")
THIRD = 2


class Origins:
    """Where the items of one batch come from.

    `keys` are the B positions (map-style datasets), `names` the B ids that an
    `id_fn` or an iterable gave, `made_up` says that we invented them, and
    `problem` says in words why one of them is missing.
    """

    __slots__ = ("keys", "made_up", "names", "problem")

    def __init__(
        self,
        keys: Keys | None = None,
        names: list[str] | None = None,
        *,
        made_up: bool = False,
        problem: str | None = None,
    ) -> None:
        self.keys = keys
        self.names = names
        self.made_up = made_up
        self.problem = problem

    def __reduce__(self) -> tuple[Callable[..., Origins], tuple[Any, ...]]:
        return (_origins, (self.keys, self.names, self.made_up, self.problem))

    def __len__(self) -> int:
        held = self.keys if self.keys is not None else self.names
        return 0 if held is None else len(held)

    def at(self, kept: Sequence[int]) -> Origins:
        """Those of the items at the places `kept`."""
        keys = self.keys
        if keys is not None:
            picked = [keys[place] for place in kept]
            keys = array("q", picked) if isinstance(keys, array) else picked
        names = None if self.names is None else [self.names[place] for place in kept]
        return Origins(keys, names, made_up=self.made_up, problem=self.problem)


def _origins(
    keys: Keys | None, names: list[str] | None, made_up: bool, problem: str | None
) -> Origins:
    return Origins(keys, names, made_up=made_up, problem=problem)


class Fetched:
    """What a tracked dataset hands to the tracked collate function: items and whence."""

    __slots__ = ("data", "origins")

    def __init__(self, data: Any, origins: Origins) -> None:
        self.data = data
        self.origins = origins

    def __reduce__(self) -> tuple[type[Fetched], tuple[Any, Origins]]:
        return (Fetched, (self.data, self.origins))


class FetchedBatch(Fetched):
    """The same for the B items of one batch, fetched together."""

    __slots__ = ()

    def __reduce__(self) -> tuple[type[FetchedBatch], tuple[Any, Origins]]:
        return (FetchedBatch, (self.data, self.origins))


class Carried:
    """A collated batch and whence it comes; only the watched iterator sees one."""

    __slots__ = ("batch", "origins")

    def __init__(self, batch: Any, origins: Origins) -> None:
        self.batch = batch
        self.origins = origins

    def __reduce__(self) -> tuple[type[Carried], tuple[Any, Origins]]:
        return (Carried, (self.batch, self.origins))

    def pin_memory(self) -> Carried:
        """Pins what the user's batch holds, as the loader would have."""
        from torch.utils.data._utils.pin_memory import pin_memory

        pinned = pin_memory(self.batch)  # type: ignore[no-untyped-call]  # torch has no types here
        return Carried(pinned, self.origins)

    def to(self, device: Any, non_blocking: bool = False) -> Carried:
        """Moves every tensor of the batch."""
        return Carried(_to(self.batch, device, non_blocking), self.origins)


def _to(value: Any, device: Any, non_blocking: bool) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=non_blocking)
    if isinstance(value, Mapping):
        return {key: _to(item, device, non_blocking) for key, item in value.items()}
    if is_named_tuple(value):
        return type(value)(*(_to(item, device, non_blocking) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(_to(item, device, non_blocking) for item in value)
    return value


def is_named_tuple(value: object) -> bool:
    """Whether `value` is a tuple with named fields."""
    return isinstance(value, tuple) and hasattr(value, "_fields")


def pack_keys(keys: Iterable[Any]) -> Keys:
    """Positions as one packed array; what is no integer stays as it came."""
    if not isinstance(keys, (list, tuple, range)):
        if isinstance(keys, (torch.Tensor, np.ndarray)):
            keys = keys.reshape(-1).tolist()
        else:
            keys = list(keys)
    try:
        return array("q", keys)
    except (TypeError, OverflowError):
        pass
    try:
        return array("q", [as_integer(key) for key in keys])
    except (TypeError, OverflowError):
        return list(keys)


def id_field(batch: Any) -> Any:
    """The part of a batch or item that may name samples; None when there is none.

    That is a mapping's (or a named tuple's) id, sample_id, idx or index field,
    else the third item of a tuple or list.
    """
    if isinstance(batch, (tuple, list)):
        if len(batch) <= THIRD:
            return None
        fields = getattr(batch, "_fields", ())
        for key in ID_FIELDS:
            if key in fields:
                return getattr(batch, key)
        return batch[THIRD]
    if isinstance(batch, Mapping):
        return next((batch[key] for key in ID_FIELDS if key in batch), None)
    return None


def id_strings(value: Any) -> TypeGuard[list[str] | tuple[str, ...]]:
    """Whether `value` is a list or tuple of strings."""
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
