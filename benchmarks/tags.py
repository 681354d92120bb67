"""What tagging 100,000 of a million samples takes, on the disk when the call returns."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
from common import in_turns, row, scratch_folder
from torch.utils.data import DataLoader, Dataset

import weightslab as wl

SAMPLES = 1_000_000
TAGGED = 100_000
ROUNDS = 7


class Sized(Dataset[int]):
    """A million samples that nobody reads."""

    def __len__(self) -> int:
        """Number of samples."""
        return SAMPLES

    def __getitem__(self, index: int) -> int:
        """A sample."""
        return index


def write_mask(path: Path, chosen: np.ndarray) -> None:
    """The bare work: a mask, written and synced."""
    mask = np.zeros(SAMPLES, np.bool_)
    mask[chosen] = True
    with path.open("wb") as file:
        file.write(mask)
        file.flush()
        os.fsync(file.fileno())


def main() -> None:
    """Print what tagging takes by rows of a loader's dataset, and by ids as strings."""
    draw = np.random.default_rng(0)
    chosen = np.sort(draw.choice(SAMPLES, TAGGED, replace=False)).astype(np.int32)
    names = [f"train/{place}" for place in chosen.tolist()]
    fresh = (f"tag{number}" for number in itertools.count())
    with wl.Session("run") as session:
        wl.watch_or_edit(DataLoader(Sized()), flag="data", loader_name="train")
        rows = session.ledger.register("train", range(SAMPLES))[chosen]
        for what, tag in (
            ("by row", lambda: session.ledger.edit.tag(rows, next(fresh), True)),
            ("by id", lambda: wl.tag_samples(names, next(fresh))),
        ):
            pair = in_turns(lambda: write_mask(Path("mask"), chosen), tag, rounds=ROUNDS)
            row(
                f"tag {TAGGED:,} of {SAMPLES:,}, {what}",
                f"{pair.ours_s * 1e3:.1f} ms ({pair.ratio:.1f}x)",
                floor=f"a mask and an fsync {pair.floor_s * 1e3:.2f} ms",
                goal="at most 50 ms",
            )
    with wl.Session("run", mode="r"):
        found = len(wl.get_samples_by_tag("tag0"))
    if found != TAGGED:
        raise AssertionError(f"{TAGGED} samples were tagged, {found} came back")


if __name__ == "__main__":
    with scratch_folder():
        main()
