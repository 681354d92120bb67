"""Whoever names a sample first, by hand or its dataset: it is one row with all its values."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from tests.property.support import FEW, folder
from weightslab.errors import WeightsLabWarning

_SIZE = 4
_SOME = st.lists(st.integers(0, _SIZE), min_size=1, max_size=3, unique=True)
_STORIES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["save", "instances", "tag", "discard", "restore"]), _SOME),
        st.tuples(st.sampled_from(["epoch", "relaunch", "flush", "look"]), st.just([])),
    ),
    min_size=1,
    max_size=8,
)


class Told:
    """What a folder must hold, by what was done to it."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.values: dict[str, list[float]] = {}
        self.boxes: dict[str, list[float]] = {}
        self.tagged: set[str] = set()
        self.discarded: set[str] = set()

    def check(self) -> None:
        frame = wl.samples().filter(annotation_id=0)
        assert sorted(frame["sample_id"]) == sorted(self.seen)
        keys = wl.samples().select("sample_id", "annotation_id").rows()
        assert len(keys) == len(set(keys))
        assert set(wl.get_samples_by_tag("t", origin=None)) == self.tagged & self.seen
        assert set(wl.get_discarded_samples(origin=None)) == self.discarded & self.seen
        for kind, expected in (("sample", self.values), ("instance", self.boxes)):
            history = wl.history(kind=kind).sort("step")
            for name in self.seen:
                own = history.filter(sample_id=name)["value"].to_list()
                assert own == expected.get(name, [])


@FEW
@given(_STORIES)
def test_a_sample_that_was_named_before_its_dataset_came_is_one_row(
    story: list[tuple[str, list[int]]],
) -> None:
    """Any order of saves, tags, epochs and launches gives one row per id and every value."""
    told = Told()
    # One beyond the dataset stays a sample of its own.
    with folder() as root, warnings.catch_warnings():
        warnings.simplefilter("ignore", WeightsLabWarning)
        session = wl.Session(root).__enter__()
        for step, (action, indices) in enumerate([*story, ("epoch", []), ("relaunch", [])]):
            names = [f"train/{index}" for index in indices]
            value = float(step)
            if action == "save":
                wl.save_signals({"loss": [value] * len(names)}, names, step=step)
                _note(told.values, names, value, told)
            elif action == "instances":
                where = list(range(len(names)))
                wl.save_instance_signals({"iou": [value] * len(names)}, names, where, step=step)
                _note(told.boxes, names, value, told)
            elif action == "tag":
                wl.tag_samples(names, "t")
                told.tagged.update(names)
            elif action in ("discard", "restore"):
                wl.discard_samples(names, discarded=action == "discard")
                if action == "discard":
                    told.discarded.update(names)
                else:
                    told.discarded.difference_update(names)
            elif action == "epoch":
                _epoch(told, step)
            elif action == "flush":
                session.flush()
            elif action == "relaunch":
                session.__exit__(None, None, None)
                if (root / "ledger.json").exists():
                    with wl.Session(root, mode="r"):
                        told.check()
                session = wl.Session(root).__enter__()
            told.check()
        session.__exit__(None, None, None)


def _note(into: dict[str, list[float]], names: list[str], value: float, told: Told) -> None:
    for name in names:
        into.setdefault(name, []).append(value)
    told.seen.update(names)


def _epoch(told: Told, step: int) -> None:
    data = TensorDataset(torch.arange(float(_SIZE)), torch.zeros(_SIZE))
    loader: Any = DataLoader(data, batch_size=2)
    loader = wl.watch_or_edit(loader, flag="data", loader_name="train", is_training=False)
    for _ in loader:
        ids = wl.current_ids()
        assert ids is not None
        wl.save_signals({"loss": [float(step)] * len(ids)}, ids, step=step)
        _note(told.values, list(ids), float(step), told)
    assert told.seen >= {f"train/{index}" for index in range(_SIZE)}
