"""The latest value of each instance: which one stays, and what it takes to keep it."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weightslab.ledger.table.samples import InstanceTable

Call = list[tuple[int, int, float]]

calls = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4), st.floats(allow_nan=False))),
        st.booleans(),
    ),
    max_size=8,
)


def put(table: InstanceTable, call: Call) -> None:
    rows, annotations, values = (
        np.array([triple[at] for triple in call], dtype)
        for at, dtype in enumerate((np.int32, np.int32, np.float64))
    )
    table.put("iou", rows, annotations, values)


@given(calls)
def test_the_newest_value_of_each_instance_stays(calls: list[tuple[Call, bool]]) -> None:
    """Whenever somebody reads in between, keys are sorted and values the last that were saved."""
    table = InstanceTable()
    expected: dict[int, float] = {}
    for call, looked_at in calls:
        put(table, call)
        expected |= {row << 32 | annotation: value for row, annotation, value in call}
        if looked_at:
            keys, values = table.columns()["iou"]
            held = keys.tolist(), values.tolist()
            assert list(zip(*held, strict=True)) == sorted(expected.items())
            put(table, [(row, 1, -1.0) for row in range(3)])
            expected |= {row << 32 | 1: -1.0 for row in range(3)}
            table.columns()
            # What was given out stays as it was.
            assert (keys.tolist(), values.tolist()) == held


def test_a_few_new_values_take_one_copy_of_the_column() -> None:
    """Beside very many instances a few are put in their places; the others are not sorted."""
    table = InstanceTable()
    n = 200_000
    rows = np.arange(n, dtype=np.int32)
    table.put("iou", rows, np.ones(n, np.int32), np.zeros(n))
    table.columns()
    put(table, [(7, 1, 0.5), (n - 1, 1, 0.25)])
    tracemalloc.start()
    _, values = table.columns()["iou"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * values.nbytes
    assert values[[7, n - 1]].tolist() == [0.5, 0.25]
