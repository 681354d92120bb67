"""Edits in place: what somebody holds stays live, and a refused edit changes nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tests.hyperparameters.support import Net
from weightslab.errors import InputError
from weightslab.hyperparameters.changes import same
from weightslab.hyperparameters.handle import raw_tree
from weightslab.hyperparameters.mould import Edit, mould, tried

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.sampled_from("abc")
TREES = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(
        SCALARS,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=3,
)


@settings(deadline=None)
@given(TREES, TREES)
def test_a_handle_becomes_what_its_source_says(before: Any, after: Any) -> None:
    """From any state to any other: the handle then holds exactly the second."""
    handle = OmegaConf.create(copy.deepcopy(before))
    mould(handle, Edit(before, after, "file"))
    assert same(raw_tree(handle), after)


@settings(deadline=None)
@given(TREES, TREES, st.integers())
def test_what_the_source_did_not_change_stays(before: Any, after: Any, mine: int) -> None:
    """A key that code has set, and that the source does not speak of, survives."""
    handle = OmegaConf.create(copy.deepcopy(before))
    handle.mine = mine
    mould(handle, Edit(before, after, "file"))
    assert same(raw_tree(handle), {**after, "mine": mine})


def test_children_that_somebody_holds_stay_live() -> None:
    """A part and a list of the config that a script holds show the edit."""
    handle = OmegaConf.create({"opt": {"lr": 1, "betas": [1, {"x": 1}, 3]}})
    opt, betas = handle.opt, handle.opt.betas
    inner = betas[1]
    wanted = {"opt": {"lr": 2, "wd": 0, "betas": [0, {"x": 1}]}}
    mould(handle, Edit(raw_tree(handle), wanted, "file"))
    assert opt == {"lr": 2, "wd": 0, "betas": [0, {"x": 1}]}
    assert betas == [0, {"x": 1}]
    assert betas[1] is inner


def test_a_code_edit_of_the_same_key_gives_way_only_to_a_new_value() -> None:
    """The source wins where it says something new, not where it says what it said before."""
    handle = OmegaConf.create({"lr": 1, "wd": 1})
    handle.lr = handle.wd = 9
    mould(handle, Edit({"lr": 1, "wd": 1}, {"lr": 2, "wd": 1}, "file"))
    assert handle == {"lr": 2, "wd": 9}


def test_a_link_that_is_overwritten_is_named() -> None:
    """A leaf that was a link is named; one that the source itself unlinks is not."""
    handle = OmegaConf.create({"lr": 1, "a": {"lr": "${lr}"}, "b": "${lr}"})
    assert mould(handle, Edit({}, {"a": {"lr": 2}}, "user")) == ["a.lr"]
    assert mould(handle, Edit({"b": "${lr}"}, {"b": 3}, "file")) == []
    assert handle == {"lr": 1, "a": {"lr": 2}, "b": 3}


def test_an_edit_goes_through_a_link_to_a_part() -> None:
    """As `hp.opt.lr = 2` does it where `opt` is a link: what it leads to is edited."""
    handle = OmegaConf.create({"base": {"lr": 1, "wd": 3}, "opt": "${base}"})
    mould(handle, Edit({}, {"opt": {"lr": 2}}, "user"))
    assert raw_tree(handle) == {"base": {"lr": 2, "wd": 3}, "opt": "${base}"}


def test_links_and_mandatory_values_are_put_in() -> None:
    """A value may become a link or `???`, and a `???` a value."""
    handle = OmegaConf.create({"lr": 1, "x": "???", "y": 2, "z": 3})
    mould(handle, Edit(raw_tree(handle), {"lr": 1, "x": 5, "y": "${lr}", "z": "???"}, "file"))
    assert (handle.x, handle.y) == (5, 1)
    assert OmegaConf.is_missing(handle, "z")


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({"adam": {"lr": 2, "betas": ["wide"]}}, "adam.betas"),
        ({"adam": {"lr": 2}, "layers": "two"}, "layers: Value 'two'"),
        ({"layers": 3, "more": 1}, "more"),
        ({"layers": 3, "sizes": {"a": "wide"}}, "sizes.a"),
    ],
)
def test_types_are_kept(after: dict[str, Any], said: str) -> None:
    """What a structured config does not allow is refused with its key, all of it."""
    handle = OmegaConf.structured(Net)
    with pytest.raises(InputError, match=said):
        tried(handle, [Edit({}, after, "file")])
    assert handle == OmegaConf.structured(Net)


def test_typed_values_are_converted() -> None:
    """A whole number for a float is one, as OmegaConf does it."""
    twin = tried(OmegaConf.structured(Net), [Edit({}, {"adam": {"lr": 2}}, "file")])
    assert repr(twin.adam.lr) == "2.0"


@pytest.mark.parametrize(
    "after", [{"a": {"b": 1}, "new": 1}, {"a": {"b": 1, "new": 1}}, {}, {"a": {}}]
)
def test_a_struct_gets_and_loses_no_keys(after: dict[str, Any]) -> None:
    """In struct mode no key comes or goes."""
    handle = OmegaConf.create({"a": {"b": 0}})
    OmegaConf.set_struct(handle, True)
    with pytest.raises(InputError, match=r"struct|deletion"):
        tried(handle, [Edit({"a": {"b": 0}}, after, "file")])
    assert handle == {"a": {"b": 0}}


def test_a_struct_changes_its_values() -> None:
    """In struct mode the keys that are there may change, of type and kind too."""
    handle = OmegaConf.create({"a": {"b": 0}, "c": 1})
    OmegaConf.set_struct(handle, True)
    mould(handle, Edit(raw_tree(handle), {"a": {"b": {"x": 1}}, "c": [1]}, "file"))
    assert handle == {"a": {"b": {"x": 1}}, "c": [1]}


def test_a_read_only_part_stays() -> None:
    """An edit that touches a read-only part is refused, with what it says elsewhere too."""
    handle = OmegaConf.create({"a": 1, "fixed": {"b": 1, "c": [1]}})
    OmegaConf.set_readonly(handle.fixed, True)
    for inner in ({"b": 2, "c": [1]}, {"b": 1, "c": [2]}, {"b": 1, "c": []}, {"b": 1}):
        with pytest.raises(InputError, match="read-only"):
            tried(handle, [Edit(raw_tree(handle), {"a": 2, "fixed": inner}, "file")])
    assert handle == {"a": 1, "fixed": {"b": 1, "c": [1]}}
    assert tried(handle, [Edit({}, {"a": 2}, "file")]).a == 2


def test_links_must_lead_somewhere_after_an_edit() -> None:
    """What could be read before must be readable after; what could not be is no reason."""
    handle = OmegaConf.create({"lr": 1, "b": "${lr}", "odd": "${nowhere}"})
    with pytest.raises(InputError, match="b could not be read any more"):
        tried(handle, [Edit(raw_tree(handle), {"b": "${lr}", "odd": "${nowhere}"}, "file")])
    assert tried(handle, [Edit({}, {"lr": 2}, "file")]).b == 2
