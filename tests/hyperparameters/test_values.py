"""Which values a setting takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from weightslab.hyperparameters.changes import MISSING
from weightslab.hyperparameters.names import Setting
from weightslab.hyperparameters.values import Refusal, valid


@pytest.mark.parametrize(
    ("setting", "value", "taken"),
    [
        ("lr", 1, 1.0),
        ("lr", 0, 0.0),
        ("lr", np.float32(0.5), 0.5),
        ("weight_decay", 1e-4, 1e-4),
        ("momentum", 0.9, 0.9),
        ("betas", [0.9, 0.999], (0.9, 0.999)),
        ("betas", (0, 0.5), (0.0, 0.5)),
        ("beta2", 0.99, 0.99),
        ("batch_size", 32, 32),
        ("batch_size", np.int64(8), 8),
        ("is_training", False, False),
    ],
)
def test_a_value_that_fits_is_taken(setting: Setting, value: Any, taken: Any) -> None:
    """Numbers of every kind are numbers, and a list of two is two betas."""
    found = valid(setting, value)
    assert found == taken
    assert type(found) is type(taken)


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("lr", [-0.1, float("nan"), float("inf"), "0.1", True, None, [0.1], 10**400, 1j]),
        ("weight_decay", [-1e-9, "no"]),
        ("momentum", [-0.9, float("nan")]),
        ("betas", [0.9, [0.9], [0.9, 1.0], [-0.1, 0.9], "ab", [0.9, "x"], [0.9, 0.9, 0.9], None]),
        ("beta1", [1.0, -0.1, float("nan"), True]),
        ("batch_size", [0, -1, 2.0, "8", True, None]),
        ("is_training", [1, "false", None]),
    ],
)
def test_any_other_value_is_refused_in_words(setting: Setting, values: list[Any]) -> None:
    """The refusal says what was expected and what came."""
    for value in values:
        with pytest.raises(Refusal, match=r"expected .*, got "):
            valid(setting, value)


def test_an_object_without_words_is_refused_by_its_class() -> None:
    """What fails to say what it is must not fail the edit of others."""

    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(Refusal, match="Mute"):
        valid("lr", Mute())


def test_a_key_that_was_removed_is_no_value() -> None:
    """What is not there any more leaves the objects as they are."""
    with pytest.raises(Refusal, match="removed"):
        valid("lr", MISSING)
