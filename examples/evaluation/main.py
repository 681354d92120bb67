"""A raw PyTorch loop that is evaluated on request while it trains, and goes on as if it was not.

Trains on the handwritten digits that ship with scikit-learn. After each epoch it asks for
an evaluation of the held-out digits, which runs before the next batch, with the model in
evaluation mode and nothing of the training touched; at the end for one of only those
samples that it tagged as hard. Each is printed as it ends, and stands in the run's history
beside the training, under the experiment hash with its number.

    python examples/evaluation/main.py [--epochs 5] [--out runs/evaluation]
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Training and validation data."""
    images, labels = load_digits(return_X_y=True)
    data = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, val = order[:1400], order[1400:]
    return TensorDataset(*(part[train] for part in data)), TensorDataset(*(p[val] for p in data))


def is_right(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """1 for each sample [B] whose class is the largest logit, else 0; logits [B, C]."""
    return (logits.argmax(1) == labels).float()


def main() -> None:
    """Train, ask for evaluations, and print the markers that they left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", default="runs/evaluation")
    options = parser.parse_args()

    torch.manual_seed(0)
    train_data, val_data = digits()
    wl.watch_or_edit(
        {"experiment_name": "evaluation", "root_log_dir": options.out, "lr": 3e-3}, flag="hp"
    )
    train = wl.watch_or_edit(
        DataLoader(train_data, batch_size=64, shuffle=True), flag="data", loader_name="train"
    )
    wl.watch_or_edit(DataLoader(val_data, batch_size=256), flag="data", loader_name="val")
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
    model = wl.watch_or_edit(network, flag="model")
    optimizer = wl.watch_or_edit(torch.optim.Adam(model.parameters(), lr=3e-3), flag="optimizer")
    criterion = wl.watch_or_edit(nn.CrossEntropyLoss(), flag="loss", signal_name="loss")
    right = wl.watch_or_edit(is_right, flag="metric", name="accuracy")

    @wl.eval_fn
    def evaluate(loader: DataLoader) -> None:
        model.eval()
        for inputs, labels, ids in loader:
            logits = model(inputs)
            criterion(logits, labels, batch_ids=ids)
            right(logits, labels, batch_ids=ids)

    for _ in range(options.epochs):
        for inputs, labels, ids in train:
            loss = criterion(model(inputs), labels, batch_ids=ids)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        wl.request_evaluation("val")
    wl.run_pending_evaluation()  # no batch follows the last epoch: here and now

    latest = wl.samples(origin="val").sort("signals//loss", descending=True)
    wl.tag_samples(latest["sample_id"].head(20).to_list(), "hard")
    wl.request_evaluation("val", tags=["hard"])
    wl.run_pending_evaluation()

    for name, step, value in markers("accuracy"):
        print(f"marker {name} @ step {step}: accuracy {value:.3f}")


def markers(signal: str) -> list[tuple[str, int, float]]:
    """Hash with number, step and value of each evaluation of a signal."""
    rows = wl.history(signal, kind="global").select("experiment_hash", "step", "value").rows()
    return [row for row in rows if "_" in row[0]]


if __name__ == "__main__":
    main()
