"""The edits of several writers, merged, also where a journal is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from weightslab.errors import WeightsLabWarning
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.queries.samples import samples_frame

SLOW = LedgerOptions(flush_interval_s=1e6, sync_interval_s=1e6)


def test_a_damaged_journal_of_one_writer_hides_its_own_edits_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of two writers opens, says which file is damaged, and has the other's edits."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one launch")
    both = [Ledger(tmp_path, rank=rank, options=SLOW) for rank in (0, 1)]
    for rank, ledger in enumerate(both):
        rows = ledger.register("train", range(3))
        ledger.edit.tag(rows[rank : rank + 1], f"t{rank}", True)
    for ledger in both:
        ledger.close()
    (journal,) = (tmp_path / "journal/writer=0-0").iterdir()
    data = bytearray(journal.read_bytes())
    data[len(data) // 3] ^= 0xFF
    journal.write_bytes(data)
    reader = Ledger(tmp_path, mode="r")
    with pytest.warns(WeightsLabWarning, match=journal.name):
        table = samples_frame(reader)
    assert table.filter("tag:t1")["sample_id"].to_list() == ["train/1"]
