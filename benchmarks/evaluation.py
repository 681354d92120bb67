"""What an evaluation costs beside a plain loop that computes the same losses.

The plain loop is what a script without WeightsLab has: model.eval(), no_grad, a loader in
order, the loss of every sample. Ours is all that a request costs, from the call to the
marker in the ledger, with a line printed to nowhere.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import torch
from common import in_turns, row, scratch_folder
from loop import mlp, random_data, resnet
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl


def measure(
    what: str, network: Callable[[], nn.Module], data: TensorDataset, batch: int, rounds: int
) -> None:
    """Evaluate `data` in both ways in turns."""
    plain_model, plain_loss = network(), nn.CrossEntropyLoss(reduction="none")

    def plain() -> torch.Tensor:
        plain_model.eval()
        losses = []
        with torch.no_grad():
            for inputs, labels in DataLoader(data, batch_size=batch):
                losses.append(plain_loss(plain_model(inputs), labels))
        return torch.cat(losses)

    def ours() -> None:
        wl.request_evaluation("val")
        with contextlib.redirect_stdout(io.StringIO()):
            assert wl.run_pending_evaluation()

    with wl.Session(f"{what} {batch}"):
        wl.watch_or_edit(network(), flag="model")
        wl.watch_or_edit(nn.CrossEntropyLoss(reduction="none"), flag="loss", signal_name="loss")
        wl.watch_or_edit(DataLoader(data, batch_size=batch), flag="data", loader_name="val")
        ours(), plain()
        pair = in_turns(plain, ours, rounds=rounds)
        again = in_turns(plain, plain, rounds=rounds)
    row(
        f"10k samples, {what}, batch {batch}",
        f"{pair.ratio:.3f}x, {(pair.ours_s - pair.floor_s) * 1e3:+.1f} ms",
        floor=f"{pair.floor_s * 1e3:.1f} ms, again {again.ratio:.3f}x",
        goal="at most 1.1x",
    )


def main() -> None:
    """Print a row for each network."""
    flat = random_data(10_000, 784)
    measure("MLP", mlp, flat, 128, rounds=25)
    measure("MLP", mlp, flat, 32, rounds=25)
    measure("residual network", resnet, random_data(10_000, 3, 16, 16), 100, rounds=3)


if __name__ == "__main__":
    with scratch_folder():
        main()
