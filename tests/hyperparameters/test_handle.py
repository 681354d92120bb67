"""The handle: how it is made, read as plain containers, and copied."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ValidationError

from tests.hyperparameters.support import Adam, Net
from weightslab.errors import InputError
from weightslab.hyperparameters.handle import (
    copied,
    held_by,
    hyperparameters_handle,
    raw_tree,
    resolved_tree,
)
from weightslab.hyperparameters.paths import laid_over


def test_a_dict_is_copied() -> None:
    """The caller's own dict stays as it is."""
    mine = {"optimizer": {"lr": 0.1}}
    handle = hyperparameters_handle(mine)
    handle.optimizer.lr = 1
    assert mine == {"optimizer": {"lr": 0.1}}


def test_typed_defaults_keep_their_types() -> None:
    """A structured config as defaults refuses what does not fit it, at the start as later."""
    handle = hyperparameters_handle({"adam": {"lr": 1}}, defaults=OmegaConf.structured(Net))
    assert handle.adam.lr == 1.0
    with pytest.raises(ValidationError):
        handle.adam.lr = "fast"
    with pytest.raises(InputError, match="cannot be kept"):
        hyperparameters_handle({"layers": "two"}, defaults=OmegaConf.structured(Net))


def test_defaults_with_links_and_mandatory_values() -> None:
    """Links and `???` among the defaults are kept as they are written."""
    defaults = OmegaConf.create({"lr": 0.1, "twice": "${lr}", "data": "???"})
    handle = hyperparameters_handle({"lr": 0.5}, defaults=defaults)
    assert handle.twice == 0.5
    assert OmegaConf.is_missing(handle, "data")


@pytest.mark.parametrize(
    "write",
    [
        lambda hp: hp.update(lr=1),
        lambda hp: hp.update(new=None),
        lambda hp: hp.adam.update(lr=True),
        lambda hp: hp.betas.append(1),
        lambda hp: hp.update(empty=[]),
        lambda hp: hp.pop("lr"),
        lambda hp: hp.net.adam.update(lr=0.3),
    ],
)
def test_a_look_sees_that_somebody_wrote(write: Callable[[Any], None]) -> None:
    """Whatever is written, other objects are held; and nothing else changes them."""
    handle = OmegaConf.create(
        {"lr": 0.1, "adam": {"lr": 1}, "betas": [0.9], "empty": {}, "link": "${lr}", "no": "???"}
    )
    handle.net = OmegaConf.structured(Net)
    before = held_by(handle)
    assert list(map(id, before)) == list(map(id, held_by(handle)))
    write(handle)
    assert list(map(id, before)) != list(map(id, held_by(handle)))


@pytest.mark.parametrize("empty", [DictConfig(None), DictConfig("???"), OmegaConf.create({})])
def test_a_handle_without_content(empty: DictConfig) -> None:
    """A config that is None or `???` holds nothing."""
    assert raw_tree(empty) == {}


def test_links_are_followed_where_they_lead_somewhere() -> None:
    """Each that can be followed is; the others stay, with why, and `???` stays."""
    handle = OmegaConf.create(
        {
            "lr": 0.1, "a": {"lr": "${lr}", "bad": "${nowhere}", "data": "???"},
            "b": "${a.lr}", "all": "${a}", "fine": ["${lr}", {"x": "${lr}"}],
            "one": "${two}", "two": "${one}",
        }
    )  # fmt: skip
    tree, failed = resolved_tree(handle)
    assert tree["a"] == {"lr": 0.1, "bad": "${nowhere}", "data": "???"}
    assert tree["b"] == 0.1
    assert tree["fine"] == [0.1, {"x": 0.1}]
    assert failed.keys() == {"a.bad", "all", "one", "two"}
    assert "nowhere" in failed["a.bad"]


def test_a_copy_has_types_and_flags_and_is_another() -> None:
    """Edits of a copy do not reach the config; its types and its flags hold in it."""
    handle = OmegaConf.structured(Net)
    OmegaConf.set_readonly(handle.adam, True)
    twin = copied(handle)
    twin.layers = 3
    twin.sizes.a = 1
    assert handle == OmegaConf.structured(Net)
    assert OmegaConf.get_type(twin.adam) is Adam
    assert OmegaConf.is_readonly(twin.adam)
    with pytest.raises(ValidationError):
        twin.sizes.a = "wide"


def test_a_copy_follows_links_within_itself() -> None:
    """Links of a copy see its own values, and those of the config that it is a part of."""
    whole = OmegaConf.create({"seed": 7, "hp": {"lr": 1, "b": "${.lr}", "s": "${seed}"}})
    twin = copied(whole.hp)
    twin.lr = 2
    assert (twin.b, twin.s, whole.hp.b) == (2, 7, 1)


def test_a_copy_shares_the_objects() -> None:
    """An object among the values is not copied: it may be large, or know no copy."""
    lock = threading.Lock()
    handle = hyperparameters_handle({"a": {"lock": lock}})
    assert copied(handle).a.lock is lock


def test_an_array_is_a_value() -> None:
    """What compares element by element is read, copied and laid over like anything else."""
    array = np.zeros(2)
    tree, failed = resolved_tree(hyperparameters_handle({"a": array}))
    assert tree["a"] is array
    assert failed == {}
    assert laid_over({"a": 1}, {"a": array})["a"] is array


def test_copying_disturbs_no_reader() -> None:
    """While one thread copies, another follows links; OmegaConf's own copy would cut them."""
    handle = OmegaConf.create({"lr": 1, "a": {str(n): {"x": "${lr}"} for n in range(20)}})
    stop, errors = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                assert handle.a["7"].x == 1
            except Exception as error:  # noqa: BLE001
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(200):
        copied(handle)
    stop.set()
    reader.join()
    assert errors == []


@pytest.mark.parametrize(
    ("obj", "said"), [(3, "got int"), ([1], "got list"), (Adam, "got the class Adam.*structured")]
)
def test_what_is_no_set_of_hyperparameters(obj: Any, said: str) -> None:
    """The error names what is expected and what came."""
    with pytest.raises(InputError, match=f"path of a YAML file, {said}"):
        hyperparameters_handle(obj)
