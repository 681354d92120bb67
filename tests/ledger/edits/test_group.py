"""Edits that are collected: what they count, what they write, and what becomes of them."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ledger.disks import FaultyFiles
from tests.ledger.support import run_script
from tests.property.support import FEW, folder
from weightslab.errors import ReadOnlyError, WeightsLabWarning
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.edits.group import EditGroup
from weightslab.ledger.edits.merged import DISCARD, Key
from weightslab.queries.samples import samples_frame

STILL = LedgerOptions(sync_interval_s=1e6, flush_interval_s=1e6)
SHAPE = Key("category", "shape")
HARD = Key("tag", "hard")
SAMPLES = 5


@pytest.fixture
def files() -> FaultyFiles:
    return FaultyFiles()


@pytest.fixture
def ledger(tmp_path: Path, files: FaultyFiles) -> Ledger:
    ledger = Ledger(tmp_path / "run", options=STILL, files=files)
    ledger.register("train", range(SAMPLES))
    return ledger


def group_of(ledger: Ledger) -> EditGroup:
    return EditGroup(lambda: ledger.edit, ledger.ids, actor="signal")


def journal(ledger: Ledger) -> list[tuple[str, str | None, str | None, list[int]]]:
    """Verb, name, value and rows of the edits, in order."""
    entries = ledger.views()[0].store.pending.journal
    return [(e.verb, e.name, e.value, e.rows.tolist()) for e in entries]


def table(ledger: Ledger) -> list[dict[str, object]]:
    return samples_frame(ledger).drop("sample_id", "annotation_id", "origin").to_dicts()


def test_one_entry_for_each_value_in_order_of_first_mention(ledger: Ledger) -> None:
    """Edits sample by sample become one entry of each verb, tag and value."""
    group = group_of(ledger)
    for row, value in enumerate(("u", "v", "u", "v", "u")):
        group.put(SHAPE, [row], value)
        group.put(HARD, [row], "true")
    assert journal(ledger) == []
    group.finish()
    assert journal(ledger) == [
        ("category", "shape", "u", [0, 2, 4]),
        ("tag", "hard", "true", [0, 1, 2, 3, 4]),
        ("category", "shape", "v", [1, 3]),
    ]


def test_one_sync_for_all(ledger: Ledger, files: FaultyFiles) -> None:
    """However many tags and values there are, the disk is asked once."""
    group = group_of(ledger)
    for row in range(SAMPLES):
        group.put(SHAPE, [row], f"value {row}")
        group.put(DISCARD, [row], "true")
    group.apply()
    before = files.counts["sync"]
    group.put(HARD, [0], "true")
    group.finish()
    assert files.counts["sync"] == before + 1


def test_what_stays_as_it_is_writes_and_syncs_nothing(ledger: Ledger, files: FaultyFiles) -> None:
    """An edit that changes nothing leaves the journal and the disk alone."""
    ledger.edit.categorize(np.array([0, 1], np.int32), "shape", "u")
    written, synced = journal(ledger), files.counts["sync"]
    group = group_of(ledger)
    assert [group.put(SHAPE, [row], "u") for row in (0, 1)] == [0, 0]
    group.put(DISCARD, [2], "false")
    group.finish()
    assert (journal(ledger), files.counts["sync"]) == (written, synced)


def test_the_last_edit_of_a_sample_wins(ledger: Ledger) -> None:
    """A sample that was given two values has the last one, and is in one entry."""
    group = group_of(ledger)
    assert group.put(SHAPE, [0, 1], "u") == 2
    assert group.put(SHAPE, [0], "v") == 1
    group.finish()
    assert [row["tag:shape"] for row in table(ledger)] == ["v", "u", None, None, None]
    assert journal(ledger) == [
        ("category", "shape", "u", [1]),
        ("category", "shape", "v", [0]),
    ]


def test_what_is_applied_is_seen_by_all_and_counted_on(ledger: Ledger) -> None:
    """After `apply` the table has it, and later edits count from there."""
    group = group_of(ledger)
    group.put(HARD, [0], "true")
    group.apply()
    assert [row["tag:hard"] for row in table(ledger)][:2] == [True, False]
    assert group.put(HARD, [0, 1], "true") == 1
    assert group.put(HARD, [0], "false") == 1
    group.finish()
    assert [row["tag:hard"] for row in table(ledger)][:2] == [False, True]


def test_who_did_it_stands_in_the_journal(ledger: Ledger) -> None:
    """The journal says that it was a signal."""
    group = group_of(ledger)
    group.put(HARD, [0], "true")
    group.finish()
    assert [entry.actor for entry in ledger.views()[0].store.pending.journal] == ["signal"]


def test_edits_of_other_processes_count(tmp_path: Path, ledger: Ledger) -> None:
    """What another writer has edited is what a sample holds, and the later edit wins."""
    other = Ledger(tmp_path / "run", options=STILL)
    other.register("train", range(SAMPLES))
    other.edit.categorize(np.array([0, 1], np.int32), "shape", "theirs")
    other.edit.discard(np.array([3], np.int32), True)
    ledger.edit.look()
    group = group_of(ledger)
    assert group.put(SHAPE, [0, 1, 2], "theirs") == 1
    assert group.put(SHAPE, [1], "ours") == 1
    assert group.put(DISCARD, [3], "false") == 1
    group.finish()
    assert [row["tag:shape"] for row in table(ledger)][:3] == ["theirs", "ours", "theirs"]
    assert ledger.discarded.count == 0
    other.edit.look()
    assert other.edit.held(SHAPE, [0, 1, 2, 4]) == ["theirs", "ours", "theirs", None]
    other.close()
    ledger.close()


def test_a_sample_that_appears_meanwhile_gets_its_edit(ledger: Ledger) -> None:
    """An id that nobody knew gets a row of its own when its dataset comes: the edit follows."""
    group = group_of(ledger)
    rows = ledger.ids.add(["late/1"], None)
    group.note_unseen(rows)
    group.put(HARD, rows.tolist(), "true")
    group.put(SHAPE, rows.tolist(), "u")
    late = ledger.register("late", range(3))
    group.finish()
    assert ledger.edit.held(HARD, late.tolist()) == ["false", "true", "false"]
    assert ledger.edit.held(SHAPE, late.tolist()) == [None, "u", None]


def test_a_disk_that_refuses_is_said_once_for_all(ledger: Ledger, files: FaultyFiles) -> None:
    """Edits that could not be flushed apply and wait, which is said with their number."""
    group = group_of(ledger)
    group.put(HARD, [0, 1], "true")
    group.put(SHAPE, [4], "u")
    files.fail("sync", 0, errno.EIO)
    with pytest.warns(WeightsLabWarning) as caught:
        group.finish()
    said = [str(warning.message) for warning in caught]
    assert sum("what a signal edited (3 values) could not be put" in text for text in said) == 1
    assert ledger.edit.held(HARD, [1]) == ["true"]


def test_a_closed_ledger_refuses(ledger: Ledger) -> None:
    """What comes too late raises rather than vanish."""
    group = group_of(ledger)
    group.put(HARD, [0], "true")
    ledger.close()
    with pytest.raises(ReadOnlyError, match="is closed"):
        group.finish()


DIES = """
import os, signal, sys
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.edits.group import EditGroup
from weightslab.ledger.edits.merged import DISCARD, Key
ledger = Ledger(sys.argv[1], options=LedgerOptions(sync_interval_s=1e6, flush_interval_s=1e6))
ledger.register("train", range(5))
group = EditGroup(lambda: ledger.edit, ledger.ids, actor="signal")
group.put(Key("category", "shape"), [0, 1], "u")
group.put(Key("tag", "hard"), [2], "true")
group.put(DISCARD, [3], "true")
group.finish()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_behind_it_loses_nothing(tmp_path: Path) -> None:
    """Kill -9 after `finish`: every tag, category and discard is there."""
    ended = run_script(DIES, tmp_path / "run", path=True)
    assert ended.returncode == -9, ended.stderr
    assert table(Ledger(tmp_path / "run", mode="r")) == [
        {"discarded": row == 3, "tag:hard": row == 2, "tag:shape": "u" if row < 2 else None}
        for row in range(SAMPLES)
    ]


_VALUES = {
    DISCARD: ("true", "false"),
    HARD: ("true", "false"),
    SHAPE: ("x", "y", None),
}
_EDITS = st.lists(
    st.sampled_from(list(_VALUES)).flatmap(
        lambda key: st.tuples(
            st.just(key),
            st.lists(st.integers(0, SAMPLES - 1), max_size=4),
            st.sampled_from(_VALUES[key]),
        )
    ),
    max_size=12,
)


@FEW
@given(before=_EDITS, within=_EDITS, apply_at=st.integers(0, 12))
def test_collected_or_one_by_one_is_the_same(
    before: list[tuple[Key, list[int], str | None]],
    within: list[tuple[Key, list[int], str | None]],
    apply_at: int,
) -> None:
    """Each edit counts the same changes as if it were made at once, and the table ends the same."""
    with folder() as place:
        one_by_one, collected = (Ledger(place / name, options=STILL) for name in ("one", "all"))
        for ledger in (one_by_one, collected):
            ledger.register("train", range(SAMPLES))
            for key, rows, value in before:
                ledger.edit.put(key, np.array(rows, np.int32), value)
        group = group_of(collected)
        for at, (key, rows, value) in enumerate(within):
            if at == apply_at:
                group.apply()
            expected = one_by_one.edit.put(key, np.array(rows, np.int32), value)
            assert group.put(key, rows, value) == expected
        group.finish()
        assert table(collected) == table(one_by_one)
        assert collected.categories() == one_by_one.categories()
        one_by_one.close()
        collected.close()
