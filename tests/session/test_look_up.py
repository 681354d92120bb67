from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import weightslab as wl
from weightslab.ledger import Ledger, LedgerOptions


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


STILL = LedgerOptions(sync_interval_s=1e6, flush_interval_s=1e6)


def test_an_id_that_another_process_knows_is_that_sample(tmp_path: Path) -> None:
    """A client means the training's samples, whether by name, by place or by bare index."""
    training = Ledger(tmp_path, options=STILL)
    rows = training.register("train", range(5))
    training.ids.rename(rows[1:2], ["img_1"])
    with wl.Session(tmp_path) as client:
        assert client.ledger.writer == "0-1"
        assert wl.discard_samples(["img_1", "train/2", "3"]) == 3
        training._others.look()
        assert training.discarded.of(rows).tolist() == [False, True, True, True, False]
        assert wl.discard_samples(["train/1"], discarded=False) == 1
        assert wl.get_discarded_samples() == ["train/2", "train/3"]
        assert wl.samples().height == 5
    training.close()


def test_a_place_that_gets_its_name_after_the_edit_is_one_sample(tmp_path: Path) -> None:
    """What a client left out by its place is listed once, under the name that it has now."""
    training = Ledger(tmp_path, options=STILL)
    rows = training.register("train", range(3))
    with wl.Session(tmp_path):
        wl.discard_samples(["train/1"])
        wl.tag_samples(["train/1"], "hard")
    training.ids.rename(rows[1:2], ["img_1"])
    training.close()
    with wl.Session(tmp_path, mode="r"):
        assert wl.get_discarded_samples() == ["img_1"]
        assert wl.get_samples_by_tag("hard") == ["img_1"]
        assert wl.samples()["sample_id"].to_list() == ["train/0", "img_1", "train/2"]
    again = Ledger(tmp_path, options=STILL)
    assert again.discarded.of(np.arange(3, dtype=np.int32)).tolist() == [False, True, False]
    again.close()


def test_a_rank_that_edits_before_its_data_comes_has_no_sample_twice(tmp_path: Path) -> None:
    """What a rank discards by an id that only another rank knew is its own sample later."""
    first = Ledger(tmp_path, options=STILL)
    first.register("train", range(4))
    with wl.Session(tmp_path) as session:
        wl.discard_samples(["train/2"])
        rows = session.ledger.register("train", range(4))
        assert session.ledger.discarded.of(rows).tolist() == [False, False, True, False]
        assert wl.get_discarded_samples() == ["train/2"]
        assert wl.samples().height == 4
    first.close()
