"""Ids that come with values, as rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from weightslab.ledger import Ledger
from weightslab.queries.lookup import find_rows, id_texts
from weightslab.types import BatchIds, Rows, SampleIds

__all__ = ["resolve_rows"]


def resolve_rows(ledger: Ledger, ids: Any, batch: BatchIds | None, home: str) -> Rows:
    """Rows of ids as they come with values; ids that are new become samples. int32 [B].

    `home` is the split that a bare id means where no batch is at hand.
    """
    if isinstance(ids, SampleIds):
        if getattr(ids.namer, "__self__", None) is ledger.ids:
            return ids.rows
    elif batch is not None and ids is batch.given:
        return batch.rows
    names = id_texts(ids)
    found = find_rows(ledger.ids, names, home if batch is None else batch.origin)
    origin = "train" if batch is None else batch.origin
    if None in found:
        missing = [name for name, row in zip(names, found, strict=True) if row is None]
        made = dict(zip(missing, ledger.ids.add(missing, origin).tolist(), strict=True))
        pairs = zip(names, found, strict=True)
        found = [made[name] if row is None else row for name, row in pairs]
    rows = np.array(found, np.int32).reshape(len(names))
    # Ids that were tagged or discarded before anybody saw them have a row without an origin.
    unseen = ledger.ids.unseen(rows)
    if len(unseen):
        ledger.ids.add_origin(unseen, origin)
    return rows
