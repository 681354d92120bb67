"""What a training loader leaves out, out of what is discarded.

Shapes: P positions of a loader's dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from weightslab.capture.bases import Base, Layout, indices_of

if TYPE_CHECKING:
    from weightslab.ledger import Ledger

__all__ = ["skipped_names", "skipped_positions"]


def skipped_positions(ledger: Ledger, layout: Layout, bases: Sequence[Base]) -> list[int]:
    """Positions of a dataset whose sample is discarded. O(P)."""
    positions: list[int] = []
    for place, base in enumerate(bases):
        indices = np.asarray(indices_of(layout, place), np.int64)
        hidden = np.flatnonzero(ledger.discarded.of(base.rows[indices]))
        if base.reordered:
            # What stood at an index in an earlier launch says nothing any more: an index
            # is left out once it has said its name.
            spoken = [index in base.spoken for index in indices[hidden].tolist()]
            hidden = hidden[np.array(spoken, bool)]
        if layout.which is not None:
            hidden = np.flatnonzero(layout.which == place)[hidden]
        positions.extend(hidden.tolist())
    return positions


def skipped_names(ledger: Ledger, origin: str) -> set[str]:
    """Ids of the discarded samples of an origin, as its items may say them.

    And those that only other processes know: a stream may bring them yet.
    """
    rows = np.arange(len(ledger.ids), dtype=np.int32)
    names: set[str] = set()
    for row in rows[ledger.discarded.of(rows)].tolist():
        if origin in ledger.ids.origins_of(row):
            name = ledger.ids.name(row)
            names |= {name, name.removeprefix(f"{origin}/")}
    for name in ledger.discarded.elsewhere:
        names |= {name, name.removeprefix(f"{origin}/")}
    return names
