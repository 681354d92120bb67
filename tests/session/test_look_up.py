from __future__ import annotations

from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

import weightslab as wl


class Pairs(Dataset):  # type: ignore[type-arg]
    """Items whose integer id repeats, so that it cannot name them."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict[str, object]:
        return {"x": torch.tensor(float(index)), "id": index // 2}


def test_the_ids_of_the_batch_mean_its_samples_in_verbs_too(tmp_path: Path) -> None:
    """A tag on the batch's own id object goes to that batch's samples, not to equal numbers."""
    with wl.Session(tmp_path / "run"):
        loader = wl.watch_or_edit(
            DataLoader(Pairs(), batch_size=2), flag="data", loader_name="train"
        )
        for number, batch in enumerate(loader):
            if number == 2:
                wl.tag_samples(batch["id"], "last")
        assert wl.get_samples_by_tag("last") == ["train/4", "train/5"]
