"""The ring of recent values: what it holds of each sample, and how it follows the ledger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.compaction.plan import FAN
from weightslab.ledger.history.recent import DEPTH, RecentRing

Triple = tuple[int, int, float]
Pairs = list[tuple[int, float]]

ROWS = st.integers(0, 40)
STEPS = st.one_of(st.integers(0, 1000), st.integers(-(2**62), 2**62))
VALUES = st.one_of(st.floats(width=32), st.floats())
CALLS = st.lists(st.lists(st.tuples(ROWS, STEPS, VALUES), max_size=100), max_size=12)


def pairs(ring: RecentRing, row: int) -> Pairs:
    """What a ring holds of one row."""
    return _listed(*ring.get(np.array([row], np.int32)))


def recent(ledger: Ledger, signal: str, row: int) -> Pairs:
    """What a ledger gives of one row."""
    return _listed(*ledger.recent(signal, np.array([row], np.int32)))


def _listed(steps: np.ndarray, values: np.ndarray, counts: np.ndarray) -> Pairs:
    (n,) = counts.tolist()
    assert steps.shape == values.shape == (1, DEPTH)
    assert not steps[0, n:].any()
    assert not values[0, n:].any()
    return list(zip(steps[0, :n].tolist(), values[0, :n].tolist(), strict=True))


@given(CALLS, st.data())
def test_a_few_values_are_those_that_all_have_there(
    calls: list[list[Triple]], data: st.DataObject
) -> None:
    """`before` gives any stretch of what `get` gives, left aligned, with 0 right of it."""
    ring = RecentRing()
    for call in calls:
        ring.put(
            np.array([row for row, _, _ in call], np.int32),
            np.array([step for _, step, _ in call], np.int64),
            np.array([value for _, _, value in call], np.float64),
        )
    rows = np.array(data.draw(st.lists(ROWS, min_size=1, max_size=8)), np.int32)
    held = ring.held(rows)
    back = np.array([data.draw(st.integers(0, int(n))) for n in held])
    counts = np.array(
        [data.draw(st.integers(0, int(n - b))) for n, b in zip(held, back, strict=True)]
    )
    steps, values = ring.before(rows, back, counts)
    assert steps.shape == values.shape == (len(rows), counts.max())
    for at, row in enumerate(rows):
        end = int(held[at] - back[at])
        few = int(counts[at])
        got = list(zip(steps[at, :few].tolist(), values[at, :few].tolist(), strict=True))
        assert repr(got) == repr(pairs(ring, int(row))[end - few : end])
        assert not steps[at, few:].any()
        assert not values[at, few:].any()


@given(CALLS)
def test_a_ring_holds_the_last_values_of_each_row(calls: list[list[Triple]]) -> None:
    """Whatever comes in whatever calls, a row's last 32 pairs come back in order and exactly."""
    ring = RecentRing()
    expected: dict[int, Pairs] = {}
    for call in calls:
        ring.put(
            np.array([row for row, _, _ in call], np.int32),
            np.array([step for _, step, _ in call], np.int64),
            np.array([value for _, _, value in call], np.float64),
        )
        for row, step, value in call:
            expected.setdefault(row, []).append((step, value))
    for row in range(42):
        # As text: NaN equals itself there, and -0.0 is not 0.0.
        assert repr(pairs(ring, row)) == repr(expected.get(row, [])[-DEPTH:])


def test_a_ring_takes_264_bytes_a_row_until_32_bits_are_not_exact() -> None:
    """Steps and values are kept in 32 bits, and in 64 from the first that needs them."""
    ring = RecentRing()
    rows = np.arange(2048, dtype=np.int32)
    ring.put(rows, 7, np.full(2048, np.nan))
    assert ring.size_bytes == 264 * 2048
    ring.put(rows[:1], 8, np.array([0.1]))
    ring.put(rows[:1], 2**31, np.array([1.0]))
    assert ring.size_bytes == (DEPTH * 16 + 8) * 2048
    assert pairs(ring, 0)[1:] == [(8, 0.1), (2**31, 1.0)]


def test_rows_come_back_in_the_order_in_which_they_were_asked_for() -> None:
    """A row may be asked for twice; one that nobody saved has no values."""
    ring = RecentRing()
    ring.put(np.array([1, 2], np.int32), 5, np.array([10.0, 20.0]))
    _, values, counts = ring.get(np.array([2, 1, 2, 99_999], np.int32))
    assert values[:, 0].tolist() == [20.0, 10.0, 20.0, 0.0]
    assert counts.tolist() == [1, 1, 1, 0]


def test_recent_values_follow_what_is_saved(tmp_path: Path) -> None:
    """The ring starts with what the history holds and takes every later value, flushed or not."""
    ledger = Ledger(tmp_path, options=LedgerOptions(flush_interval_s=3600))
    rows = ledger.register("train", range(3))
    for step in range(20):
        ledger.append_samples({"loss": np.full(3, step + 0.5), "acc": np.ones(3)}, rows, step=step)
        if step == 10:
            ledger.flush()
    assert recent(ledger, "loss", 1) == [(step, step + 0.5) for step in range(20)]
    for step in range(20, 50):
        ledger.append_samples({"loss": np.full(2, step + 0.5)}, rows[:2], step=step)
        if step == 30:
            ledger.flush()
    assert recent(ledger, "loss", 1) == [(step, step + 0.5) for step in range(18, 50)]
    assert len(recent(ledger, "loss", 2)) == 20
    ledger.close()


def test_recent_values_go_on_across_experiment_hashes(tmp_path: Path) -> None:
    """A change of the experiment does not cut a sample's recent history, from files neither."""
    ledger = Ledger(tmp_path, options=LedgerOptions(flush_interval_s=3600))
    rows = ledger.register("train", range(1))
    for step in range(6):
        ledger.edit.set_experiment("ab"[step // 2 % 2] * 24)
        ledger.append_samples({"loss": np.array([float(step)])}, rows, step=step)
    ledger.flush()
    assert recent(ledger, "loss", 0) == [(step, float(step)) for step in range(6)]
    ledger.close()


def test_recent_values_are_those_of_this_launch(tmp_path: Path) -> None:
    """What an earlier launch left in the folder is history, and not recent."""
    first = Ledger(tmp_path)
    rows = first.register("train", range(1))
    first.append_samples({"loss": np.array([1.0])}, rows, step=0)
    first.close()
    second = Ledger(tmp_path)
    assert recent(second, "loss", 0) == []
    second.append_samples({"loss": np.array([2.0])}, rows, step=0)
    assert recent(second, "loss", 0) == [(0, 2.0)]
    second.close()


def test_files_of_earlier_launches_are_not_read_for_recent_values(tmp_path: Path) -> None:
    """The first look at recent values reads this launch's files alone, merged or not."""
    options = LedgerOptions(flush_interval_s=3600, compact=False)
    first = Ledger(tmp_path, options=options)
    rows = first.register("train", range(1))
    first.append_samples({"loss": np.array([1.0])}, rows, step=0)
    first.close()
    (old,) = (tmp_path / "history/kind=sample").rglob("*.parquet")
    second = Ledger(tmp_path, options=options)
    second.append_samples({"loss": np.array([2.0])}, rows, step=1)
    second.flush()
    second.append_samples({"loss": np.array([3.0])}, rows, step=2)
    # Whoever reads it would say that it is damaged.
    old.write_bytes(b"not a segment")
    assert recent(second, "loss", 0) == [(1, 2.0), (2, 3.0)]
    assert not second.notices.counts()
    second.close()


@pytest.mark.parametrize("launches", [2, FAN])
def test_recent_values_are_found_in_what_was_merged_with_earlier_launches(
    tmp_path: Path, launches: int
) -> None:
    """A file that holds rows of several launches gives those of this one."""
    options = LedgerOptions(flush_interval_s=3600, compact=False)
    for launch in range(launches):
        ledger = Ledger(tmp_path, options=options)
        rows = ledger.register("train", range(1))
        for step in range(FAN):
            ledger.append_samples({"loss": np.array([float(launch)])}, rows, step=step)
            ledger.flush()
        ledger.compact(archive=True)
        if launch == launches - 1:
            assert recent(ledger, "loss", 0) == [(step, float(launch)) for step in range(FAN)]
        ledger.close()


def test_values_of_instances_are_not_a_samples(tmp_path: Path) -> None:
    """A signal with values of instances and of samples has the samples' in its ring."""
    ledger = Ledger(tmp_path)
    rows = ledger.register("train", range(1))
    ledger.append_samples({"iou": np.array([1.0])}, rows, step=0)
    assert recent(ledger, "iou", 0) == [(0, 1.0)]
    ledger.append_instances({"iou": np.array([2.0])}, rows, np.array([1], np.int32), step=1)
    assert recent(ledger, "iou", 0) == [(0, 1.0)]
    ledger.close()


def test_the_status_says_what_recent_values_take(tmp_path: Path) -> None:
    """Memory is taken for the signals that somebody reads, and shown."""
    ledger = Ledger(tmp_path)
    rows = ledger.register("train", range(10))
    ledger.append_samples({"loss": np.ones(10), "acc": np.ones(10)}, rows, step=0)
    assert ledger.status()["recent_bytes"] == 0
    ledger.recent("loss", rows)
    assert ledger.status()["recent_bytes"] == 264 * 1024
    ledger.close()
