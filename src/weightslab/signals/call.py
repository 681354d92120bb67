"""Calls of a signal's function for the values of one item.

Shapes: B values of the item, k of them with a result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from weightslab.ledger import Ledger
from weightslab.ledger.log.records import Floats
from weightslab.signals.context import BatchContext, SignalContext
from weightslab.signals.definition import Signal
from weightslab.signals.failures import Failures
from weightslab.signals.item import Item
from weightslab.signals.past import Past
from weightslab.signals.result import number, numbers

if TYPE_CHECKING:
    import polars as pl

    from weightslab.types import SampleIds

__all__ = ["Results", "Scene", "call"]


class Results(NamedTuple):
    """What a function gave."""

    positions: npt.NDArray[np.int64]
    """[k] which of the B values have one."""
    values: Floats
    """[k]."""


class Scene(NamedTuple):
    """What the functions that one item fires see besides the values."""

    ledger: Ledger
    ids: SampleIds
    """[B], or none for a value of the curve."""
    past: Past | None
    dataframe: Callable[[], pl.DataFrame]


def call(signal: Signal, item: Item, scene: Scene, failures: Failures) -> Results:
    """The values that a function gives for an item; what it raises is counted."""
    return (_call_batch if signal.batched else _call_each)(signal, item, scene, failures)


def _call_batch(signal: Signal, item: Item, scene: Scene, failures: Failures) -> Results:
    assert scene.past is not None
    context = BatchContext(
        scene.ids,
        item.values.copy(),
        step=item.step,
        history=scene.past.last,
        dataframe=scene.dataframe,
        annotation_ids=item.annotations,
    )
    size = len(item.values)
    try:
        return Results(*numbers(signal.function(context), size))
    except BaseException as error:  # noqa: BLE001  # a user's function, on a thread of ours
        failures.add(signal.name, error, count=size)
        return Results(*numbers(None, size))


def _call_each(signal: Signal, item: Item, scene: Scene, failures: Failures) -> Results:
    function = signal.function
    past = scene.past if signal.include_history else None
    metadata = signal.include_history_metadata
    held: list[int] = []
    found: list[float] = []
    for at, context in enumerate(_contexts(item, scene, past, metadata)):
        try:
            value = number(function(context))
        except BaseException as error:  # noqa: BLE001  # a user's function, on a thread of ours
            failures.add(signal.name, error)
            continue
        if value is not None:
            held.append(at)
            found.append(value)
    return Results(np.array(held, np.int64), np.array(found, np.float64))


def _contexts(item: Item, scene: Scene, past: Past | None, metadata: bool) -> Any:
    rows = item.rows
    ids: list[str | None] = [None] * len(item.values) if rows is None else list(scene.ids)
    annotations = [None] * len(ids) if item.annotations is None else item.annotations.tolist()
    for at, value in enumerate(item.values.tolist()):
        yield SignalContext(
            ids[at],
            is_dynamic=True,
            dataframe=scene.dataframe,
            subscribed_value=value,
            annotation_id=annotations[at],
            step=item.step,
            origin=None if rows is None else partial(_origin, scene.ledger, item, at),
            history=None if past is None else partial(past.entries, at, metadata),
        )


def _origin(ledger: Ledger, item: Item, at: int) -> str | None:
    """The split of a sample: of several, that of the batch in which the value was saved."""
    assert item.rows is not None
    origins = ledger.ids.origins_of(int(item.rows[at]))
    if item.origin in origins:
        return item.origin
    return origins[0] if origins else None
