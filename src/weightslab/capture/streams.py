"""Iterable datasets whose items carry their ids.

An item is named by `id_fn`, else by its own id field, else `w<worker>:<n>`: the
n-th item that this worker drew in this epoch. Runs in DataLoader workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from weightslab.capture.carry import Fetched, Origins, id_field
from weightslab.capture.tracking import DatasetProxy, IdFunction

__all__ = ["TrackedStream"]

NUMBER = "weightslab_number"
"""Where the count of drawn items stands in the state of a resumable stream."""

LOST = -1
"""The count after a resume from a state that does not hold it."""


class TrackedStream(DatasetProxy):
    """An iterable dataset whose items say their ids and leave out those discarded.

    With `fields`, strings in an item's id field name it, and integers too with
    `integers`. `skipped` holds ids to leave out: the very set of the main
    process without workers, a copy from the start of the epoch with them.
    """

    _wl_options: tuple[bool, bool]
    _wl_skipped: set[str]
    _wl_start: int
    _wl_items: _Items | None

    def __init__(
        self,
        dataset: Any,
        id_fn: IdFunction | None,
        skipped: set[str],
        *,
        fields: bool = True,
        integers: bool = False,
    ) -> None:
        super().__init__(dataset, id_fn)
        self._wl_options = (fields, integers)
        self._wl_skipped = skipped
        self._wl_start = 0
        self._wl_items = None

    def __reduce__(self) -> tuple[Callable[..., TrackedStream], tuple[Any, ...]]:
        return (_stream, (self._wl_dataset, self._wl_id_fn, self._wl_skipped, *self._wl_options))

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        if self._wl_id_fn is None and callable(found):
            # torchdata saves and resumes a stream through these two; our count goes along.
            if name == "state_dict":
                return self._wl_state_dict
            if name == "load_state_dict":
                return self._wl_load_state_dict
        return found

    def __iter__(self) -> _Items:
        items = iter(self._wl_dataset)
        resumable = hasattr(items, "state_dict") and hasattr(items, "load_state_dict")
        made = (_ResumableItems if resumable else _Items)(items, self, self._wl_start)
        self._wl_start = 0
        self._wl_items = made
        return made

    def _wl_state_dict(self) -> Any:
        state = self._wl_dataset.state_dict()
        number = self._wl_items.number if self._wl_items is not None else self._wl_start
        return {**state, NUMBER: number} if isinstance(state, dict) else state

    def _wl_load_state_dict(self, state: Any) -> None:
        own, self._wl_start = _without_number(state)
        self._wl_dataset.load_state_dict(own)

    def _wl_origins(self, item: Any, number: int) -> Origins:
        """Whence the `number`-th item of this worker comes."""
        if self._wl_id_fn is not None:
            names, problem = self._wl_names(item, many=False)
            return Origins(None, names, problem=problem)
        fields, integers = self._wl_options
        given = _names_in(item, integers=integers) if fields else None
        if given is not None:
            return Origins(None, given)
        if number == LOST:
            return Origins(
                problem="the loader was resumed from a state saved without WeightsLab, so the "
                "place of an item in its stream is not known: give id_fn="
            )
        info = get_worker_info()
        return Origins(None, [f"w{info.id if info else 0}:{number}"], made_up=True)


def _stream(
    dataset: Any, id_fn: IdFunction | None, skipped: set[str], fields: bool, integers: bool
) -> TrackedStream:
    return TrackedStream(dataset, id_fn, skipped, fields=fields, integers=integers)


class _Items(Iterator[Fetched]):
    """The items of one worker in one epoch."""

    def __init__(self, items: Iterator[Any], stream: TrackedStream, number: int) -> None:
        self.items = items
        self.stream = stream
        self.number = number

    def __next__(self) -> Fetched:
        stream = self.stream
        while True:
            item = next(self.items)
            origins = stream._wl_origins(item, self.number)  # noqa: SLF001  # two halves of one thing
            if self.number != LOST:
                self.number += 1
            names = origins.names
            if names is None or not stream._wl_skipped.issuperset(names):  # noqa: SLF001
                return Fetched(item, origins)


class _ResumableItems(_Items):
    """The same over an iterator with a state (torchdata's `Stateful`)."""

    def state_dict(self) -> Any:
        """The user's state, with our count in it where we count."""
        state = self.items.state_dict()  # type: ignore[attr-defined]
        counts = self.stream._wl_id_fn is None and isinstance(state, dict)  # noqa: SLF001
        return {**state, NUMBER: self.number} if counts else state

    def load_state_dict(self, state: Any) -> None:
        """Go on where the state was taken."""
        own, self.number = _without_number(state)
        self.items.load_state_dict(own)  # type: ignore[attr-defined]


def _without_number(state: Any) -> tuple[Any, int]:
    if isinstance(state, dict) and NUMBER in state:
        return {key: value for key, value in state.items() if key != NUMBER}, state[NUMBER]
    return state, LOST


def _names_in(item: Any, *, integers: bool) -> list[str] | None:
    """Ids in the id field of an item, or of a whole batch that the stream yields."""
    given = id_field(item)
    if isinstance(given, (torch.Tensor, np.ndarray, np.generic)):
        if given.ndim > 1 or not integers:
            return None
        given = given.tolist()
    values = list(given) if isinstance(given, (list, tuple)) else [given]
    if values and all(isinstance(value, str) for value in values):
        return values
    if integers and values and all(type(value) is int for value in values):
        return [str(value) for value in values]
    return None
