"""Arrays through the public verb: whose they are, of which writer, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import weightslab as wl
from tests.property.support import at_every_age
from weightslab.errors import InputError, UnknownOptionError
from weightslab.ledger import Ledger, LedgerOptions

MASKS = np.random.default_rng(0).integers(0, 255, (2, 80, 80), np.uint8)


def listed(**query: Any) -> dict[tuple[str, int], Any]:
    """The targets as lists."""
    return {key: value.tolist() for key, value in wl.arrays("targets", **query).items()}


def test_arrays_come_back_at_every_age(tmp_path: Path) -> None:
    """Small and large ones, of samples and of instances: living, flushed, closed, reopened."""

    def fill() -> None:
        wl.save_signals(
            {}, ["a", "b"], targets=MASKS, preds=torch.tensor([3, 4]), preds_raw=[[1.5], [2, 3]]
        )
        wl.save_instance_signals({"iou": [0.1, 0.2]}, ["a", "b"], [1, 1], targets=MASKS)

    def look() -> None:
        targets = wl.arrays("targets")
        assert set(targets) == {("a", 0), ("b", 0), ("b", 1), ("b", 2)}
        for key, mask in (
            (("a", 0), MASKS[0]), (("b", 0), MASKS[1]), (("b", 1), MASKS[0]), (("b", 2), MASKS[1])
        ):  # fmt: skip
            assert targets[key].dtype == np.uint8
            assert np.array_equal(targets[key], mask)
        preds = wl.arrays("preds", sample_id="b")
        assert [(k, v.shape, v.dtype, v.item()) for k, v in preds.items()] == [
            (("b", 0), (), np.int64, 4)
        ]
        raw = wl.arrays("preds_raw")
        assert [(v.dtype, v.tolist()) for v in raw.values()] == [
            (np.float64, [1.5]),
            (np.int64, [2, 3]),
        ]

    at_every_age(tmp_path, fill, look)


def test_arrays_are_chosen_by_sample_and_annotation() -> None:
    """One id or several, one number or several; ids in any spelling, unknown ones have none."""
    wl.save_signals({}, [1, 2], targets=np.array([10, 20]))
    wl.save_instance_signals({"s": [0.0, 0.0]}, [1], [0, 0], targets=np.array([11, 12]))
    everything = {("1", 0): 10, ("1", 1): 11, ("1", 2): 12, ("2", 0): 20}
    assert listed() == everything
    assert listed(sample_id=torch.tensor([2, 1, 2])) == everything
    assert listed(sample_id="2") == {("2", 0): 20}
    assert listed(annotation_id=0) == {("1", 0): 10, ("2", 0): 20}
    assert listed(sample_id=1, annotation_id=[2, 0]) == {("1", 0): 10, ("1", 2): 12}
    assert listed(sample_id="nobody") == listed(sample_id=[]) == listed(annotation_id=9) == {}
    assert wl.arrays("preds") == {}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("size", [3, 5000], ids=["small", "large"])
def test_of_several_writers_the_newest_counts(
    tmp_path: Path, size: int, order: tuple[int, int]
) -> None:
    """Of arrays that two processes saved for one sample that of its newest value is given."""
    options = LedgerOptions(flush_interval_s=3600)
    ledgers = [Ledger(tmp_path, rank=rank, options=options) for rank in range(2)]
    for rank in order:
        rows = ledgers[rank].ids.add(["both", f"own{rank}"], "train")
        ledgers[rank].append_samples({"loss": np.zeros(2)}, rows, step=0)
        ledgers[rank].append_arrays("targets", rows, np.full((2, size), rank))
        ledgers[rank].flush()
    for ledger in ledgers:
        ledger.close()
    with wl.Session(tmp_path, mode="r"):
        found = {key[0]: int(value.max()) for key, value in wl.arrays("targets").items()}
    assert found == {"both": order[1], "own0": 0, "own1": 1}


def test_another_field_is_refused_with_the_nearest() -> None:
    """A field that does not exist names those that do."""
    with pytest.raises(UnknownOptionError, match="preds_raw"):
        wl.arrays("pred_raw")
    with pytest.raises(InputError, match="annotation_id"):
        wl.arrays("preds", annotation_id=-1)
