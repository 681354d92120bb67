"""Trees of plain containers: dotted keys, and one tree over another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, reject
from omegaconf import OmegaConf
from omegaconf.errors import ConfigTypeError

from tests.hyperparameters.test_mould import TREES
from weightslab.errors import InputError, UnknownOptionError
from weightslab.hyperparameters.changes import same
from weightslab.hyperparameters.handle import raw_tree
from weightslab.hyperparameters.paths import laid_over, tree_of

KNOWN = {"optimizer": {"lr": 1, 2: {"x": 3}}, "a.b": 4, "empty": {}}


@given(TREES, TREES)
def test_trees_are_laid_over_as_omegaconf_merges(under: Any, over: Any) -> None:
    """The plain merge says what the handle will hold, wherever OmegaConf merges at all."""
    try:
        merged = OmegaConf.merge(OmegaConf.create(under), OmegaConf.create(over))
    except ConfigTypeError:  # a list over a dict, or the reverse
        reject()
    assert same(laid_over(under, over), raw_tree(merged))


def test_a_mandatory_value_covers_nothing() -> None:
    """`???` in a file means: somebody else says it; a default does."""
    assert laid_over({"a": 1}, {"a": "???", "b": "???"}) == {"a": 1, "b": "???"}


@pytest.mark.parametrize(
    ("values", "tree"),
    [
        ({"optimizer.lr": 5}, {"optimizer": {"lr": 5}}),
        ({"optimizer.2.x": 5}, {"optimizer": {2: {"x": 5}}}),
        ({"[a.b]": 5}, {"a.b": 5}),
        ({"optimizer": {"lr": 5}}, {"optimizer": {"lr": 5}}),
        ({"optimizer": 5}, {"optimizer": 5}),
        ({"optimizer.lr": {"new": 1}}, {"optimizer": {"lr": {"new": 1}}}),
        ({"empty": {"new": 1}}, {"empty": {"new": 1}}),
        ({"optimizer.lr": 5, "optimizer.2.x": 6}, {"optimizer": {"lr": 5, 2: {"x": 6}}}),
    ],
)
def test_values_by_dotted_key(values: dict[str, Any], tree: dict[Any, Any]) -> None:
    """Keys become those of the handle, whole numbers and dots among them."""
    assert tree_of(KNOWN, values) == tree


@pytest.mark.parametrize("values", [{"optimizer.lrr": 1}, {"optimizer": {"lrr": 1}}])
def test_an_unknown_key_names_the_nearest(values: dict[str, Any]) -> None:
    """A typo is no new hyperparameter."""
    with pytest.raises(UnknownOptionError, match=r"did you mean 'optimizer\.lr'"):
        tree_of(KNOWN, values)


def test_keys_that_contradict_each_other() -> None:
    """A value for a part and for a key in it cannot both be."""
    with pytest.raises(InputError, match=r"optimizer\.lr"):
        tree_of(KNOWN, {"optimizer": 5, "optimizer.lr": 1})
