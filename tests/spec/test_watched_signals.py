"""The seed's section "Per-sample vs per-instance watched signals"."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import weightslab as wl
from tests.spec.support import Numbers, curve, said, triples
from weightslab.errors import InputError


class PerSampleDice(nn.Module):
    """[B, P] masks to one value for each sample."""

    def forward(self, preds: torch.Tensor, batch: dict[str, Any]) -> torch.Tensor:
        return preds.flatten(1).mean(1)


class PerInstanceDice(nn.Module):
    """One value for each instance of a batch dict."""

    def forward(self, preds: torch.Tensor, batch: dict[str, Any]) -> torch.Tensor:
        return torch.as_tensor(batch["areas"])


def _instances(signal: str) -> list[tuple[str, int, float]]:
    frame = wl.history(signal, kind="instance")
    return frame.select("sample_id", "annotation_id", "value").rows()


def test_the_example() -> None:
    """The seed's example, verbatim: each routes its values to its own rows."""
    # one value per sample  -> instance_id 0
    per_sample = wl.watch_or_edit(
        PerSampleDice(), flag="metric", name="dice/sample", per_sample=True, log=True
    )
    # one value per instance -> instance_id 1..N
    per_instance = wl.watch_or_edit(
        PerInstanceDice(), flag="metric", name="dice/instance", per_instance=True, log=True
    )
    batch = {"batch_idx": torch.tensor([0, 1, 1]), "areas": [0.5, 0.25, 0.75]}
    preds = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    ids = ["img0", "img1"]

    assert per_sample(preds, batch, batch_ids=ids).tolist() == [0.5, 1.0]
    assert per_instance(preds, batch, batch_ids=ids).tolist() == [0.5, 0.25, 0.75]

    assert triples("dice/sample") == [("img0", 0, 0.5), ("img1", 0, 1.0)]
    assert _instances("dice/instance") == [("img0", 1, 0.5), ("img1", 1, 0.25), ("img1", 2, 0.75)]
    assert wl.history("dice/sample", kind="instance").is_empty()
    assert triples("dice/instance") == []
    assert curve("dice/sample") == [(0, 0.75)]
    assert curve("dice/instance") == [(0, 0.5)]


def test_batch_idx_as_a_keyword() -> None:
    """Quoted: "from a batch dict argument containing batch_idx or from a batch_idx= keyword"."""
    iou = wl.watch_or_edit(lambda boxes: boxes * 2, flag="metric", name="iou", per_instance=True)
    found = iou(torch.tensor([1.0, 2.0]), batch_ids=["a", "b"], batch_idx=[1, 1])
    assert found.tolist() == [2.0, 4.0]
    assert _instances("iou") == [("b", 1, 2.0), ("b", 2, 4.0)]


def test_per_sample_and_per_instance_at_once() -> None:
    """A signal is one or the other."""
    with pytest.raises(InputError, match="watch it twice"):
        wl.watch_or_edit(PerSampleDice(), flag="metric", per_sample=True, per_instance=True)


def test_log_false() -> None:
    """`log=False` keeps no curve of a watched signal either."""
    loss = wl.watch_or_edit(nn.MSELoss(reduction="none"), flag="loss", name="mse", log=False)
    loss(torch.zeros(2), torch.ones(2), batch_ids=["a", "b"])
    assert len(triples("mse")) == 2
    assert curve("mse") == []


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_every_reduction_is_per_sample(reduction: str) -> None:
    """api.md: "a *watched* loss with `reduction="mean"` is recorded per sample … its mean"."""
    logits, labels = torch.randn(3, 4, requires_grad=True), torch.tensor([0, 3, 1])
    plain = nn.CrossEntropyLoss(reduction=reduction)
    loss = wl.watch_or_edit(plain, flag="loss", signal_name="ce")
    result = loss(logits, labels, batch_ids=["a", "b", "c"])
    assert torch.equal(result, plain(logits, labels))
    each = nn.functional.cross_entropy(logits, labels, reduction="none")
    assert [row[2] for row in triples("ce")] == pytest.approx(each.tolist())


def test_preds_and_targets_of_a_call() -> None:
    """Issue 2: "`batch_ids=`, `batch_idx=`, `preds=`, `targets=` on the call"."""
    loss = wl.watch_or_edit(nn.MSELoss(reduction="none"), flag="loss", name="mse")
    loss(torch.zeros(2), torch.ones(2), batch_ids=["a", "b"], preds=[5, 6], targets=[7, -100])
    frame = wl.samples()
    assert frame["prediction"].to_list() == [5, 6]
    assert frame["target"].to_list() == [7, -100]


def test_ids_of_the_batch_at_hand() -> None:
    """api.md: "those of the batch that the consumer of a watched loader is working on"."""
    loader = wl.watch_or_edit(DataLoader(Numbers(4), batch_size=2), flag="data", append_ids=False)
    loss = wl.watch_or_edit(nn.L1Loss(reduction="none"), flag="loss", name="l1")
    for x, _ in loader:
        loss(x, torch.zeros_like(x))
    assert triples("l1") == [(f"train/{n}", n // 2, float(n)) for n in range(4)]


def test_ids_of_another_number_are_refused() -> None:
    """api.md: "and are refused when their number is not B"."""
    with wl.Session("run") as session:
        loader = wl.watch_or_edit(DataLoader(Numbers(4), batch_size=2), flag="data")
        loss = wl.watch_or_edit(nn.L1Loss(reduction="none"), flag="loss", name="l1")
        batches = iter(loader)  # held: a batch is current while its loop is under way
        next(batches)
        loss(torch.ones(3), torch.zeros(3))
        assert triples("l1") == []
        assert curve("l1") == [(0, 1.0)]
        assert "3 values but the current batch has 2 ids" in said(session)


def test_explicit_ids_of_another_number_raise() -> None:
    """Issue 2: "lengths that do not match name the signal and both lengths and write nothing"."""
    loss = wl.watch_or_edit(nn.L1Loss(reduction="none"), flag="loss", name="l1")
    with pytest.raises(ValueError, match=r"'l1'.*3.*2"):
        loss(torch.ones(3), torch.zeros(3), batch_ids=["a", "b"])
    assert wl.history().is_empty()


def test_a_number_for_the_whole_batch() -> None:
    """What no single sample owns goes to the curve, and that is said once, with what to do."""
    with wl.Session("run") as session:
        dice = wl.watch_or_edit(lambda x: x.sum() / 3, flag="metric", name="dice")
        for _ in range(2):
            dice(torch.ones(3), batch_ids=["a", "b", "c"])
        assert curve("dice") == [(0, 1.0), (1, 1.0)]
        assert triples("dice") == []
        assert said(session).count("save_signals") == 1


def test_one_module_under_two_names() -> None:
    """api.md: "a shallow copy that shares parameters, so that one module … under two names"."""
    module = nn.MSELoss(reduction="none")
    first = wl.watch_or_edit(module, flag="loss", name="train/mse")
    second = wl.watch_or_edit(module, flag="loss", name="val/mse")
    first(torch.zeros(1), torch.ones(1), batch_ids=["a"])
    second(torch.zeros(1), torch.full((1,), 2.0), batch_ids=["b"])
    module(torch.zeros(1), torch.ones(1))
    assert triples("train/mse") == [("a", 0, 1.0)]
    assert triples("val/mse") == [("b", 0, 4.0)]


def test_torchmetrics() -> None:
    """Issue 2: "torchmetrics objects (`update`, `compute`, `forward`) are watched as such"."""
    torchmetrics = pytest.importorskip("torchmetrics")
    metric = torchmetrics.MeanMetric()
    assert wl.watch_or_edit(metric, flag="metric", name="mean") is metric
    metric.update(torch.tensor([1.0, 3.0]))
    assert curve("mean") == []
    metric.compute()
    assert curve("mean") == [(0, 2.0)]
    assert metric(torch.tensor([5.0, 7.0])) == 6.0
    assert curve("mean") == [(0, 2.0), (1, 6.0)]
