"""What `watch_or_edit`, a watched call and a save refuse, and that the message says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import weightslab as wl
from tests.capture.oracles import Numbers
from tests.capture.recorded import array_of, samples
from weightslab.errors import InputError
from weightslab.session import current


def objects() -> list[tuple[str, Any]]:
    """One object for each flag."""
    model = nn.Linear(1, 1)
    return [
        ("model", model),
        ("data", DataLoader(Numbers(4))),
        ("optimizer", torch.optim.SGD(model.parameters(), lr=0.1)),
        ("logger", None),
        ("loss", nn.L1Loss()),
        ("hp", {"lr": 0.1}),
    ]


@pytest.mark.parametrize(("flag", "obj"), objects(), ids=[flag for flag, _ in objects()])
@pytest.mark.parametrize("name", [5, "", "  ", b"x", "\ud800"], ids=repr)
def test_a_name_that_is_no_text_is_refused_for_every_flag(flag: str, obj: Any, name: Any) -> None:
    """obj_name= takes a text that UTF-8 can hold, whatever the flag."""
    with pytest.raises(InputError, match="obj_name="):
        wl.watch_or_edit(obj, flag=flag, obj_name=name)


def test_a_loader_name_that_no_file_can_hold_is_refused() -> None:
    """loader_name= takes a text that UTF-8 can hold, and any other name option does."""
    with pytest.raises(InputError, match="loader_name="):
        wl.watch_or_edit(DataLoader(Numbers(4)), loader_name="\ud800")
    with pytest.raises(InputError, match="signal_name="):
        wl.watch_or_edit(nn.L1Loss(), signal_name=5)


@pytest.mark.parametrize("option", ["append_ids", "is_training", "ids", "drop_last", "shuffle"])
@pytest.mark.parametrize("value", ["no", "false", 1, 0.0])
def test_a_switch_of_a_loader_takes_true_or_false(option: str, value: Any) -> None:
    """A text such as "no" is refused, naming the option."""
    with pytest.raises(InputError, match=f"{option} is True"):
        wl.watch_or_edit(Numbers(4), flag="data", **{option: value})


@pytest.mark.parametrize("option", ["per_sample", "per_instance", "log"])
def test_a_switch_of_a_signal_takes_true_or_false(option: str) -> None:
    """The switches of a watched loss take no text, but those of numpy."""
    with pytest.raises(InputError, match=f"{option} is True or False"):
        wl.watch_or_edit(nn.L1Loss(), flag="loss", **{option: "false"})
    wl.watch_or_edit(nn.L1Loss(), flag="loss", **{option: np.True_})


@pytest.mark.parametrize(
    "obj",
    ["train", b"train", {"train": Numbers(4)}, Numbers],
    ids=["str", "bytes", "dict", "class"],
)
def test_what_has_items_and_is_no_dataset_is_refused(obj: Any) -> None:
    """Text, bytes, mappings and classes are no datasets."""
    with pytest.raises(InputError, match="a DataLoader or a dataset"):
        wl.watch_or_edit(obj, flag="data")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", "3"), ("batch_size", 0), ("batch_size", True), ("num_workers", -1),
        ("num_workers", "2"), ("collate_fn", 3),
    ],
)  # fmt: skip
def test_a_dataset_option_that_makes_no_loader_is_named(option: str, value: Any) -> None:
    """An option that DataLoader cannot use is an error that names it."""
    with pytest.raises(InputError, match=f"{option}= takes"):
        wl.watch_or_edit(Numbers(4), flag="data", **{option: value})


def test_options_that_do_not_go_together_are_shown() -> None:
    """What DataLoader itself refuses comes with the options that it was given."""
    with pytest.raises(InputError, match="batch_size=None"):
        wl.watch_or_edit(Numbers(4), flag="data", batch_size=None, drop_last=True)


@pytest.mark.parametrize("field", ["targets", "preds", "preds_raw"])
def test_arrays_that_are_no_numbers_are_named(field: str) -> None:
    """Targets and predictions that are no numbers: the message names them, and nothing is kept."""
    for wrong in ([None], ["cat"], [object()]):
        with pytest.raises(InputError, match=f"{field} takes numbers.*nothing of this call"):
            wl.save_signals({"s": [1.0]}, ["a"], **{field: wrong})  # type: ignore[arg-type]
    assert samples("s") == []


def test_positions_that_are_no_numbers_are_named() -> None:
    """A batch_idx that is no array of numbers: the message names it, and nothing is written."""
    with pytest.raises(InputError, match=r"batch_idx takes.*nothing of this call"):
        wl.save_instance_signals({"s": [1.0]}, ["a"], None)  # type: ignore[arg-type]


def test_a_generator_is_refused() -> None:
    """Ids or targets that do not say how many they are: give a list."""

    def letters() -> Iterator[str]:
        yield from "ab"

    with pytest.raises(InputError, match=r"batch_ids is a builtins\.generator.*give a list"):
        wl.save_signals({"s": [1.0, 2.0]}, letters())
    with pytest.raises(InputError, match=r"targets is a builtins\.generator.*give a list"):
        wl.save_signals({"s": [1.0, 2.0]}, ["a", "b"], targets=iter(letters()))


def box_loss() -> Any:
    """A loss with one value for each box."""
    return wl.watch_or_edit(
        nn.L1Loss(reduction="none"), flag="loss", signal_name="box", per_instance=True
    )


def test_targets_of_instances_are_kept() -> None:
    """`targets=` and `preds=` of a per_instance call are kept by instance."""
    boxes = torch.arange(12.0).reshape(3, 4)
    position = torch.tensor([1, 0, 1])
    box_loss()(boxes, boxes, batch_ids=["a", "b"], batch_idx=position, targets=boxes, preds=-boxes)
    kept = current().ledger._store.arrays.instances
    for field, expected in (("targets", boxes), ("preds", -boxes)):
        ids = current().ledger.ids
        for name, annotation, row in (("b", 1, 0), ("a", 1, 1), ("b", 2, 2)):
            found = kept[field].get(((ids.find(name) or 0) << 32) | annotation)
            assert np.array_equal(found, expected[row].numpy())


def test_targets_of_instances_have_their_number() -> None:
    """`targets=` that are not one for each instance are refused, and nothing is written."""
    boxes = torch.zeros(3, 4)
    with pytest.raises(InputError, match="targets= has 2 entries but there are 3 instances"):
        box_loss()(
            boxes, boxes, batch_ids=["a", "b"], batch_idx=torch.tensor([1, 0, 1]),
            targets=boxes[:2],
        )  # fmt: skip
    assert array_of("targets", "a") is None
