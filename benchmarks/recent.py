"""What a dynamic signal waits for its samples' recent history: 256 of a million, 32 values each."""

from __future__ import annotations

import numpy as np
from common import in_turns, row, scratch_folder

from weightslab.ledger import Ledger
from weightslab.ledger.history.recent import DEPTH

SAMPLES = 1_000_000
BATCH = 256
ROUNDS = 400
CHUNK = 50_000


def main() -> None:
    """Print what one batch's recent history takes, with a save before it and without."""
    generator = np.random.default_rng(0)
    ledger = Ledger("run")
    rows = ledger.register("train", range(SAMPLES))
    ledger.append_samples({"loss": np.zeros(1, np.float32)}, rows[:1], step=0)
    ledger.recent("loss", rows[-1:])
    floor = np.zeros((SAMPLES, DEPTH)), np.zeros((SAMPLES, DEPTH), np.int64)
    for step in range(DEPTH):
        for start in range(0, SAMPLES, CHUNK):
            some = rows[start : start + CHUNK]
            values = generator.random(len(some), dtype=np.float32)
            ledger.append_samples({"loss": values}, some, step=step, log=False)
            floor[0][some, step] = values
            floor[1][some, step] = step
        ledger.recent("loss", rows[:1])
        ledger.flush()

    # The same samples in both, and new ones each time: what the caches hold is no history.
    batches = [generator.integers(0, SAMPLES, BATCH).astype(np.int32) for _ in range(2 * ROUNDS)]
    mine, its = iter(batches), iter(batches[::-1])
    counts = ledger.recent("loss", batches[0])[2]
    if (counts != DEPTH).any():
        raise AssertionError(f"expected {DEPTH} values of each sample, got {counts.min()}")

    def slices() -> None:
        batch = next(its)
        _ = floor[0][batch], floor[1][batch]

    pair = in_turns(slices, lambda: ledger.recent("loss", next(mine)), rounds=ROUNDS)

    def saved() -> None:
        batch = next(mine)
        ledger.append_samples({"loss": batch.astype(np.float32)}, batch, step=DEPTH, log=False)
        ledger.recent("loss", batch)

    behind = in_turns(slices, saved, rounds=ROUNDS - 1)
    status = ledger.status()
    for what, taken in (("", pair), (", after saving the batch", behind)):
        row(
            f"recent history, {BATCH} samples x {DEPTH}{what}",
            f"{taken.ours_s * 1e6:.0f} us, {taken.ours_s / BATCH * 1e6:.2f} us a sample "
            f"({taken.ratio:.2f}x)",
            floor=f"numpy slices {taken.floor_s * 1e6:.0f} us",
            goal="5 us a sample",
        )
    row(
        "memory of one signal's recent history",
        f"{status['recent_bytes'] / SAMPLES:.0f} B a sample",
        floor=f"{DEPTH} float32 and int32: {8 * DEPTH} B",
        goal="264 B",
    )
    ledger.close()


if __name__ == "__main__":
    with scratch_folder():
        main()
