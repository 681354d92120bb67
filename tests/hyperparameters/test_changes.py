"""What differs between two states of hyperparameters."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightslab.hyperparameters.changes import MISSING, Change, differences, dotted, same

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
)  # fmt: skip
KEYS = st.text(max_size=3) | st.integers(0, 3)
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def _flat(tree: dict[Any, Any], above: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    flat: dict[tuple[Any, ...], Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, (*above, key))
        else:
            flat[*above, key] = value
    return flat


@given(TREES)
def test_a_copy_differs_in_nothing(tree: dict[Any, Any]) -> None:
    """NaN, -0.0 and nested lists among them: what is equal is no change."""
    assert differences(tree, copy.deepcopy(tree)) == {}


@given(TREES, TREES)
def test_the_changes_lead_from_one_state_to_the_other(
    before: dict[Any, Any], after: dict[Any, Any]
) -> None:
    """Every leaf of the new state is an unchanged old one or stands in a change."""
    changes = differences(before, after)
    old, new = _flat(before), _flat(after)
    for path in old.keys() | new.keys():
        was, now = old.get(path, MISSING), new.get(path, MISSING)
        assert same(was, now) or dotted(path) in changes


@given(TREES, TREES)
def test_the_way_back_is_the_reverse(before: dict[Any, Any], after: dict[Any, Any]) -> None:
    """The same keys change on the way back, whether a path is clear or not."""
    there, back = differences(before, after), differences(after, before)
    assert there.keys() == back.keys()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"lr": 1}, {"lr": 2}, {"lr": Change(1, 2)}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": None}}, {"a.c": Change(MISSING, None)}),
        ({"a": {"b": 1}}, {}, {"a.b": Change(1, MISSING)}),
        ({"a": {"b": 1}}, {"a": 2}, {"a.b": Change(1, MISSING), "a": Change(MISSING, 2)}),
        ({"a": {}}, {"a": {"b": 1}}, {"a": Change({}, MISSING), "a.b": Change(MISSING, 1)}),
        ({"betas": [0.9, 0.99]}, {"betas": [0.9]}, {"betas": Change([0.9, 0.99], [0.9])}),
        ({"a": {"b.c": 1}}, {"a": {"b.c": 2}}, {"a[b.c]": Change(1, 2)}),
        ({"x": 1}, {"x": True}, {"x": Change(1, True)}),
        ({"x": 1}, {"x": 1.0}, {"x": Change(1, 1.0)}),
        ({"x": "???"}, {"x": 1}, {"x": Change("???", 1)}),
    ],
)
def test_what_a_change_is(
    before: dict[str, Any], after: dict[str, Any], expected: dict[str, Change]
) -> None:
    """By dotted key; lists and empty dicts are values; types count."""
    assert differences(before, after) == expected


def test_objects_are_known_by_themselves() -> None:
    """An array, whose comparison has no truth, is unchanged while it is the same object."""
    array = np.zeros(3)
    assert differences({"x": array}, {"x": array}) == {}
    assert list(differences({"x": array}, {"x": np.zeros(3)})) == ["x"]
    assert same(math.nan, float("nan"))


def test_missing_is_one_thing() -> None:
    """A copied or pickled change still says MISSING."""
    assert copy.deepcopy(MISSING) is MISSING
    assert pickle.loads(pickle.dumps(Change(MISSING, 1))).before is MISSING
