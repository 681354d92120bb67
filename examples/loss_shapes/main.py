"""Loss curves of samples sorted by their shape while a training runs: which ones never moved?

Trains on the handwritten digits that ship with scikit-learn, with a tenth of the labels
flipped. A signal looks at the whole loss trajectory of each sample of every 25th batch,
classifies its shape and writes the verdict back as a tag. How often each shape was found
among the clean and among the flipped samples is drawn at the end.

    python examples/loss_shapes/main.py [--epochs 60] [--out runs/loss_shapes]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl

LOSS_SHAPE_LABELS = [
    "monotonic", "plateaued", "Flat_high",
    "high_variance", "U_Shape", "Spiked",
]  # fmt: skip
LOSS_SHAPE_CODES = {label: i for i, label in enumerate(LOSS_SHAPE_LABELS)}


def _classify_loss_shape(values):
    """Classify a per-sample loss trajectory (ordered by step).

    Returns a label string, or None when there is not enough history yet.
    All thresholds are scale-invariant (fractions of the trajectory's own
    range) and illustrative — tune them for your own task.
    """
    y = np.asarray(values, dtype=float)
    if y.size < 5:
        return None

    n = y.size
    first, last = float(y[0]), float(y[-1])
    ymin, ymax = float(y.min()), float(y.max())
    rng = max(ymax - ymin, 1e-8)
    mean = float(y.mean())

    cv = float(y.std()) / (abs(mean) + 1e-8)  # noisiness
    drop = (first - last) / (abs(first) + 1e-8)  # net improvement
    argmin = int(np.argmin(y))
    rebound = (last - ymin) / rng  # climb-back from trough
    max_up_jump = float(np.diff(y).max()) / rng  # largest single-step rise

    tail = y[int(0.6 * n) :]
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


@wl.signal(
    name="loss_shape_classifier",
    subscribe_to="train/clsf_sample",
    compute_every_n_steps=25,
    log=False,  # side-effecting signal: we tag, no aggregate curve needed
)
def classify_loss_shape(ctx):
    """Tag the sample with the shape of its full trajectory, ordered by step."""
    history = wl.query_sample_history(ctx.sample_id, signal_name="train/clsf_sample")
    series = sorted(((step, val) for _, step, val, _ in history), key=lambda t: t[0])
    values = [v for _, v in series]

    label = _classify_loss_shape(values)
    if label is None:
        return -1
    wl.set_categorical_tag([ctx.sample_id], "loss_shape", label)
    return LOSS_SHAPE_CODES[label]


def digits() -> tuple[TensorDataset, set[str]]:
    """Training data, and the ids of the samples whose label was flipped."""
    source = load_digits()
    images = torch.tensor(source.data / 16, dtype=torch.float32)
    labels = torch.tensor(source.target)
    flipped = np.random.default_rng(0).choice(len(labels), len(labels) // 10, replace=False)
    labels[flipped] = (labels[flipped] + 1 + torch.arange(len(flipped)) % 9) % 10
    return TensorDataset(images, labels), {f"train/{index}" for index in flipped.tolist()}


def train(data: TensorDataset, epochs: int, out: str) -> None:
    """Train a small network; the signal watches."""
    hp = wl.watch_or_edit(
        {"experiment_name": "loss_shapes", "root_log_dir": out, "lr": 0.05, "batch": 64},
        flag="hyperparameters",
    )
    loader = wl.watch_or_edit(
        DataLoader(data, batch_size=hp.batch, shuffle=True), flag="data", loader_name="train"
    )
    # Declared up-front, so that every choice is known before a sample has one.
    wl.register_categorical_tag("loss_shape", LOSS_SHAPE_LABELS)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    model = wl.watch_or_edit(network, flag="model")
    optimizer = wl.watch_or_edit(torch.optim.SGD(model.parameters(), lr=hp.lr), flag="optimizer")
    criterion = wl.watch_or_edit(
        nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="train/clsf_sample"
    )
    for _ in range(epochs):
        for inputs, labels, ids in loader:
            loss = criterion(model(inputs), labels, batch_ids=ids).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def draw(flipped: set[str]) -> None:
    """Print how many clean and how many flipped samples have each shape, with bars of shares."""
    shapes = dict(wl.samples(columns="tag:loss_shape").select("sample_id", "tag:loss_shape").rows())
    print(f"{'loss shape':<15}{'clean':>6}  {'':<22}{'flipped':>8}")
    for label in (*LOSS_SHAPE_LABELS, None):
        line = f"{label or 'not looked at':<15}"
        for group, width in ((shapes.keys() - flipped, 6), (flipped, 8)):
            count = sum(shapes[name] == label for name in group)
            line += f"{count:>{width}}  {'█' * round(20 * count / len(group)):<22}"
        print(line.rstrip())
    flat = {name for name, label in shapes.items() if label == "Flat_high"}
    print(f"of {len(flat)} samples that stayed high, {len(flat & flipped)} have a flipped label")


def main() -> None:
    """Train while the signal tags, and draw what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--out", default="runs/loss_shapes")
    options = parser.parse_args()

    torch.manual_seed(0)
    data, flipped = digits()
    train(data, options.epochs, options.out)
    draw(flipped)
    print(f"the table of samples: {wl.write_dataframe(format='csv')}")


if __name__ == "__main__":
    main()
