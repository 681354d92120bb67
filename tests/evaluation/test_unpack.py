"""The unpacking of the default evaluation: a table of places and names."""

from __future__ import annotations

from collections import UserDict, namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightslab.errors import InputError
from weightslab.evaluation.unpack import IDS, INPUTS, TARGETS, count_samples, rows_of, unpack

KEYS = st.sampled_from((*INPUTS, *TARGETS, *IDS, "mask_2", "Image", "labels", 0))


class Part:
    """Something that is found by what it is, and not by what it equals."""

    def __eq__(self, other: object) -> bool:
        raise AssertionError("the unpacking compared what it found")

    __hash__ = None  # type: ignore[assignment]


@given(st.integers(2, 6), st.booleans())
def test_a_sequence_is_taken_by_place(length: int, is_list: bool) -> None:
    """[0] is the inputs, [1] the targets, [2] the ids: the very objects, whatever they are."""
    parts: Any = [Part() for _ in range(length)]
    found = unpack(parts if is_list else tuple(parts))
    assert found.inputs is parts[0] and found.targets is parts[1]
    assert found.ids is (parts[2] if length > 2 else None)


@given(st.lists(KEYS, unique=True, max_size=15), st.booleans())
def test_a_dict_is_taken_by_name(keys: list[Any], is_user_dict: bool) -> None:
    """The first name of each row that is there wins, in whatever order the dict has them."""
    batch: Any = {key: Part() for key in keys}
    inputs, targets, ids = (
        next((name for name in row if name in batch), None) for row in (INPUTS, TARGETS, IDS)
    )
    if inputs is None or targets is None:
        with pytest.raises(InputError):
            unpack(batch)
        return
    found = unpack(UserDict(batch) if is_user_dict else batch)
    assert found.inputs is batch[inputs] and found.targets is batch[targets]
    assert found.ids is (None if ids is None else batch[ids])


def test_a_named_tuple_is_a_tuple() -> None:
    """Places count, not field names."""
    batch = namedtuple("Batch", "label image")(1, 2)  # noqa: PYI024
    assert unpack(batch) == (1, 2, None)


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ((1,), "this one has 1 item"),
        ([], "this one has 0 items"),
        ({"input_ids": 1, "labels": 2}, "the inputs .* image, input, x or data, .*'input_ids'"),
        ({"image": 1, "boxes": 2}, "the targets .* label, target, y or mask, .*'boxes'"),
        ({}, "has nothing"),
        (torch.zeros(3), "torch.Tensor"),
        (None, "NoneType"),
        ("ab", "str"),
    ],
)
def test_what_cannot_be_unpacked_says_the_way_out(batch: Any, says: str) -> None:
    """The error says what was expected, what came, and that @wl.eval_fn says how."""
    with pytest.raises(InputError, match=says) as caught:
        unpack(batch)
    assert "@wl.eval_fn" in str(caught.value)


@given(st.integers(1, 9), st.sampled_from(["tensor", "array", "ids", "dict", "list", "two"]))
def test_samples_are_counted_in_any_kind_of_batch(count: int, kind: str) -> None:
    """B is told by ids, targets or inputs, whichever says it."""
    x, y = torch.zeros(count, 3, 2), torch.zeros(count)
    batch: Any = {
        "tensor": x,
        "array": [np.zeros((count, 2)), np.zeros(count)],
        "ids": (torch.zeros(3, 2), 0.5, list("abcdefghi"[:count])),
        "dict": {"x": x, "y": y},
        "list": ([torch.zeros(3, 4, 4)] * count, [{"boxes": torch.zeros(5, 4)}] * count),
        "two": ((x, x), y),
    }[kind]
    assert count_samples(batch) == count


def test_what_says_nothing_counts_as_one() -> None:
    """A batch without any length is one sample, so that progress goes on."""
    assert count_samples(object()) == count_samples(torch.tensor(1)) == 1
    assert rows_of(torch.tensor(1)) is None and rows_of("text") is None
