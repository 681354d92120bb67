"""The seed: "Both approaches are safe to use together", and everything else beside them.

One story: the page's training loop, while another thread pauses, resumes, asks for
evaluations, edits the YAML file, tags, discards and reads, and signals tag on their own.
What each batch did is written down, and the same is done again without WeightsLab: bit
for bit the same weights, and every record the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import weightslab as wl
from tests.spec.support import digits, said, wait_until

VAL = digits(12, start=1000)


def network() -> nn.Module:
    """Dropout draws random numbers, and batch statistics are state: both must not be disturbed."""
    return nn.Sequential(
        nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 10)
    )


class Named(torch.utils.data.Dataset[Any]):
    """Digits whose position is their label's companion: (image, (label, index))."""

    def __init__(self) -> None:
        self.data = digits(40)

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, str]:
        image, label = self.data[index]
        return image, label, f"digit{index}"


def seeded_loader() -> DataLoader[Any]:
    """Shuffled by the global generator, as most training loops do."""
    return DataLoader(Named(), batch_size=10, shuffle=True)


@dataclass
class Diary:
    """What each batch of the loop did."""

    lrs: list[float | None] = field(default_factory=list)
    """Learning rate of the batch's update; None where an evaluation took its place."""
    losses: list[tuple[str, int, float]] = field(default_factory=list)
    """(id, step, loss) of every sample of an update."""
    weights: list[torch.Tensor] = field(default_factory=list)


class Config:
    """The YAML file, edited as an editor does it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = {"lr": 0.01, "note": 0, "is_training": True}
        self.write()

    def write(self, **values: Any) -> None:
        self.values |= values
        text = (
            f"experiment_name: together\n"
            f"optimizer:\n  lr: {self.values['lr']}\n"
            f"note: {self.values['note']}\n"
            f"is_training: {str(self.values['is_training']).lower()}\n"
        )
        beside = self.path.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self.path)


def diverted_loop(
    config: Config, meddle: Callable[[Config, threading.Event], None], skips: bool = True
) -> Diary:
    """Train with WeightsLab until `meddle`, on a thread of its own, is done."""
    diary = Diary()
    hp = wl.watch_or_edit(str(config.path), flag="hyperparameters", poll_interval=0.02)
    torch.manual_seed(5)
    model = wl.watch_or_edit(network(), flag="model")
    optimizer = wl.watch_or_edit(
        torch.optim.Adam(model.parameters(), lr=hp.optimizer.lr), flag="optimizer"
    )
    train_loss = wl.watch_or_edit(
        nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="train_loss"
    )
    eval_loss = wl.watch_or_edit(
        nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="eval_loss"
    )
    train_loader = wl.watch_or_edit(seeded_loader(), flag="data", loader_name="train")
    wl.watch_or_edit(DataLoader(VAL, batch_size=5), flag="data", loader_name="val_loader")

    @wl.eval_fn
    def eval_pass(loader: Any) -> None:
        model.eval()
        for inputs, targets, ids in loader:
            eval_loss(model(inputs), targets, batch_ids=ids)

    started, errors = threading.Event(), []

    def other() -> None:
        try:
            meddle(config, started)
        except BaseException as error:  # noqa: BLE001  # told on the thread that trains
            errors.append(error)
        finally:
            wl.resume()

    thread = threading.Thread(target=other)
    thread.start()
    step = epoch = 0
    while thread.is_alive() or epoch < 2:
        for inputs, labels, ids in train_loader:
            started.set()
            if wl.run_pending_evaluation() and skips:
                diary.lrs.append(None)
                continue
            losses = train_loss(model(inputs), labels, batch_ids=ids)
            optimizer.zero_grad()
            losses.mean().backward()
            diary.lrs.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            diary.losses += [(i, step, v) for i, v in zip(ids, losses.tolist(), strict=True)]
            step += 1
        epoch += 1
    thread.join()
    assert errors == []
    while wl.run_pending_evaluation():
        pass
    diary.weights = [value.clone() for value in model.state_dict().values()]
    return diary


def plain_loop(told: Diary) -> Diary:
    """The same loop without WeightsLab: it skips and edits where the diary says so."""
    diary = Diary()
    torch.manual_seed(5)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    criterion = nn.CrossEntropyLoss(reduction="none")
    loader = seeded_loader()

    def batches() -> Iterator[Any]:
        while len(diary.lrs) < len(told.lrs):
            yield from loader

    step = 0
    for inputs, labels, ids in batches():
        lr = told.lrs[len(diary.lrs)]
        diary.lrs.append(lr)
        if lr is None:
            continue
        losses = criterion(model(inputs), labels)
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
        diary.losses += [(i, step, v) for i, v in zip(ids, losses.tolist(), strict=True)]
        step += 1
    diary.weights = [value.clone() for value in model.state_dict().values()]
    return diary


def recorded(signal: str) -> list[tuple[str, int, float]]:
    """(id, step, value) of the training, in the order of the loop."""
    frame = wl.history(signal).filter(~pl.col("experiment_hash").str.contains("_"))
    return frame.select("sample_id", "step", "value").rows()


def edited(name: str) -> dict[str, Any]:
    """What the status says of a hyperparameter's edit: `requested`, `applied`, ..."""
    edits: dict[str, dict[str, Any]] = wl.status().get("hyperparameters", {}).get("edits", {})
    return edits.get(name, {})


def assert_same(found: Diary, plain: Diary) -> None:
    """Bit for bit."""
    assert found.losses == plain.losses
    for mine, theirs in zip(found.weights, plain.weights, strict=True):
        assert torch.equal(mine, theirs)


def assert_markers(requests: int) -> None:
    """Each request is one marker, numbered from 1 under its hash, of every held-out sample."""
    frame = wl.history("eval_loss", kind="global")
    names = frame["experiment_hash"].to_list()
    assert len(names) == len(set(names)) == requests
    numbers: dict[str, list[int]] = {}
    for name in names:
        plain, _, number = name.partition("_")
        numbers.setdefault(plain, []).append(int(number))
    assert all(sorted(found) == list(range(1, len(found) + 1)) for found in numbers.values())
    counts = wl.history("eval_loss").group_by("experiment_hash").len()
    assert dict(counts.rows()) == dict.fromkeys(names, 12)


@pytest.mark.parametrize("skips", [True, False], ids=["continue", "without continue"])
def test_nothing_that_should_not_changes_the_training(tmp_path: Path, skips: bool) -> None:
    """Pauses, evaluations, notes, tags, signals and reads from another thread change no bit."""
    requests = 0

    def meddle(config: Config, started: threading.Event) -> None:
        nonlocal requests
        wait_until(lambda: wl.status()["step"] > 4)  # every sample has been seen
        for number in range(4):
            wl.pause()
            wait_until(lambda: wl.status()["waiting"])
            wl.tag_samples(["digit3", f"digit{number}"], "looked at")
            wl.request_evaluation("val_loader")
            requests += 1
            wl.resume()
            config.write(note=number + 1)
            wl.samples()
            wl.history("train_loss")
            wl.request_evaluation("val_loader")
            requests += 1
            wl.write_dataframe("meanwhile.csv", format="csv")
            time.sleep(0.05)
        wait_until(lambda: edited("note").get("requested") == 4)
        taken = wl.status()["step"]
        wait_until(lambda: wl.status()["step"] > taken + 1)

    verdicts: dict[str, str] = {}

    with wl.Session(tmp_path / "run") as session:

        @wl.signal(name="half", subscribe_to="train_loss")
        def half(ctx: Any) -> float:
            return 0.5 * ctx.subscribed_value

        @wl.signal(name="verdict", subscribe_to="half", include_history=True, log=False)
        def verdict(ctx: Any) -> float:
            falls = all(e["signal_value"] > ctx.subscribed_value for e in ctx.subscribed_history)
            verdicts[ctx.sample_id] = "falling" if falls else "stuck"
            wl.set_categorical_tag([ctx.sample_id], "verdict", verdicts[ctx.sample_id])
            return float(len(ctx.subscribed_history))

        found = diverted_loop(Config(tmp_path / "config.yaml"), meddle, skips)
        assert_same(found, plain_loop(found))
        if not skips:
            assert None not in found.lrs

        assert sorted(recorded("train_loss")) == sorted(found.losses)
        assert sorted(recorded("half")) == sorted((n, s, 0.5 * v) for n, s, v in found.losses)
        steps: dict[str, int] = {}
        for name, step, length in sorted(recorded("verdict"), key=lambda row: row[1]):
            assert length == steps.get(name, 0), (name, step)
            steps[name] = steps.get(name, 0) + 1
        assert sum(steps.values()) == len(found.losses)
        assert_markers(requests)
        assert sorted(wl.get_samples_by_tag("looked at")) == [f"digit{n}" for n in range(4)]
        table = wl.samples(origin="train")
        assert dict(table.select("sample_id", "tag:verdict").rows()) == verdicts

        hashes = wl.history("train_loss").filter(~pl.col("experiment_hash").str.contains("_"))
        per_step = hashes.group_by("step").agg(pl.col("experiment_hash").n_unique())
        assert per_step["experiment_hash"].unique().to_list() == [1]
        assert hashes["experiment_hash"].n_unique() >= 2  # notes are hyperparameters
        assert said(session).startswith("hyperparameter note: nothing watched takes it")
        assert len(session.notices.messages()) == 1


def test_edits_change_what_they_say_and_nothing_else(tmp_path: Path) -> None:
    """Learning rates of the YAML file, a pause by it, and evaluations: the rest is untouched."""
    stood: list[list[int]] = []

    def meddle(config: Config, started: threading.Event) -> None:
        assert started.wait(20)
        for lr in (0.02, 0.005, 0.03):
            config.write(lr=lr)
            wl.request_evaluation("val_loader")
            wait_until(lambda lr=lr: edited("optimizer.lr").get("applied") == lr)
            time.sleep(0.05)
            config.write(is_training=False)
            wait_until(lambda: wl.status()["waiting"])
            before = wl.status()["step"]
            time.sleep(0.05)
            stood.append([before, wl.status()["step"]])
            config.write(is_training=True)
            wait_until(lambda: not wl.status()["paused"])

    with wl.Session(tmp_path / "run") as session:
        found = diverted_loop(Config(tmp_path / "config.yaml"), meddle)
        assert_same(found, plain_loop(found))
        rates = [lr for lr in found.lrs if lr is not None]
        assert list(dict.fromkeys(rates)) == [0.01, 0.02, 0.005, 0.03]
        assert all(before == after for before, after in stood)
        assert sorted(recorded("train_loss")) == sorted(found.losses)
        assert_markers(3)
        by_hash = wl.history("train_loss").filter(~pl.col("experiment_hash").str.contains("_"))
        assert by_hash["experiment_hash"].n_unique() == 4
        assert said(session) == ""


def test_discards_from_another_thread(tmp_path: Path) -> None:
    """A sample that is discarded while the loop runs has no loss from its next epoch on."""
    dropped = [f"digit{n}" for n in range(5)]
    at: list[int] = []

    def meddle(config: Config, started: threading.Event) -> None:
        assert started.wait(20)
        time.sleep(0.05)
        wl.request_evaluation("val_loader")
        wl.discard_samples(dropped)
        at.append(wl.status()["step"])
        wait_until(lambda: wl.status()["step"] > at[0] + 20)

    with wl.Session(tmp_path / "run") as session:
        found = diverted_loop(Config(tmp_path / "config.yaml"), meddle)
        assert sorted(recorded("train_loss")) == sorted(found.losses)
        late = {name for name, step, _ in found.losses if step > at[0] + 5}
        assert late == {f"digit{n}" for n in range(5, 40)}
        assert sorted(wl.get_discarded_samples()) == dropped
        assert_markers(1)
        assert said(session) == ""
