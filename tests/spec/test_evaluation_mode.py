"""The seed's section "Evaluation mode": how it works."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
import torch
from torch import nn

import weightslab as wl
from tests.spec.support import Evaluation, markers, trained, wait_until

# -- how it works --------------------------------------------------------------------


def test_a_full_pass_over_a_registered_loader() -> None:
    """Quoted: "WeightsLab can run a full inference pass over any registered loader"."""
    run = Evaluation()
    run.run()
    expected = run.expected()
    wl.request_evaluation("val_loader")
    assert wl.run_pending_evaluation()
    for signal, value in expected.items():
        assert list(markers(signal).values()) == pytest.approx([value], rel=1e-5)


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_explicit_code_at_any_time(when: str) -> None:
    """Quoted: "A trigger arrives (UI, CLI evaluate, or explicit code)": done without more."""
    run = Evaluation()
    if when == "before":
        wl.request_evaluation("val_loader")
    for step in run.steps(epochs=2):
        if when == "between" and step == 2:
            wl.request_evaluation("val_loader")
    if when == "after":
        wl.request_evaluation("val_loader")
    wl.keep_serving(timeout=0.01)
    wait_until(lambda: markers("eval_loss"))
    assert len(trained("train_loss")) == 64


def test_the_request_of_a_script_resumes_by_itself() -> None:
    """api.md: "A request of the script itself resumes by itself, so that a batch job never …"."""
    run = Evaluation()
    seen = []
    for step in run.steps(epochs=2):
        if step == 1:
            wl.request_evaluation("val_loader")
        seen.append(len(markers("eval_loss")))
    assert seen == [0, 0, 1, 1, 1, 1, 1, 1]
    assert not wl.status()["paused"]


def test_the_request_of_a_client_stays_paused() -> None:
    """Quoted: "The training loop stays paused until you call resume" (a client's, says api.md)."""
    stood = []

    def client() -> None:
        wait_until(lambda: wl.status()["waiting"] and markers("eval_loss"))
        stood.append((wl.status()["step"], wl.status()["paused"]))
        time.sleep(0.05)
        stood.append((wl.status()["step"], wl.status()["paused"]))
        wl.resume()

    with wl.Session("run") as session:
        thread = threading.Thread(target=client)
        for step in Evaluation().steps():
            if step == 1:
                session.evaluations.request("val_loader", None, by="client")
                thread.start()
        thread.join()
        assert stood == [(2, True), (2, True)]
        assert not wl.status()["paused"]
        assert len(trained("train_loss")) == 32


def test_training_stands_while_it_is_evaluated() -> None:
    """Quoted: "Training is paused automatically": no weight moves between first and last batch."""
    run = Evaluation()
    weights = []

    @wl.eval_fn
    def eval_pass(loader: Any) -> None:
        for inputs, targets, ids in loader:
            weights.append(run.model[0].weight.detach().clone())
            run.eval_loss(run.model(inputs), targets, batch_ids=ids)

    for step in run.steps():
        if step == 1:
            wl.request_evaluation("val_loader")
    assert len(weights) == 3
    assert all(torch.equal(each, weights[0]) for each in weights)
    assert not torch.equal(run.model[0].weight, weights[0])


def test_from_another_thread() -> None:
    """Triggers come from anywhere: the thread that trains takes them at its next safe point."""
    run = Evaluation()
    ran_on = []

    @wl.eval_fn
    def eval_pass(loader: Any) -> None:
        ran_on.append(threading.current_thread())
        for inputs, targets, ids in loader:
            run.eval_loss(run.model(inputs), targets, batch_ids=ids)

    for step in run.steps():
        if step == 0:
            thread = threading.Thread(target=wl.request_evaluation, args=("val_loader",))
            thread.start()
            thread.join()
    assert ran_on == [threading.main_thread()]
    assert len(markers("eval_loss")) == 1


def test_when_no_training_is_under_way() -> None:
    """Quoted: "A background thread runs the evaluation pass": a notebook needs no loop for it."""
    run = Evaluation()
    wl.request_evaluation("val_loader")
    wait_until(lambda: markers("eval_loss"))
    assert list(markers("eval_loss").values()) == pytest.approx([run.expected()["eval_loss"]])


def test_evaluation_markers() -> None:
    """Quoted: "published as evaluation markers in the signal history (hash suffix _N)"."""
    run = Evaluation()
    for step in run.steps():
        if step in (0, 2):
            wl.request_evaluation("val_loader")
    current = wl.get_current_experiment_hash()
    assert list(markers("eval_loss")) == [f"{current}_1", f"{current}_2"]
    rows = wl.history("eval_loss", kind="global").select("experiment_hash", "step").rows()
    assert rows == [(f"{current}_1", 1), (f"{current}_2", 3)]


def test_the_current_hash_does_not_change() -> None:
    """api.md: "markers `<hash>_1`, `<hash>_2`, …; the current hash does not change"."""
    run = Evaluation()
    hashes = []
    for step in run.steps():
        hashes.append(wl.get_current_experiment_hash())
        if step == 1:
            wl.request_evaluation("val_loader")
    assert len(set(hashes)) == 1
    found = {row[3] for row in wl.query_signal_history("train_loss")}
    assert found == {*hashes, f"{hashes[0]}_1"}


def test_markers_in_exports() -> None:
    """api.md: "`experiment_hash=None` in exports means the plain current hash without markers"."""
    run = Evaluation()
    for step in run.steps():
        if step == 1:
            wl.request_evaluation("val_loader")
    current = wl.get_current_experiment_hash()

    def hashes(**filters: Any) -> set[str]:
        path = wl.write_history("h.json", type_of_history="global", **filters)
        return {row["experiment_hash"] for row in json.loads(path.read_text("utf-8"))["global"]}

    assert hashes() == {current}
    assert hashes(experiment_hash="all") == {current, f"{current}_1"}
    assert hashes(experiment_hash=f"{current}_1") == {f"{current}_1"}


def test_samples_of_an_evaluation() -> None:
    """Quoted: "collecting all watched signals": each sample's value is on record as well."""
    run = Evaluation()
    run.run()
    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    images, labels = run.held_out.tensors
    losses = nn.functional.cross_entropy(run.model(images), labels, reduction="none").tolist()
    marker = f"{wl.get_current_experiment_hash()}_1"
    rows = wl.query_signal_history("eval_loss", exp_hash=marker)
    assert {row[0]: row[2] for row in rows} == {
        f"val_loader/{n}": pytest.approx(loss, rel=1e-5) for n, loss in enumerate(losses)
    }
    latest = wl.samples(origin="val").select("sample_id", "signals//eval_loss").rows()
    assert dict(latest) == {row[0]: row[2] for row in rows}


def test_the_mean_is_over_samples() -> None:
    """api.md: "mean over samples, not of batch means": the last batch is smaller."""
    run = Evaluation(held_out=9)  # 8 and 1
    wl.request_evaluation("val_loader")
    wl.run_pending_evaluation()
    assert list(markers("eval_loss").values()) == pytest.approx([run.expected()["eval_loss"]])


def test_the_training_curve_is_untouched() -> None:
    """api.md: "the training curve is untouched", also that of a loss which both use."""
    run = Evaluation()
    for step in run.steps():
        if step == 1:
            wl.request_evaluation("val_loader")
    assert len(markers("train_loss")) == 1  # "every signal registered" is called
    current = wl.get_current_experiment_hash()
    frame = wl.history("train_loss", kind="global", exp_hash=current)
    assert frame["step"].to_list() == [0, 1, 2, 3]
    assert len(wl.query_signal_history("train_loss", exp_hash=current)) == 32


def test_over_samples_with_a_tag() -> None:
    """api.md: "`wl.request_evaluation(loader_name, tags=None)`"."""
    run = Evaluation()
    list(run.val_loader)
    wl.tag_samples(["val_loader/3", "val_loader/11"], "hard")
    wl.request_evaluation("val_loader", tags=["hard"])
    wl.run_pending_evaluation()
    images, labels = (part[[3, 11]] for part in run.held_out.tensors)
    loss = nn.functional.cross_entropy(run.model(images), labels).item()
    assert list(markers("eval_loss").values()) == pytest.approx([loss], rel=1e-5)
    assert sorted({row[0] for row in wl.query_signal_history("eval_loss")}) == [
        "val_loader/11",
        "val_loader/3",
    ]


def test_a_loader_that_is_not_registered() -> None:
    """The error names the loaders that are, and the nearest."""
    Evaluation()
    with pytest.raises(wl.WeightsLabError, match="val_loader"):
        wl.request_evaluation("val_loadr")
