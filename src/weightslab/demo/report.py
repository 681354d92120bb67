"""What the demo found: the samples that the network believes least, read back from the run folder.

Shapes: N samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

import weightslab as wl
from weightslab.demo.digits import Digits
from weightslab.demo.training import LOSS

__all__ = ["Suspect", "hits", "rank", "read"]


@dataclass(frozen=True, slots=True)
class Suspect:
    """One sample of the ranking; the first is the most suspicious."""

    index: int
    """Where it stands in the data."""
    sample_id: str
    given: int
    learned: int
    """What the network said when it last saw the sample."""
    mean_loss: float
    """Over all epochs: a late, memorised low loss does not hide an early high one."""
    planted: bool


def read(folder: Path, digits: Digits) -> list[Suspect]:
    """Every sample of the closed run in `folder`, the most suspicious first."""
    with wl.Session(folder, mode="r"):
        history = wl.history(LOSS)
        samples = wl.samples()
    means = dict(history.group_by("sample_id").agg(pl.col("value").mean()).iter_rows())
    learned = dict(samples.select("sample_id", "prediction").iter_rows())
    ids = list(means)
    order = rank(np.array([means[sample_id] for sample_id in ids]))
    return [
        _suspect(ids[place], means[ids[place]], int(learned[ids[place]]), digits) for place in order
    ]


def rank(mean_loss: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Positions [N] from the highest mean loss to the lowest; NaN, a broken sample, first."""
    return np.argsort(-np.nan_to_num(mean_loss, nan=np.inf), kind="stable").astype(np.int64)


def hits(suspects: list[Suspect], k: int) -> int:
    """How many of the first `k` carry a planted error."""
    return sum(suspect.planted for suspect in suspects[:k])


def _suspect(sample_id: str, mean_loss: float, learned: int, digits: Digits) -> Suspect:
    index = int(sample_id.rpartition("/")[2])
    return Suspect(
        index=index,
        sample_id=sample_id,
        given=int(digits.given[index]),
        learned=learned,
        mean_loss=mean_loss,
        planted=bool(digits.planted[index]),
    )
