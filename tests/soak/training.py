"""A small training run that saves without pause: the process that is watched.

Run by `tests.soak.suite`: `python -m tests.soak.training FOLDER SECONDS`. At its end it writes
`truth.json`: what the run folder must hold.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from weightslab.ledger import LedgerOptions

__all__ = ["SAMPLES", "Training", "hurried"]

SAMPLES = 4_096
_BATCH = 128
_STEP_S = 0.02
"""A step takes at least this long: what is looked for is growth, not speed."""
_TAG_EVERY, _DISCARD_EVERY, _ARRAYS_EVERY, _CURVE_EVERY = 7, 31, 3, 5
_EDITED = 16


def hurried() -> LedgerOptions:
    """What happens in hours, in minutes."""
    return LedgerOptions(
        flush_interval_s=0.5, sync_interval_s=0.2, base_interval_s=5.0, log_bytes=1 << 20
    )


class Training:
    """The loop, and what it knows to have saved."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        inputs = torch.randn(SAMPLES, 32, generator=draw)
        labels = torch.randint(10, (SAMPLES,), generator=draw)
        data = TensorDataset(inputs, labels)
        loader = DataLoader(data, _BATCH, shuffle=True, num_workers=2, persistent_workers=True)
        self.loader = wl.watch_or_edit(loader, flag="data", loader_name="train")
        self.criterion = wl.watch_or_edit(
            nn.CrossEntropyLoss(), flag="loss", signal_name="train/loss"
        )
        self.model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)
        self.step = 0
        self.seen = np.zeros(SAMPLES, np.int64)
        self.last_step = np.full(SAMPLES, -1)
        self.last_array = np.full(SAMPLES, -1)
        self.tagged = np.zeros(SAMPLES, np.bool_)
        self.discarded = np.zeros(SAMPLES, np.bool_)

    def run(self, seconds: float) -> None:
        """Train for `seconds`."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for inputs, labels, ids in self.loader:
                begun = time.monotonic()
                self._train(inputs, labels, ids)
                self._save(ids)
                self._edit()
                self.step += 1
                if begun > until:
                    break
                time.sleep(max(0.0, _STEP_S - (time.monotonic() - begun)))

    def _train(self, inputs: torch.Tensor, labels: torch.Tensor, ids: Iterable[str]) -> None:
        loss = self.criterion(self.model(inputs), labels, batch_ids=ids)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def _save(self, ids: Iterable[str]) -> None:
        places = np.array([int(str(name).removeprefix("train/")) for name in ids])
        n, step = len(places), self.step
        arrays = None
        if step % _ARRAYS_EVERY == 0:
            arrays = np.full((n, 8), step)
            self.last_array[places] = step
        wl.save_signals({"step": np.full(n, step)}, ids, preds_raw=arrays, step=step)
        twice = np.repeat(np.arange(n), 2)
        wl.save_instance_signals({"iou": np.full(2 * n, step)}, ids, twice, step=step)
        if step % _CURVE_EVERY == 0:
            wl.save_signals({"lr": 1.0 / (1 + step)}, None, step=step)
        self.seen[places] += 1
        self.last_step[places] = step

    def _edit(self) -> None:
        places = (np.arange(_EDITED) * 257 + self.step * 13) % SAMPLES
        ids = [f"train/{place}" for place in places]
        present = self.step // 500 % 2 == 0
        if self.step % _TAG_EVERY == 0:
            wl.tag_samples(ids, "odd", "add" if present else "remove")
            self.tagged[places] = present
        if self.step % _DISCARD_EVERY == 0:
            # Always the same ones: each set of discarded samples is an experiment with
            # folders of its own, and their number may grow with what the user does.
            discarded = self.step // _DISCARD_EVERY % 2 == 0
            wl.discard_samples([f"train/{place}" for place in range(_EDITED)], discarded)
            self.discarded[:_EDITED] = discarded

    def truth(self) -> dict[str, list[int]]:
        """What must be found, by place of the sample."""
        return {
            "seen": self.seen.tolist(),
            "last_step": self.last_step.tolist(),
            "last_array": self.last_array.tolist(),
            "tagged": self.tagged.tolist(),
            "discarded": self.discarded.tolist(),
            "steps": [self.step],
        }


def main(folder: Path, seconds: float) -> None:
    """Train, close, and note what must be found."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with wl.Session(folder / "run", options=hurried()) as session:
        training = Training()
        training.run(seconds)
        said = session.notices.messages()
    assert not said, f"the session said: {said}"
    (folder / "truth.json").write_text(json.dumps(training.truth()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
