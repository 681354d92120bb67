"""One small training run with everything in it, and what must be in its folder afterwards."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from weightslab.errors import WeightsLabWarning
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.arrays.reader import held_keys, read_arrays
from weightslab.ledger.files import Files
from weightslab.ledger.store import Store
from weightslab.notices import Notices

OPTIONS = LedgerOptions(
    # The thread rests: everything happens where the story says so.
    flush_interval_s=1e9,
    sync_interval_s=1e9,
    base_interval_s=0.0,
    log_bytes=1 << 10,
)
SAMPLES = ("x", "y", "z")
LARGE = ("preds_raw", "x")
"""What is kept outside the log."""


@dataclass
class Told:
    """What a run saved, or what a folder holds."""

    values: Counter[Hashable] = field(default_factory=Counter)
    """(signal, sample, annotation, step, value); of scalars without sample."""
    edits: dict[Hashable, Any] = field(default_factory=dict)
    """What is true now by ("tag" | "discarded" | "grade", sample)."""
    arrays: dict[Hashable, Any] = field(default_factory=dict)
    """Latest array by (field, sample)."""

    def holds(self, other: Told) -> bool:
        """Whether all of `other` is here, or newer."""
        return (
            other.values <= self.values
            and other.edits.items() <= self.edits.items()
            and all(value <= self.arrays.get(key, -1) for key, value in other.arrays.items())
        )

    def without_large(self, former: Told) -> Told:
        """All but large arrays, of which those of `former` stay: they are not in the log."""
        kept = self.copy()
        kept.arrays.pop(LARGE, None)
        kept.arrays.update((key, v) for key, v in former.arrays.items() if key == LARGE)
        return kept

    def copy(self) -> Told:
        return Told(Counter(self.values), dict(self.edits), dict(self.arrays))


def open_run(root: Path, files: Files, notices: Notices | None = None) -> Ledger:
    return Ledger(root, files=files, options=OPTIONS, notices=notices or Notices())


def tell_step(ledger: Ledger, step: int, told: Told) -> Iterator[Told]:
    """Save one step of everything; yields after each thing that was saved."""
    new = f"new{step}"
    names = [*SAMPLES, new]
    rows = ledger.ids.add(names, "train")
    loss = np.arange(len(names), dtype=np.float32) + 10 * step
    ledger.append_samples({"loss": loss}, rows, step=step)
    for name, value in zip(names, loss.tolist(), strict=True):
        told.values["loss", name, 0, step, value] += 1
    yield told
    ledger.edit.tag(rows[3:], "seen", True)
    told.edits["seen", new] = True
    yield told
    ledger.edit.discard(rows[3:], True)
    told.edits["discarded", new] = True
    yield told
    ledger.edit.categorize(rows[3:], "grade", "good")
    told.edits["grade", new] = "good"
    yield told
    ledger.append_instances(
        {"iou": np.array([step, step + 0.5])},
        rows[[0, 0]],
        np.array([1, 2], np.int32),
        step=step,
        log=False,
    )
    told.values["iou", "x", 1, step, float(step)] += 1
    told.values["iou", "x", 2, step, step + 0.5] += 1
    yield told
    ledger.append_scalars({"lr": step / 4}, step=step)
    told.values["lr", step, step / 4] += 1
    yield told
    ledger.append_arrays("preds", rows, np.full(len(rows), step))
    told.arrays.update({("preds", name): step for name in names})
    ledger.append_arrays("preds_raw", rows[:1], np.full((1, 3000), step, np.float32))
    told.arrays[LARGE] = step
    yield told


def tell(root: Path, files: Files, told: Told, notices: Notices) -> Iterator[str]:
    """The whole run: a launch of three steps, and one of one.

    Yields before each "open", "flush" and "close", "saved" behind each thing that is saved.
    """
    yield "open"
    ledger = open_run(root, files, notices)
    for step in range(3):
        for _ in tell_step(ledger, step, told):
            yield "saved"
        yield "flush"
        ledger.flush()
    yield "close"
    ledger.close()
    yield "open"
    ledger = open_run(root, files, notices)
    for _ in tell_step(ledger, 3, told):
        yield "saved"
    yield "close"
    ledger.close()


def saved_in_order(found: Told) -> Iterator[bool]:
    """For each thing that the story saves, in order, whether it is there; large arrays aside."""
    for step in range(4):
        new = f"new{step}"
        for at, name in enumerate((*SAMPLES, new)):
            yield bool(found.values["loss", name, 0, step, 10.0 * step + at])
        for edit in ("seen", "discarded", "grade"):
            yield (edit, new) in found.edits
        for annotation, value in ((1, step), (2, step + 0.5)):
            yield bool(found.values["iou", "x", annotation, step, value])
        yield bool(found.values["lr", step, step / 4])
        yield ("preds", new) in found.arrays


def check_run(root: Path, acknowledged: Told, whole: Told) -> None:
    """What was acknowledged is there; nothing is wrong or twice; what is missing is the end."""
    if not (root / "ledger.json").exists():
        assert acknowledged == Told()
        return
    with warnings.catch_warnings():
        # That a log lost its end in the middle of a record may be said.
        warnings.simplefilter("ignore", WeightsLabWarning)
        found = read_run(root)
    assert found.holds(acknowledged)
    assert whole.holds(found)
    there = list(saved_in_order(found))
    assert there == sorted(there, reverse=True)


def read_run(root: Path, notices: Notices | None = None) -> Told:
    """What a folder holds, of all its writers."""
    ledger = Ledger(root, mode="r", notices=notices or Notices())
    told = Told()
    for view in ledger.views():
        store = view.store
        for kind in ("sample", "instance", "global"):
            for key, chunk in store.history.read(kind):
                _take_values(told, kind, key.signal, chunk.columns, store.ids.name)
        for row in range(len(store.ids)):
            told.edits.update(_edits(store, row))
        for name in ("preds", "preds_raw"):
            for key, array in read_arrays(store, name, held_keys(store, name)).items():
                (value,) = np.unique(array).tolist()
                told.arrays[name, store.ids.name(key >> 32)] = int(value)
    return told


def _take_values(told: Told, kind: str, signal: str, columns: dict[str, Any], name: Any) -> None:
    steps, values = columns["step"].tolist(), columns["value"].tolist()
    if kind == "global":
        if signal == "lr":
            told.values.update((signal, s, v) for s, v in zip(steps, values, strict=True))
        return
    rows = columns["sample"].tolist()
    annotations = columns["annotation_id"].tolist() if kind == "instance" else [0] * len(rows)
    for row, annotation, step, value in zip(rows, annotations, steps, values, strict=True):
        told.values[signal, name(row), annotation, step, value] += 1


def _edits(store: Store, row: int) -> Iterator[tuple[Hashable, Any]]:
    name, samples = store.ids.name(row), store.samples
    for tag, column in samples.tags.items():
        if row < len(column) and column[row]:
            yield (tag, name), True
    if row < len(samples.discarded) and samples.discarded[row]:
        yield ("discarded", name), True
    for tag, category in samples.categories.items():
        code = int(category.column(row + 1)[row])
        if code >= 0:
            yield (tag, name), category.categories[code]
