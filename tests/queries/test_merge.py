"""The tables of several writers as one: which value is the newest, and what it takes to know."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import weightslab as wl
from weightslab.ledger import Ledger, LedgerOptions

if TYPE_CHECKING:
    import pytest


def test_the_newest_of_very_many_is_found_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ranks that saved the same samples: each row is the later's, in little memory."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one launch")
    options = LedgerOptions(flush_interval_s=3600, compact=False)
    n, flushes, steps = 400, 20, 40
    for rank in (0, 1):
        ledger = Ledger(tmp_path / "run", rank=rank, options=options)
        rows = ledger.register("train", range(n))
        # The first rank has the last word on the first half.
        own = rows[: n // 2] if rank == 0 else rows
        for step in range(flushes * steps):
            ledger.append_samples({"loss": np.full(n, float(rank))}, rows, step=step, log=False)
            if step % steps == steps - 1:
                ledger.flush()
        last = 10_000 - 100 * rank
        ledger.append_samples({"loss": np.full(len(own), rank + 10.0)}, own, step=last, log=False)
        ledger.close()
    history_bytes = n * flushes * steps * 24
    with wl.Session(tmp_path / "run", mode="r"):
        wl.samples(columns=["origin"])
        tracemalloc.start()
        table = wl.samples()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert table["signals//loss"].to_list() == [10.0] * (n // 2) + [11.0] * (n // 2)
    assert peak < history_bytes / 2
