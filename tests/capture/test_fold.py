"""Folding kernels: numbers in, numbers out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightslab.capture.fold import annotation_numbers, find_owner_axis, group, share


@given(st.lists(st.integers(0, 6), max_size=60))
def test_annotation_numbers(positions: list[int]) -> None:
    """The n-th instance of a batch position, in order of appearance, is number n."""
    seen: dict[int, int] = {}
    expected = []
    for position in positions:
        seen[position] = seen.get(position, 0) + 1
        expected.append(seen[position])
    found = annotation_numbers(np.array(positions, np.int64))
    assert found.dtype == np.int32
    assert found.tolist() == expected


@given(
    st.lists(
        st.tuples(st.floats(-100, 100), st.floats(0, 10).map(lambda w: 0.0 if w < 1 else w)),
        min_size=1,
        max_size=30,
    )
)
def test_shares_have_the_callers_mean(pairs: list[tuple[float, float]]) -> None:
    """The mean of the shares is the weighted mean, however the weights lie."""
    weights = np.array([weight for _, weight in pairs])
    sums = np.array([value * weight for value, weight in pairs])
    total = float(weights.sum())
    values, kept = share(sums, weights, total)
    if total:
        assert values.mean() == pytest.approx(sums.sum() / total, abs=1e-9)
        assert len(values) == np.count_nonzero(weights)
    else:
        assert len(values) == 0
    assert (kept is None) == bool(weights.all())


@pytest.mark.parametrize(
    ("rows", "owners", "shapes", "axis"),
    [
        (6, 6, [], 0),
        (24, 6, [(6, 4, 5)], 0),
        (24, 6, [(4, 6, 5)], 1),
        (24, 6, [(24, 5)], None),
        (24, 6, [(6, 2, 2, 5)], 0),
        (36, 6, [(6, 6)], 0),
        (24, 4, [(24, 5), (4, 6)], 0),
    ],
)
def test_find_owner_axis(
    rows: int, owners: int, shapes: list[tuple[int, ...]], axis: int | None
) -> None:
    """Owners are where the shape before flattening has their number."""
    assert find_owner_axis(rows, owners, shapes) == axis


def test_group_of_both_layouts() -> None:
    """Rows of [B, T] and of [T, B] come together by owner."""
    rows = torch.arange(6)
    assert group(rows, 2, 0).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert group(rows, 2, 1).tolist() == [[0, 2, 4], [1, 3, 5]]
