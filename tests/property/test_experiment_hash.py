"""The hyperparameters' part of the experiment hash: what counts, and what does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from weightslab.checkpoints.identity import hyperparameter_digits
from weightslab.hyperparameters.changes import differences
from weightslab.hyperparameters.handle import raw_tree

KEYS = st.text("abcdefg_", min_size=1, max_size=4)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-99, 99), st.floats(allow_nan=False), KEYS,
    st.lists(st.integers(0, 9), max_size=3),
)  # fmt: skip
TREES = st.dictionaries(
    KEYS, st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner, max_size=3)), max_size=5
)


def digits(values: Any) -> str:
    """The digits of a dict as of the handle that the session makes of it."""
    found = hyperparameter_digits(raw_tree(OmegaConf.create(values)))
    assert found == hyperparameter_digits(values)
    return found


def turned(tree: Any) -> Any:
    """The same with its keys the other way round, in other containers."""
    if isinstance(tree, dict):
        return OrderedDict((key, turned(tree[key])) for key in reversed(tree))
    return tuple(map(turned, tree)) if isinstance(tree, list) else tree


@given(TREES)
def test_the_order_of_keys_and_the_types_of_containers_do_not_count(tree: dict[str, Any]) -> None:
    """A dict, an OrderedDict and a DictConfig of one content have one hash, in any order."""
    assert hyperparameter_digits(turned(tree)) == digits(tree)


@given(TREES, st.booleans(), KEYS)
def test_the_switch_and_the_folder_do_not_count(
    tree: dict[str, Any], is_training: bool, folder: str
) -> None:
    """`is_training` says whether and `root_log_dir` where, not what."""
    beside = {"is_training": is_training, **tree, "root_log_dir": folder}
    assert digits(beside) == digits(tree)


@given(TREES, TREES)
def test_hashes_differ_where_the_content_does(one: dict[str, Any], other: dict[str, Any]) -> None:
    """What is told as a change is another hash, and what is none is not."""
    assert (digits(one) != digits(other)) == bool(differences(one, other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.float64(1e-4), 0.0001),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        ((1, "a"), [1, "a"]),
    ],
)
def test_one_number_has_one_name(one: Any, other: Any) -> None:
    """Whoever holds a number, numpy or Python, the content is one; 1 and 1.0 stay two."""
    assert hyperparameter_digits({"x": one}) == hyperparameter_digits({"x": other})
    assert hyperparameter_digits({"x": 1}) != hyperparameter_digits({"x": 1.0})


SETS = """
from weightslab.checkpoints.identity import hyperparameter_digits
print(hyperparameter_digits({"s": set("abcdefgh"), "deep": [{"f": frozenset(["xy", "z", "w"])}]}))
"""


def test_a_set_has_one_name_in_every_process() -> None:
    """Text in a set stands in another order in each process; the hash does not follow it."""
    names = {
        subprocess.run(
            [sys.executable, "-c", SETS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "0123"
    }
    assert len(names) == 1
