"""The seed's section "save_instance_signals", sentence by sentence."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch

import weightslab as wl
from tests.spec.support import curve, table, triples
from weightslab.errors import InputError


def _instances(signal: str) -> list[tuple[str, int, float]]:
    """Rows (sample id, annotation id, value) of a signal."""
    frame = wl.history(signal, kind="instance")
    return frame.select("sample_id", "annotation_id", "value").rows()


def test_signature() -> None:
    """Quoted: "save_instance_signals(signals, batch_ids, batch_idx, step=None, origin=None, …"."""
    parameters = inspect.signature(wl.save_instance_signals).parameters.values()
    assert [(p.name, p.default) for p in parameters] == [
        ("signals", inspect.Parameter.empty),
        ("batch_ids", inspect.Parameter.empty),
        ("batch_idx", inspect.Parameter.empty),
        ("step", None),
        ("origin", None),
        ("targets", None),
        ("log", True),
    ]


def test_typical_usage() -> None:
    """The seed's "Typical usage", verbatim: a mask for each instance, at (sample, annotation)."""
    iou_per_box = torch.tensor([0.5, 0.25, 0.75])
    ids, batch_idx, current_step = ["img0", "img1"], torch.tensor([0, 0, 1]), 7
    flat_masks = [np.full((2, 2), n) for n in range(3)]

    wl.save_instance_signals(
        signals={"signals//iou_instance": iou_per_box},  # flat [total_instances]
        batch_ids=ids,
        batch_idx=batch_idx,  # instance -> sample position
        targets=flat_masks,
        step=current_step,
    )

    assert wl.query_instance_history("img0", annotation_id=2) == [
        ("iou_instance", 7, 0.25, wl.get_current_experiment_hash())
    ]
    found = table()
    assert found["img0", 2]["signals//iou_instance"] == 0.25
    assert [found[key]["target"] for key in [("img0", 1), ("img0", 2), ("img1", 1)]] == [
        [[0, 0], [0, 0]],
        [[1, 1], [1, 1]],
        [[2, 2], [2, 2]],
    ]


def test_instances_are_not_the_sample_row() -> None:
    """Quoted: "Values land at (sample_id, annotation_id) for annotation_id >= 1"."""
    wl.save_instance_signals({"iou": [0.5, 0.25]}, ["a"], [0, 0])
    assert triples("iou") == []
    assert _instances("iou") == [("a", 1, 0.5), ("a", 2, 0.25)]
    rows = table()
    assert "signals//iou" not in rows["a", 0]
    assert rows["a", 1]["signals//iou"] == 0.5


def test_numbers_follow_the_order_within_each_sample() -> None:
    """Quoted: "1-based and assigned in the order instances appear within each sample"."""
    wl.save_instance_signals({"iou": [1.0, 2.0, 3.0, 4.0]}, ["a", "b"], [1, 0, 1, 0], step=0)
    assert _instances("iou") == [("a", 1, 2.0), ("a", 2, 4.0), ("b", 1, 1.0), ("b", 2, 3.0)]


def test_a_sample_without_instances() -> None:
    """An image without boxes has no rows of instances; `batch_ids` has length B all the same."""
    wl.save_instance_signals({"iou": [1.0, 2.0]}, ["a", "empty", "b"], [0, 2], step=0)
    assert _instances("iou") == [("a", 1, 1.0), ("b", 1, 2.0)]


def test_a_batch_without_instances() -> None:
    """No box in the whole batch: nothing is written, nothing fails."""
    wl.save_instance_signals(
        {"iou": torch.zeros(0)}, ["a"], torch.zeros(0, dtype=torch.int64), targets=[]
    )
    assert wl.history(kind="instance").is_empty()


def test_an_id_twice_in_the_batch() -> None:
    """Each batch position numbers its own instances."""
    wl.save_instance_signals({"iou": [1.0, 2.0, 3.0]}, ["a", "a"], [0, 0, 1], step=0)
    assert _instances("iou") == [("a", 1, 1.0), ("a", 1, 3.0), ("a", 2, 2.0)]


def test_log_puts_the_mean_on_the_curve() -> None:
    """`log` as for `save_signals`: the curve has the mean over the instances."""
    wl.save_instance_signals({"iou": [0.5, 1.0]}, ["a"], [0, 0], step=2)
    wl.save_instance_signals({"quiet": [0.5, 1.0]}, ["a"], [0, 0], step=2, log=False)
    assert curve("iou") == [(2, 0.75)]
    assert curve("quiet") == []


def test_origin_of_new_samples() -> None:
    """`origin` is the split of samples that nobody has seen yet."""
    wl.save_instance_signals({"iou": [0.5]}, ["a"], [0], origin="val")
    wl.tag_samples(["a"], "seen")
    assert wl.get_samples_by_tag("seen", origin="val") == ["a"]
    assert wl.get_samples_by_tag("seen") == []


@pytest.mark.parametrize("batch_idx", [[0, 1], (0, 1), np.array([0, 1]), torch.tensor([0.0, 1.0])])
def test_kinds_of_batch_idx(batch_idx: object) -> None:
    """Lists, arrays and tensors; whole floats, as some detection batches keep them."""
    wl.save_instance_signals({"iou": [0.5, 0.25]}, ["a", "b"], batch_idx)
    assert _instances("iou") == [("a", 1, 0.5), ("b", 1, 0.25)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"signals": {"iou": [1.0, 2.0], "bad": [1.0]}},
        {"batch_idx": [0, 2]},
        {"batch_idx": [0, -1]},
        {"batch_idx": [0, 0.5]},
        {"batch_idx": [0]},
        {"batch_idx": ["a", "b"]},
        {"targets": [1]},
        {"batch_ids": None},
        {"origin": ""},
        {"step": "3"},
        {"signals": {}},
    ],
)
def test_nothing_of_a_wrong_call_is_written(wrong: dict[str, Any]) -> None:
    """api.md: "`ValueError` … nothing of that call is written"."""
    call = {"signals": {"iou": [1.0, 2.0]}, "batch_ids": ["a", "b"], "batch_idx": [0, 1], **wrong}
    with pytest.raises(InputError):
        wl.save_instance_signals(**call)
    assert wl.history(kind="instance").is_empty()
    assert wl.history(kind="global").is_empty()
    assert wl.samples().is_empty()


def test_mismatched_lengths() -> None:
    """api.md: "`ValueError` that names the signal and both lengths"."""
    with pytest.raises(ValueError, match=r"'iou'.*3.*2"):
        wl.save_instance_signals({"iou": [1.0, 2.0, 3.0]}, ["a", "b"], [0, 1])


def test_targets_of_instances_are_read_back() -> None:
    """Quoted: "flat list of per-instance targets (e.g. one mask/box per instance)"."""
    masks = [np.eye(3, dtype=bool), np.ones((2, 5), bool), np.zeros((100, 100), bool)]
    wl.save_instance_signals({"iou": [0.1, 0.2, 0.3]}, ["a", "b"], [0, 0, 1], targets=masks, step=0)
    found = wl.arrays("targets")
    assert list(found) == [("a", 1), ("a", 2), ("b", 1)]
    for array, mask in zip(found.values(), masks, strict=True):
        assert array.dtype == bool
        assert np.array_equal(array, mask)
