"""Edits of several writers come to one state, whoever reads them and in whatever order."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.support import FEW, folder
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.edits.merged import DISCARD, Key, MergedEdits, Stamp
from weightslab.ledger.table.samples import SampleTable
from weightslab.queries.samples import samples_frame

_KEYS = {
    DISCARD: ("true", "false"),
    Key("tag", "t"): ("true", "false"),
    Key("category", "c"): ("x", "y", None),
}

Edit = tuple[Key, list[int], str | None, int]

_EDIT = st.sampled_from(list(_KEYS)).flatmap(
    lambda key: st.tuples(
        st.just(key),
        st.lists(st.integers(0, 5), max_size=4, unique=True),
        st.sampled_from(_KEYS[key]),
        st.integers(0, 8),
    )
)
_JOURNAL = st.lists(_EDIT, max_size=8).map(lambda edits: sorted(edits, key=lambda e: e[3]))
"""Edits of one writer: their times grow, as an `Editor` makes them."""

_WRITERS = ("0-0", "0-1", "10-0", "2-0")


def state(merged: MergedEdits) -> dict[Key, list[Any]]:
    rows = np.arange(6, dtype=np.int32)
    found: dict[Key, list[Any]] = {}
    for key in _KEYS:
        column = merged.columns.get(key)
        if column is None:
            found[key] = [None if key.verb == "category" else False] * 6
        elif key.verb == "category":
            found[key] = [column.categories[c] if c >= 0 else None for c in column.at(rows)]
        else:
            found[key] = column.at(rows).tolist()
            assert column.count == sum(found[key])
    return found


def take(merged: MergedEdits, writer: str, edit: Edit) -> None:
    key, rows, value, time_us = edit
    merged.take(key, np.array(rows, np.int32), value, Stamp(time_us, writer))


@settings(deadline=None)
@given(st.lists(_JOURNAL, min_size=2, max_size=4), st.data())
def test_the_order_of_reading_does_not_matter(journals: list[list[Edit]], data: Any) -> None:
    """Read writer by writer, or mixed in any way, edits add up to replaying them by time."""
    everything = [
        (time_us, writer, at, key, rows, value)
        for writer, journal in zip(_WRITERS, journals, strict=False)
        for at, (key, rows, value, time_us) in enumerate(journal)
    ]
    expected: dict[Key, list[Any]] = {
        key: [None if key.verb == "category" else False] * 6 for key in _KEYS
    }
    for *_, key, rows, value in sorted(everything, key=lambda e: e[:3]):
        for row in rows:
            expected[key][row] = value if key.verb == "category" else value == "true"
    mixed = MergedEdits(SampleTable())
    left = {w: list(j) for w, j in zip(_WRITERS, journals, strict=False) if j}
    while left:
        writer = data.draw(st.sampled_from(sorted(left)))
        take(mixed, writer, left[writer].pop(0))
        left = {w: j for w, j in left.items() if j}
    assert state(mixed) == expected
    for order in (1, -1):
        in_turn = MergedEdits(SampleTable())
        for writer, journal in list(zip(_WRITERS, journals, strict=False))[::order]:
            for edit in journal:
                take(in_turn, writer, edit)
        assert state(in_turn) == expected


@FEW
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.lists(st.integers(0, 3), min_size=1, max_size=3), st.booleans()
        ),
        max_size=10,
    ),
    st.lists(st.integers(-3600, 3600), min_size=3, max_size=3),
    st.integers(0, 10),
)
def test_what_was_done_last_is_what_everybody_sees(
    edits: list[tuple[int, list[int], bool]], clocks: list[int], look: int
) -> None:
    """Three processes with clocks of their own edit in turn: all see the last edit of a sample."""
    still = LedgerOptions(sync_interval_s=1e6, flush_interval_s=1e6)
    with folder() as root:
        ledgers = [
            Ledger(root, options=still, now=lambda at=at: 1e9 + at)  # type: ignore[misc]
            for at in clocks
        ]
        for ledger in ledgers:
            ledger.register("train", range(4))
        expected = [False] * 4
        for at, (who, rows, discarded) in enumerate(edits):
            ledgers[who].edit.discard(np.array(rows, np.int32), discarded)
            for row in rows:
                expected[row] = discarded
            if at == look:
                ledgers[who].flush()
        rows = np.arange(4, dtype=np.int32)
        for ledger in ledgers:
            ledger._others.look()
            assert ledger.discarded.of(rows).tolist() == expected
        table = samples_frame(Ledger(root, mode="r")).sort("sample_id")
        assert table["discarded"].to_list() == expected
        for ledger in ledgers:
            ledger.close()
