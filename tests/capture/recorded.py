"""What the current session has on record, as plain lists, for the tests of this room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weightslab.session import Session, current
from weightslab.types import BatchIds, SampleIds

__all__ = ["array_of", "curve", "hand_out", "instances", "said", "samples", "values"]


def samples(signal: str) -> list[tuple[str, int, float]]:
    """Rows (sample id, step, value) of a signal, by sample, in order of arrival."""
    return [(row[0], row[2], row[3]) for row in _rows("sample", signal)]


def instances(signal: str) -> list[tuple[str, int, float]]:
    """Rows (sample id, annotation id, value) of a signal, by instance."""
    return [(row[0], row[1], row[3]) for row in _rows("instance", signal)]


def values(signal: str) -> list[float]:
    """Recorded values of a signal, by sample."""
    return [row[2] for row in samples(signal)]


def curve(signal: str) -> list[tuple[int, float]]:
    """Points (step, value) of the global curve of a signal."""
    found = []
    for _, chunk in _store().history.read("global", signals=[signal]):
        found += list(zip(chunk.columns["step"], chunk.columns["value"], strict=True))
    return [(int(step), float(value)) for step, value in found]


def array_of(field: str, sample_id: str) -> Any:
    """The latest targets, preds or preds_raw of a sample; None if there are none."""
    row = current().ledger.ids.find(sample_id)
    store = _store()
    column = store.arrays.samples.get(field)
    return None if column is None or row is None else column.get(row)


def said() -> list[str]:
    """Every notice of the session so far."""
    return current().notices.messages()


def hand_out(names: Sequence[str] | None, origin: str = "train") -> BatchIds | None:
    """Put a batch into this thread's hands, as a watched loader does."""
    session: Session = current()
    batch = None
    if names is not None:
        ids = session.ledger.ids
        batch = BatchIds(SampleIds(ids.add(list(names), origin), ids.names), origin)
    session.batches.enter(batch)
    return batch


def _store() -> Any:
    store = current().ledger._store
    store.drain()
    return store


def _rows(kind: str, signal: str) -> list[tuple[str, int, int, float]]:
    ids = current().ledger.ids
    found = []
    for _, chunk in _store().history.read(kind, signals=[signal]):
        columns = chunk.columns
        for at in range(len(chunk)):
            annotation = int(columns["annotation_id"][at]) if kind == "instance" else 0
            name = ids.name(int(columns["sample"][at]))
            found.append((name, annotation, int(columns["step"][at]), float(columns["value"][at])))
    return found
