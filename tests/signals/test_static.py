"""What of an item is the sample's input."""

from __future__ import annotations

from collections import UserDict
from typing import Any, NamedTuple

import pytest

from weightslab.signals.static import input_of


class Named(NamedTuple):
    picture: str
    label: int


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (("input", 3), "input"),
        (["input", 3, "id"], "input"),
        (("input",), "input"),
        (Named("input", 3), "input"),
        ({"label": 3, "image": "input"}, "input"),
        ({"data": "other", "x": "input"}, "input"),
        (UserDict({"input": "input"}), "input"),
        ({"tokens": 3}, {"tokens": 3}),
        ("input", "input"),
        ((), ()),
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_input_is_the_first_of_a_tuple_or_a_named_field(item: Any, expected: Any) -> None:
    """First of a tuple or list; image, input, x or data of a mapping; else the item itself."""
    assert input_of(item) == expected
