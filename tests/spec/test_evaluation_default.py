"""The seed's sections "Default evaluation function" and "Result console output"."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import weightslab as wl
from tests.spec.support import Evaluation, Items, markers, said, trained, triples

LINE = re.compile(r"\[WeightsLab\] Evaluation '(.+)' @ step (\d+) — (.+)\n")


# -- the default function ------------------------------------------------------------


def test_preds_and_targets_reach_every_signal() -> None:
    """Quoted: "Calls every signal registered in the ledger as signal(preds, targets, …"."""
    run = Evaluation()
    got = []

    def probe(preds: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        got.append((preds.requires_grad, preds.shape, targets.shape))
        return preds.mean(1)

    wl.watch_or_edit(probe, flag="signal", name="probe")
    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    assert got == [(False, (n, 10), (n,)) for n in (8, 8, 4)]
    assert set(markers("probe")) == set(markers("eval_loss")) == set(markers("train_loss"))
    assert run.model.training


TARGETS = torch.tensor([0.0, 1.0, 2.0, 3.0])
UNPACKED: dict[str, list[Any]] = {
    "tuple": [(torch.tensor([n + 1.0]), n, f"img{n}") for n in range(4)],
    "list": [[torch.tensor([n + 1.0]), n, f"img{n}"] for n in range(4)],
} | {
    f"{x}, {y}, {i}": [{x: torch.tensor([n + 1.0]), y: n, i: f"img{n}"} for n in range(4)]
    for x, y, i in (
        ("image", "label", "id"),
        ("input", "target", "sample_id"),
        ("x", "y", "idx"),
        ("data", "mask", "index"),
        ("image", "mask", "id"),
    )
}


@pytest.mark.parametrize("shape", UNPACKED)
def test_batch_unpacking(shape: str) -> None:
    """Quoted: "tuple / list → [0]=inputs, [1]=targets, [2]=ids"; "dict → inputs: first of …"."""
    wl.watch_or_edit({"experiment_name": "e"}, flag="hp")
    wl.watch_or_edit(nn.Identity(), flag="model")
    wl.watch_or_edit(lambda p, t: p[:, 0] - t, flag="metric", name="difference")
    wl.watch_or_edit(
        DataLoader(Items(UNPACKED[shape]), batch_size=3), flag="data", loader_name="val"
    )
    wl.request_evaluation("val")
    wl.run_pending_evaluation()
    assert [row[:1] + row[2:] for row in triples("difference")] == [
        (f"img{n}", 1.0) for n in range(4)
    ]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"x": torch.tensor([9.0]), "data": torch.tensor([9.0])}, 1.0),
        ({"y": 9, "mask": 9}, 1.0),
    ],
)
def test_the_first_of_the_names(more: dict[str, Any], expected: float) -> None:
    """Quoted: "first of image/input/x/data; targets: first of label/target/y/mask"."""
    wl.watch_or_edit({"experiment_name": "e"}, flag="hp")
    wl.watch_or_edit(nn.Identity(), flag="model")
    wl.watch_or_edit(lambda p, t: p[:, 0] - t, flag="metric", name="difference")
    items = [{**more, "label": n, "image": torch.tensor([n + 1.0]), "id": f"i{n}"} for n in (0, 1)]
    wl.watch_or_edit(DataLoader(Items(items), batch_size=2), flag="data", loader_name="val")
    wl.request_evaluation("val")
    wl.run_pending_evaluation()
    assert list(markers("difference").values()) == [expected]


@pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")
def test_a_batch_that_cannot_be_unpacked() -> None:
    """A dict of other names: reported with the keys and what to do; training goes on."""
    with wl.Session("run") as session:
        run = Evaluation()
        items = [{"pixels": torch.zeros(64), "truth": 0}]
        wl.watch_or_edit(DataLoader(Items(items)), flag="data", loader_name="odd")
        for step in run.steps():
            if step == 0:
                wl.request_evaluation("odd")
        assert len(trained("train_loss")) == 32
        assert "pixels" in said(session) and "eval_fn" in said(session)
        assert markers("eval_loss") == {}


@pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")
def test_one_signal_that_fails_does_not_lose_the_others() -> None:
    """A registered signal of another task is left out and named; the others are published."""

    def boxes(preds: Any, batch: Any) -> torch.Tensor:
        return torch.as_tensor(batch["boxes"])

    with wl.Session("run") as session:
        Evaluation()
        wl.watch_or_edit(boxes, flag="metric", name="boxes")
        wl.request_evaluation("val_loader")
        wl.run_pending_evaluation()
        assert len(markers("eval_loss")) == 1
        assert "boxes" in said(session)


# -- console output ------------------------------------------------------------------


def test_console_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Quoted: "[WeightsLab] Evaluation 'val_loader' @ step 1200 — eval_loss=0.2314, accuracy=…"."""
    run = Evaluation()
    run.run(epochs=3)
    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    found = LINE.search(capsys.readouterr().out)
    assert found is not None
    assert found[1] == "val_loader"
    assert found[2] == "12"
    values = dict(part.split("=") for part in found[3].split(", "))
    assert list(values) == ["train_loss", "eval_loss", "accuracy"]
    for name, value in run.expected().items():
        assert values[name] == f"{value:.4f}"


def test_only_what_has_a_value_is_in_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The seed's example line has the signals of its own evaluation, and no others."""
    run = Evaluation()

    @wl.eval_fn
    def eval_pass(loader: Any) -> None:
        for inputs, targets, ids in loader:
            preds = run.model(inputs)
            run.eval_loss(preds, targets, batch_ids=ids)
            run.accuracy(preds, targets, batch_ids=ids)

    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    expected = run.expected()
    assert (
        f"[WeightsLab] Evaluation 'val_loader' @ step 0 — eval_loss={expected['eval_loss']:.4f}, "
        f"accuracy={expected['accuracy']:.4f}\n"
    ) in capsys.readouterr().out


def test_one_line_an_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    """Quoted: "After each evaluation, WeightsLab prints a summary line to stdout"."""
    run = Evaluation()
    for step in run.steps():
        if step in (0, 2):
            wl.request_evaluation("val_loader")
    out = capsys.readouterr().out
    assert [found[:2] for found in LINE.findall(out)] == [("val_loader", "1"), ("val_loader", "3")]
    assert LINE.sub("", out) == ""
