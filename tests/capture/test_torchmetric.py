"""torchmetrics objects as watched signals."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torchmetrics
from torchmetrics.classification import MulticlassAccuracy

import weightslab as wl
from tests.capture.recorded import curve, hand_out, said, samples

PREDS = torch.tensor([0, 1, 2, 1])
WANTED = torch.tensor([0, 1, 1, 1])


class PerSample(torchmetrics.Metric):
    """A metric whose batch value is one number for each sample."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("kept", default=[], dist_reduce_fx="cat")

    def update(self, preds: torch.Tensor, wanted: torch.Tensor) -> None:
        self.kept.append((preds == wanted).float())

    def compute(self) -> torch.Tensor:
        return torch.cat(self.kept)


def _accuracy() -> MulticlassAccuracy:
    return MulticlassAccuracy(3, average="micro")


def test_the_same_object_comes_back() -> None:
    """A watched metric is the same object of the same class."""
    metric = _accuracy()
    assert wl.watch_or_edit(metric, name="acc") is metric
    assert type(metric) is MulticlassAccuracy


@pytest.mark.parametrize("full", [True, False])
def test_forward_records_the_value_of_the_batch(full: bool) -> None:
    """A call records its batch's value once, and returns what it always did."""

    class Accuracy(MulticlassAccuracy):
        full_state_update = full

    metric = wl.watch_or_edit(Accuracy(3, average="micro"), name="acc")
    hand_out(list("abcd"))
    assert metric(PREDS, WANTED) == 0.75
    assert metric(WANTED, WANTED) == 1.0
    assert [value for _, value in curve("acc")] == [0.75, 1.0]
    assert metric.compute() == 0.875
    assert said() == []


def test_update_and_compute() -> None:
    """`update` records nothing, `compute` the value so far."""
    metric = wl.watch_or_edit(_accuracy(), name="acc")
    metric.update(PREDS, WANTED, batch_ids=list("abcd"))
    assert curve("acc") == []
    assert metric.compute() == 0.75
    assert [value for _, value in curve("acc")] == [0.75]


def test_a_value_for_each_sample() -> None:
    """A metric whose batch value is [B] is recorded per sample."""
    metric = wl.watch_or_edit(PerSample(), name="hit")
    metric(PREDS, WANTED, batch_ids=list("abcd"))
    assert [row[2] for row in samples("hit")] == [1.0, 1.0, 0.0, 1.0]


def test_a_collection_is_several_signals() -> None:
    """Each metric of a collection is recorded under <name>/<its name>."""
    metric = wl.watch_or_edit(
        torchmetrics.MetricCollection({"acc": _accuracy(), "same": _accuracy()}), name="val"
    )
    found = metric(PREDS, WANTED)
    metric.compute()
    assert set(found) == {"acc", "same"}
    assert [value for _, value in curve("val/acc")] == [0.75, 0.75]


def test_watching_again_renames() -> None:
    """A metric that is watched again is kept under the new name only."""
    metric = wl.watch_or_edit(wl.watch_or_edit(_accuracy(), name="one"), name="two")
    metric(PREDS, WANTED)
    assert curve("one") == []
    assert len(curve("two")) == 1


@pytest.mark.parametrize("kind", ["metric", "collection"])
@pytest.mark.parametrize("copied", ["deepcopy", "pickle", "clone"])
def test_copies_are_clean(kind: str, copied: str) -> None:
    """A copy of a watched metric has nothing of ours, computes the same and records nothing."""
    metric = _accuracy() if kind == "metric" else torchmetrics.MetricCollection([_accuracy()])
    metric = wl.watch_or_edit(metric, name="acc")
    metric.update(PREDS, WANTED)
    data = pickle.dumps(metric)
    if copied == "clone":
        twin = metric.clone()
    else:
        twin = copy.deepcopy(metric) if copied == "deepcopy" else pickle.loads(data)
    assert b"weightslab" not in data
    assert str(twin.compute()) == str(metric.compute())
    twin(PREDS, WANTED)
    twin.reset()
    metric.reset()
    assert len(curve("acc" if kind == "metric" else "acc/MulticlassAccuracy")) == 1
