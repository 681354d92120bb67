"""Datasets and collate functions that carry, with each item, which one it is.

They stand in for the user's only inside a loader's iterator and its workers.
Shapes: B samples in a batch. Forked and spawned workers run this file: no
ledger, no polars.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from weightslab.capture.carry import Carried, Fetched, FetchedBatch, Origins, pack_keys
from weightslab.capture.survivors import survivors

__all__ = ["DatasetProxy", "IdFunction", "TrackedCollate", "TrackedMap", "TrackedSingles", "joined"]

IdFunction = Callable[[Any], Any]
"""Gives the id of an item as the dataset returned it."""


class DatasetProxy:
    """Looks, to user code in a worker, like the dataset that it stands for.

    `worker_init_fn` and `__iter__` read and set attributes of
    `get_worker_info().dataset` and test its class, so attributes go through and
    `__class__` answers with the user's class. It is the one object here that
    lies about its class: a subclass could not share the user's instance.
    """

    _wl_dataset: Any
    _wl_id_fn: IdFunction | None

    def __init__(self, dataset: Any, id_fn: IdFunction | None) -> None:
        object.__setattr__(self, "_wl_dataset", dataset)
        object.__setattr__(self, "_wl_id_fn", id_fn)

    @property  # type: ignore[misc]  # an instance's class is an attribute like any other
    def __class__(self) -> type:
        return type(self._wl_dataset)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_wl_"):  # not yet set, while it is unpickled
            raise AttributeError(name)
        return getattr(self._wl_dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_wl_"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._wl_dataset, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._wl_dataset, name)

    def __len__(self) -> int:
        return len(self._wl_dataset)

    def __getitem__(self, key: Any) -> Any:
        return self._wl_dataset[key]

    def __repr__(self) -> str:
        return repr(self._wl_dataset)

    def _wl_names(self, items: Any, *, many: bool) -> tuple[list[str] | None, str | None]:
        """Ids that `id_fn` gives, and what went wrong.

        With `many`, `items` are B items with one id each; else it is one item,
        and the id may be a list when that item is a whole batch.
        """
        id_fn = self._wl_id_fn
        if id_fn is None or (many and not isinstance(items, (list, tuple))):
            return None, None
        try:
            given = [_scalar(id_fn(item)) for item in items] if many else _listed(id_fn(items))
        except Exception as error:  # noqa: BLE001  # a user's callback must not end the run
            return None, f"id_fn raised {type(error).__name__}: {error}"
        if None in given:
            return None, "id_fn returned None for an item: it must return an id"
        return [str(value) for value in given], None


class TrackedMap(DatasetProxy):
    """A map-style dataset whose batches of items say their indices."""

    def __reduce__(self) -> tuple[type[TrackedMap], tuple[Any, IdFunction | None]]:
        return (TrackedMap, (self._wl_dataset, self._wl_id_fn))

    def __getitems__(self, keys: Any) -> FetchedBatch:
        """The items of B keys, fetched as the plain loader would have."""
        if not isinstance(keys, list) and iter(keys) is keys:
            keys = list(keys)
        dataset = self._wl_dataset
        fetch = getattr(dataset, "__getitems__", None)
        data = fetch(keys) if fetch else [dataset[key] for key in keys]
        if self._wl_id_fn is None:
            return FetchedBatch(data, Origins(pack_keys(keys)))
        names, problem = self._wl_names(data, many=True)
        return FetchedBatch(data, Origins(pack_keys(keys), names, problem=problem))


class TrackedSingles(DatasetProxy):
    """A map-style dataset of a loader with `batch_size=None`: one key, one batch."""

    def __reduce__(self) -> tuple[type[TrackedSingles], tuple[Any, IdFunction | None]]:
        return (TrackedSingles, (self._wl_dataset, self._wl_id_fn))

    def __getitem__(self, key: Any) -> Fetched:
        data = self._wl_dataset[key]
        many = isinstance(key, (list, tuple, np.ndarray)) or (
            isinstance(key, torch.Tensor) and key.ndim > 0
        )
        names, problem = self._wl_names(data, many=False)
        return Fetched(data, Origins(pack_keys(key if many else [key]), names, problem=problem))


class TrackedCollate:
    """The user's collate function, with what it collates carried beside."""

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self.collate = collate

    def __call__(self, fetched: Any) -> Any:
        """The user's batch and its origins, as a `Carried`."""
        if type(fetched) is FetchedBatch:
            data = fetched.data
            batch = self.collate(data)
            return Carried(batch, survivors(batch, data, fetched.origins))
        if type(fetched) is Fetched:
            return Carried(self.collate(fetched.data), fetched.origins)
        if isinstance(fetched, list) and fetched and type(fetched[0]) is Fetched:
            data = [item.data for item in fetched]
            batch = self.collate(data)
            return Carried(batch, survivors(batch, data, joined(fetched)))
        return self.collate(fetched)


def joined(fetched: list[Fetched]) -> Origins:
    """Origins of items that were fetched one by one."""
    parts = [item.origins for item in fetched]
    problem = next((part.problem for part in parts if part.problem), None)
    if problem is not None:
        return Origins(problem=problem)
    names = [name for part in parts for name in part.names or ()]
    return Origins(None, names, made_up=any(part.made_up for part in parts))


def _scalar(value: Any) -> Any:
    """A 0-d tensor or array as what it holds."""
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)) and value.ndim == 0:
        return value.item()
    return value


def _listed(value: Any) -> list[Any]:
    """One id, or a list or 1-d array of them, as a list."""
    if isinstance(value, (torch.Tensor, np.ndarray)) and value.ndim == 1:
        return list(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_scalar(item) for item in value]
    return [_scalar(value)]
