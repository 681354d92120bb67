"""Ids as rows: those that come with values, and those that somebody names in a verb."""

from __future__ import annotations

from typing import Any

import numpy as np

from weightslab.ledger import Ledger
from weightslab.queries.lookup import find_rows, id_texts
from weightslab.types import BatchIds, Rows, SampleIds

__all__ = ["look_up_rows", "resolve_rows"]


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


def look_up_rows(ledger: Ledger, names: list[str], home: str) -> tuple[Rows, list[str]]:
    """Rows of ids that a verb names, and the ids that nobody in the folder knows.

    `home` is the split that a bare id means.
    """
    found = find_rows(ledger.ids, names, home)
    rows = [row for row in found if row is not None]
    unknown = [name for name, row in zip(names, found, strict=True) if row is None]
    if unknown:
        elsewhere, unknown = _known_to_others(ledger, unknown, home)
        rows += elsewhere
    return np.array(rows, np.int32), unknown


def _known_to_others(ledger: Ledger, names: list[str], home: str) -> tuple[list[int], list[str]]:
    """Rows of ids that another writer of the folder knows, and the ids that none does."""
    rows, unknown = [], []
    others = [view.store.ids for view in ledger.views() if view.writer != ledger.writer]
    theirs = [(ids, find_rows(ids, names, home)) for ids in others]
    for at, name in enumerate(names):
        found = [(ids, row) for ids, known in theirs if (row := known[at]) is not None]
        seen = [(ids, row) for ids, row in found if ids.origins_of(row)]
        if seen:
            # By what it is called there: a bare id, or a place that has got a name, is
            # no other sample. It is theirs: here it has no origin until it is seen.
            ids, row = seen[0]
            rows += ledger.ids.add([ids.name(row)], None).tolist()
        else:
            unknown.append(name)
    return rows, unknown
