"""The seed's "Real-world example — auto-tagging samples by loss-shape", run as it stands."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from weightslab.ledger import Ledger
from weightslab.ledger.edits.foreign import journal_entries

PAGE = """\
import numpy as np
import weightslab as wl

LOSS_SHAPE_LABELS = [
    "monotonic", "plateaued", "Flat_high",
    "high_variance", "U_Shape", "Spiked",
]
LOSS_SHAPE_CODES = {label: i for i, label in enumerate(LOSS_SHAPE_LABELS)}

def _classify_loss_shape(values):
    \"\"\"Classify a per-sample loss trajectory (ordered by step).

    Returns a label string, or None when there is not enough history yet.
    All thresholds are scale-invariant (fractions of the trajectory's own
    range) and illustrative — tune them for your own task.
    \"\"\"
    y = np.asarray(values, dtype=float)
    if y.size < 5:
        return None

    n = y.size
    first, last = float(y[0]), float(y[-1])
    ymin, ymax = float(y.min()), float(y.max())
    rng = max(ymax - ymin, 1e-8)
    mean = float(y.mean())

    cv = float(y.std()) / (abs(mean) + 1e-8)        # noisiness
    drop = (first - last) / (abs(first) + 1e-8)     # net improvement
    argmin = int(np.argmin(y))
    rebound = (last - ymin) / rng                    # climb-back from trough
    max_up_jump = float(np.diff(y).max()) / rng      # largest single-step rise

    tail = y[int(0.6 * n):]
    tail_flat = (float(tail.std()) / (abs(float(tail.mean())) + 1e-8)) < 0.1

    if max_up_jump > 0.5:
        return "Spiked"
    if cv > 0.5:
        return "high_variance"
    if 0.2 * n < argmin < 0.8 * n and rebound > 0.3:
        return "U_Shape"
    if drop > 0.4:
        return "monotonic"
    if drop > 0.15 and tail_flat:
        return "plateaued"
    return "Flat_high"

# Declare the tag up-front so the UI shows all choices (after the dataloader
# is registered). Then the signal below populates it during training.
wl.register_categorical_tag("loss_shape", LOSS_SHAPE_LABELS)

@wl.signal(
    name="loss_shape_classifier",
    subscribe_to="train/clsf_sample",
    compute_every_n_steps=25,
    log=False,  # side-effecting signal: we tag, no aggregate curve needed
)
def classify_loss_shape(ctx):
    # Full per-sample trajectory of the subscribed metric, ordered by step.
    history = wl.query_sample_history(ctx.sample_id, signal_name="train/clsf_sample")
    series = sorted(((step, val) for _, step, val, _ in history), key=lambda t: t[0])
    values = [v for _, v in series]

    label = _classify_loss_shape(values)
    if label is None:
        return -1
    wl.set_categorical_tag([ctx.sample_id], "loss_shape", label)
    return LOSS_SHAPE_CODES[label]
"""
"""The page's code, character by character."""

EVERY = 25
EPOCHS = 50
BATCH = 50
SAMPLES = 600


def run_page() -> dict[str, Any]:
    """Run the page's code; gives its names."""
    found: dict[str, Any] = {"__name__": "page"}
    exec(compile(PAGE, "user-functions", "exec"), found)
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names of the page's code, run in a session that is over."""
    with wl.Session(tmp_path_factory.mktemp("aside") / "run"):
        return run_page()


@pytest.fixture(scope="module")
def flipped() -> set[str]:
    """Ids of the samples whose label is wrong."""
    return {f"train/{index}" for index in range(0, SAMPLES, 10)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, flipped: set[str]) -> Path:
    """The folder of a small training on digits with the page's code in it."""
    source = load_digits()
    images = torch.tensor(source.data[:SAMPLES] / 16, dtype=torch.float32)
    labels = torch.tensor(source.target[:SAMPLES])
    wrong = [int(name.removeprefix("train/")) for name in flipped]
    labels[wrong] = (labels[wrong] + 1 + torch.arange(len(wrong)) % 9) % 10
    folder = tmp_path_factory.mktemp("loss_shapes") / "run"
    torch.manual_seed(0)
    with wl.Session(folder):
        loader = wl.watch_or_edit(
            DataLoader(TensorDataset(images, labels), batch_size=BATCH, shuffle=True),
            flag="data",
            loader_name="train",
        )
        run_page()
        network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        model = wl.watch_or_edit(network, flag="model")
        optimizer = wl.watch_or_edit(torch.optim.SGD(model.parameters(), lr=0.1), flag="optimizer")
        criterion = wl.watch_or_edit(
            nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="train/clsf_sample"
        )
        for _ in range(EPOCHS):
            for inputs, targets, ids in loader:
                loss = criterion(model(inputs), targets, batch_ids=ids).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return folder


def fired_steps() -> list[int]:
    steps = EPOCHS * SAMPLES // BATCH
    return list(range(EVERY - 1, steps, EVERY))


def tags() -> dict[str, str | None]:
    return dict(wl.samples().select("sample_id", "tag:loss_shape").rows())


def test_every_25_steps(run: Path) -> None:
    """Quoted: "compute_every_n_steps=25 throttles it to every 25th step"."""
    with wl.Session(run, mode="r"):
        steps = {step for _, step, *_ in wl.query_signal_history("loss_shape_classifier")}
    assert sorted(steps) == fired_steps()


def test_once_per_sample_of_the_batch(run: Path) -> None:
    """Quoted: "a per-sample metric is invoked once per sample in the batch"."""
    with wl.Session(run, mode="r"):
        losses = wl.query_signal_history("train/clsf_sample")
        verdicts = wl.query_signal_history("loss_shape_classifier")
    at = set(fired_steps())
    expected = Counter((sample, step) for sample, step, *_ in losses if step in at)
    assert Counter((sample, step) for sample, step, *_ in verdicts) == expected
    assert len(verdicts) == BATCH * len(at)


def test_the_verdict_is_that_of_the_full_trajectory(run: Path, page: dict[str, Any]) -> None:
    """Quoted: "looks at each sample's full loss trajectory ... and writes the verdict back"."""
    with wl.Session(run, mode="r"):
        found = tags()
        fired = {
            sample: step for sample, step, *_ in wl.query_signal_history("loss_shape_classifier")
        }
        for sample, step in fired.items():
            history = wl.query_sample_history(sample, signal_name="train/clsf_sample")
            values = [value for _, _, value, _ in history]
            until = sum(at <= step for _, at, *_ in history)
            # The signal thread may run behind the training: then it sees what came since.
            possible = {
                page["_classify_loss_shape"](values[:count])
                for count in range(until, len(values) + 1)
            }
            assert found[sample] in possible
        assert {sample for sample, label in found.items() if label is None} >= (
            found.keys() - fired.keys()
        )


def test_code_and_label(run: Path, page: dict[str, Any]) -> None:
    """Quoted: "lets the verdict also live as a per-sample ... column", beside the tag."""
    with wl.Session(run, mode="r"):
        table = wl.samples().select("tag:loss_shape", "signals//loss_shape_classifier").rows()
    codes = {**page["LOSS_SHAPE_CODES"], None: -1}
    assert {label for label, _ in table} >= {"Flat_high", "high_variance", None}
    assert all(code == codes[label] for label, code in table if code is not None)
    assert all(label is None for label, code in table if code is None)


def test_no_aggregate_curve(run: Path) -> None:
    """Quoted: "log=False,  # side-effecting signal: we tag, no aggregate curve needed"."""
    with wl.Session(run, mode="r"):
        assert set(wl.history(kind="global")["signal"]) == {"train/clsf_sample"}


def test_mislabels_stay_high(run: Path, flipped: set[str]) -> None:
    """Quoted: "surface every Flat_high sample to hunt for mislabels"."""
    with wl.Session(run, mode="r"):
        flat = {sample for sample, label in tags().items() if label == "Flat_high"}
    assert len(flat & flipped) >= len(flipped) / 4
    assert len(flat - flipped) < len(flat & flipped)


def test_all_choices_are_known_before_a_sample_has_one(page: dict[str, Any]) -> None:
    """Quoted: "Declare the tag up-front so the UI shows all choices"."""
    run_page()
    wl.save_signals({"train/clsf_sample": [1.0]}, ["a"], step=0)
    assert wl.get_samples_by_tag("loss_shape") == []
    with wl.Session() as session:
        run_page()
        assert session.ledger.categories() == {"loss_shape": page["LOSS_SHAPE_LABELS"]}


def test_the_edits_of_a_firing_are_one_entry_for_each_label(run: Path) -> None:
    """api.md: "edits made inside a signal are grouped: one journal entry" (for each value)."""
    ledger = Ledger(run, mode="r")
    (view,) = ledger.views()
    entries = [
        entry
        for entry in journal_entries(ledger.layout.journal(view.writer), _damaged)
        if entry.verb == "category"
    ]
    assert {entry.actor for entry in entries} == {"signal"}
    assert len(entries) <= 6 * len(fired_steps())
    assert all(len(entry.rows) and (entry.previous >= -1).all() for entry in entries)


def _damaged(path: str, error: OSError) -> None:
    raise AssertionError(path) from error


t = np.arange(EVERY)
SHAPES = {
    "monotonic": 2.0 - t / 25,
    "plateaued": np.where(t < 6, 1.0 - t * 0.05, 0.75),
    "Flat_high": 2.0 + 0.01 * np.sin(t),
    "high_variance": 1.0 + 0.95 * np.sin(t / 2),
    "U_Shape": 0.6 + np.abs(t - 12) / 12,
    "Spiked": np.where(t == 18, 3.0, 1.0),
}


@pytest.mark.parametrize("log_by", ["one call a step", "one call a sample"])
def test_the_six_shapes(log_by: str) -> None:
    """Quoted: "The six shapes", each as its meaning is told there."""
    run_page()
    for step in range(EVERY):
        values = [curve[step] for curve in SHAPES.values()]
        if log_by == "one call a step":
            wl.save_signals({"train/clsf_sample": values}, list(SHAPES), step=step)
        else:
            for name, value in zip(SHAPES, values, strict=True):
                wl.save_signals({"train/clsf_sample": [value]}, [name], step=step)
    assert tags() == {name: name for name in SHAPES}
    codes = wl.samples()["signals//loss_shape_classifier"].to_list()
    assert codes == [0, 1, 2, 3, 4, 5]


def test_not_enough_history_yet() -> None:
    """Quoted: "Returns a label string, or None when there is not enough history yet"."""
    run_page()
    for step in range(EVERY):
        wl.save_signals({"train/clsf_sample": [1.0]}, ["new" if step > 20 else "old"], step=step)
    assert tags() == {"old": None, "new": None}
    latest = dict(wl.samples().select("sample_id", "signals//loss_shape_classifier").rows())
    assert latest == {"old": None, "new": -1.0}
