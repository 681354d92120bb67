"""A raw PyTorch loop whose every sample is on record: find label errors, leave them out, go on.

Trains on the handwritten digits that ship with scikit-learn, with 5 % of the labels
flipped. After half of the epochs the samples with the highest mean loss are tagged
and discarded while the loop runs; the validation accuracy of both halves is printed.

    python examples/raw_loop/main.py [--epochs 10] [--out runs/raw_loop]
"""

from __future__ import annotations

import argparse

import numpy as np
import polars as pl
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl


def digits() -> tuple[TensorDataset, TensorDataset, set[str]]:
    """Training and validation data, and the ids of the samples whose label was flipped."""
    source = load_digits()
    images = torch.tensor(source.data / 16, dtype=torch.float32)
    labels = torch.tensor(source.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, val = order[:1400], order[1400:]
    given = labels[train].clone()
    flipped = np.random.default_rng(0).choice(len(train), len(train) // 20, replace=False)
    given[flipped] = (given[flipped] + 1 + torch.arange(len(flipped)) % 9) % 10
    return (
        TensorDataset(images[train], given),
        TensorDataset(images[val], labels[val]),
        {f"train/{index}" for index in flipped.tolist()},
    )


def accuracy(model: nn.Module, loader: DataLoader, criterion: nn.Module) -> float:
    """Share of the validation samples that the model gets right; their losses are kept too."""
    right = count = 0
    model.eval()
    with torch.no_grad():
        for inputs, labels, ids in loader:
            logits = model(inputs)
            criterion(logits, labels, batch_ids=ids)
            right += int((logits.argmax(1) == labels).sum())
            count += len(labels)
    model.train()
    return right / count


def suspects(count: int) -> list[str]:
    """Ids of the `count` training samples with the highest mean loss so far."""
    mean = wl.history("train/loss").group_by("sample_id").agg(pl.col("value").mean())
    return mean.sort("value", descending=True)["sample_id"].head(count).to_list()


def main() -> None:
    """Train, curate in the middle, and print what that did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", default="runs/raw_loop")
    options = parser.parse_args()

    torch.manual_seed(0)
    train_data, val_data, planted = digits()
    hp = wl.watch_or_edit(
        {"experiment_name": "raw_loop", "root_log_dir": options.out, "lr": 3e-3, "batch": 64},
        flag="hyperparameters",
    )
    train = wl.watch_or_edit(
        DataLoader(train_data, batch_size=hp.batch, shuffle=True),
        flag="data",
        loader_name="train",
    )
    val = wl.watch_or_edit(DataLoader(val_data, batch_size=256), flag="data", loader_name="val")
    network = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    model = wl.watch_or_edit(network, flag="model")
    optimizer = wl.watch_or_edit(torch.optim.Adam(model.parameters(), lr=hp.lr), flag="optimizer")
    train_loss = wl.watch_or_edit(nn.CrossEntropyLoss(), flag="loss", signal_name="train/loss")
    val_loss = wl.watch_or_edit(nn.CrossEntropyLoss(), flag="loss", signal_name="val/loss")

    for epoch in range(options.epochs):
        for inputs, labels, ids in train:
            logits = model(inputs)
            loss = train_loss(logits, labels, batch_ids=ids)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            wl.save_signals({}, ids, targets=labels, preds=logits.argmax(1))
        print(f"epoch {epoch + 1}: validation accuracy {accuracy(model, val, val_loss):.3f}")
        if epoch + 1 == options.epochs // 2:
            found = suspects(len(planted))
            wl.tag_samples(found, "suspect")
            wl.discard_samples(found)
            hits = len(planted.intersection(found))
            print(f"discarded {len(found)} suspects; {hits} of {len(planted)} planted errors")

    print(f"the table of samples: {wl.write_dataframe(format='csv')}")


if __name__ == "__main__":
    main()
