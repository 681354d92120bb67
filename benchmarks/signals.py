"""What a dynamic signal with history costs a sample, from the save until its value is there.

A million samples with 16 earlier values each, in files that are merged, as those of a long run
are. Batched and one by one against the same means of slices of an array; the loss-shape
classifier of the example against its own work on slices.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from common import Pair, in_turns, row, scratch_folder

import weightslab as wl
from weightslab.types import SampleIds

BATCH = 256
ROUNDS = 30
CHUNK = 50_000
EXAMPLE = Path(__file__).parents[1] / "examples" / "loss_shapes" / "main.py"


class Filled:
    """A run whose samples have `depth` values of a signal in files, and the same as an array."""

    def __init__(self, session: wl.Session, name: str, samples: int, depth: int) -> None:
        self.name = name
        self.session = session
        self.samples = samples
        self.draw = np.random.default_rng(0)
        ledger = session.ledger
        rows = ledger.register("train", range(samples))
        self.values = np.empty((samples, depth), np.float32)
        for step in range(depth):
            for start in range(0, samples, CHUNK):
                some = rows[start : start + CHUNK]
                values = self.draw.random(len(some), dtype=np.float32)
                ledger.append_samples({name: values}, some, step=step, log=False)
                self.values[some, step] = values
            ledger.flush()
        ledger.compact()
        self.step = depth

    def batch(self) -> npt.NDArray[np.int32]:
        """Samples at random, each once."""
        return self.draw.choice(self.samples, BATCH, replace=False).astype(np.int32)

    def save(self, rows: npt.NDArray[np.int32]) -> None:
        """Save a value for each of `rows` at a step of its own."""
        ids = SampleIds(rows, self.session.ledger.ids.names)
        wl.save_signals({self.name: self.values[rows, -1]}, ids, step=self.step, log=False)
        self.step += 1

    def fire(self) -> None:
        """Save a batch, and wait until its signals are computed."""
        self.save(self.batch())
        self.session.settled()

    def measured(self, floor: Callable[[], object], *, before: Callable[[], object]) -> Pair:
        """`fire` beside a floor; what happens `before` each is not counted."""
        self.fire()  # a ring is filled, an index read: once
        before()
        pairs = []
        for _ in range(ROUNDS):
            pairs.append(in_turns(floor, self.fire, rounds=1))
            before()
        return sorted(pairs, key=lambda pair: pair.ours_s)[ROUNDS // 2]


def mean_each(ctx: wl.SignalContext) -> float:
    """A sample's mean over its history."""
    values = [entry["signal_value"] for entry in ctx.subscribed_history]
    return sum(values) / len(values)


def mean_batch(ctx: Any) -> npt.NDArray[Any]:
    """The same of a batch."""
    past = ctx.history()
    return past.values.sum(1) / past.counts


def report(what: str, pair: Pair, *, floor: str, goal: str) -> None:
    """Print a row in microseconds a sample."""
    row(
        what,
        f"{pair.ours_s / BATCH * 1e6:.1f} us a sample ({pair.ratio:.2f}x)",
        floor=f"{floor} {pair.floor_s / BATCH * 1e6:.2f} us",
        goal=goal,
    )


def with_history(function: Callable[[Any], Any], *, batched: bool) -> Pair:
    """A signal that asks for its history, of a million samples."""
    with wl.Session(function.__name__) as session:
        run = Filled(session, "loss", 1_000_000, 16)
        signal = wl.signal("mean", subscribe_to="loss", include_history=True, batched=batched)
        signal(function)
        pair = run.measured(lambda: run.values[run.batch()].mean(1), before=lambda: None)
        found = session.ledger.status()["samples"], len(wl.query_signal_history("mean"))
        if found != (run.samples, BATCH * (ROUNDS + 1)):
            raise AssertionError(f"expected a value for each sample of each batch, got {found}")
    return pair


def classifier(samples: int, depth: int) -> Pair:
    """The classifier of the example, at every 25th step."""
    with wl.Session(f"page{samples}") as session:
        page = vars(_example())
        classify = page["_classify_loss_shape"]
        run = Filled(session, "train/clsf_sample", samples, depth)
        wl.register_categorical_tag("loss_shape", page["LOSS_SHAPE_LABELS"])
        one = np.zeros(1, np.int32)

        def until_it_fires() -> None:
            for _ in range(24):
                run.save(one)
            session.settled()

        def alone() -> None:
            for values in run.values[run.batch()]:
                classify(values)

        until_it_fires()
        pair = run.measured(alone, before=until_it_fires)
        tagged = len(wl.get_samples_by_tag("loss_shape"))
        if not tagged > BATCH:
            raise AssertionError(f"{tagged} samples were tagged")
    return pair


def _example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("loss_shapes", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Print what a signal costs a sample: batched, one by one, and the example's classifier."""
    slices = "means of numpy slices"
    pair = with_history(mean_batch, batched=True)
    report("signal with history, 1M samples, batched", pair, floor=slices, goal="5 us")
    pair = with_history(mean_each, batched=False)
    report("signal with history, 1M samples, one by one", pair, floor=slices, goal="20 us")
    for samples, depth, name in ((60_000, 50, "60k x 50"), (1_000_000, 16, "1M x 16")):
        report(
            f"loss-shape classifier of the example, {name}",
            classifier(samples, depth),
            floor="its own work on slices",
            goal="microseconds, no scan",
        )


if __name__ == "__main__":
    with scratch_folder():
        main()
