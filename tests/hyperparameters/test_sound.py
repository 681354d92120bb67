"""Edits that would end a training whose code reads the handle are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.hyperparameters.support import settled
from weightslab.errors import InputError, WeightsLabWarning
from weightslab.hyperparameters.sound import check_sound
from weightslab.hyperparameters.store import of_file
from weightslab.notices import Notices

BEFORE = {"optimizer": {"lr": 0.1, "betas": [0.9, 0.99]}, "batch_size": "auto", "name": 3, "no": {}}


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({"optimizer": "lr= 0.1"}, "optimizer: expected `key: value` lines"),
        ({"optimizer": None}, "optimizer: expected `key: value` lines"),
        ({"optimizer": [{"lr": 0.1}]}, "optimizer: expected `key: value` lines"),
        ({"optimizer": {"lr": "fast"}}, "optimizer.lr: expected a finite number"),
        ({"optimizer": {"lr": "0,1"}}, "optimizer.lr: expected a finite number"),
        ({"optimizer": {"lr": {"start": 1}}}, "optimizer.lr: expected a finite number"),
        ({"optimizer": {"betas": [0.9]}}, "optimizer.betas: expected two numbers"),
    ],
)
def test_what_code_could_not_read(after: Any, said: str) -> None:
    """A section stays one, and a number that is applied stays a number."""
    with pytest.raises(InputError, match=said):
        check_sound(BEFORE, after)


@pytest.mark.parametrize(
    "after", [{"batch_size": 4}, {"batch_size": None}, {"name": "x"}, {"no": 1}, {"new": "x"}, {}]
)
def test_what_may_be_anything(after: Any) -> None:
    """What is no setting, or held no usable value, takes what comes."""
    check_sound(BEFORE, after)


@pytest.mark.parametrize("slip", ["optimizer: lr= 0.2", "optimizer:\n  lr: fast", "optimizer:"])
def test_a_slip_in_the_file_leaves_the_training_what_it_reads(tmp_path: Path, slip: str) -> None:
    """The version is refused and said; the handle, and so the hash, stay as they are."""
    path = tmp_path / "c.yaml"
    path.write_text("optimizer:\n  lr: 0.1\n")
    found = of_file(path, defaults=None, poll_interval_s=60, notices=Notices())
    path.write_text(slip)
    with pytest.warns(WeightsLabWarning, match="stay as they are.*optimizer"):
        found.look(settled)
    assert found.take() == {}
    assert found.handle.optimizer.lr * 2 == 0.2
    assert found.describe()["file"] == "invalid"


def test_a_key_that_goes_is_said_and_still_read(tmp_path: Path) -> None:
    """`lrr:` for `lr:` ends no training; the key is an edit again once it is back."""
    path = tmp_path / "c.yaml"
    path.write_text("optimizer:\n  lr: 0.1\n")
    found = of_file(path, defaults=None, poll_interval_s=60, notices=Notices())
    path.write_text("optimizer:\n  lrr: 0.2\n")
    with pytest.warns(WeightsLabWarning, match=r"optimizer\.lr is not in .* keeps its last value"):
        found.look(settled)
    found.take()
    assert found.handle.optimizer == {"lr": 0.1, "lrr": 0.2}
    path.write_text("optimizer:\n  lr: 0.3\n")
    with pytest.warns(WeightsLabWarning, match=r"optimizer\.lrr is not in"):
        found.look(settled)
    assert list(found.take()) == ["optimizer.lr"]
    assert found.handle.optimizer.lr == 0.3
