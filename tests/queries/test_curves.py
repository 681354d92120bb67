"""Curves thinned for a screen: extremes, ends and means stay right at any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from weightslab.errors import InputError
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.compaction.plan import FAN
from weightslab.ledger.history.pyramid import blocks_of, packed, unpacked
from weightslab.ledger.history.segments import Chunk, read_footer
from weightslab.queries.curves import curve_buckets
from weightslab.queries.history import history_frame

POINTS = 40_000


def curve(values: np.ndarray, launch: int = 1, start: int = 0) -> Chunk:
    n = len(values)
    columns = {"step": np.arange(start, start + n), "count": np.zeros(n, np.int64)}
    columns |= dict.fromkeys(("value", "min", "max"), values)
    return Chunk("global", columns | {"launch": np.full(n, launch, np.int32)})


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    dice = np.random.default_rng(0)
    return np.cumsum(dice.standard_normal(POINTS))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> Path:
    """A merged curve of 40,000 points in FAN flushes, and a tail behind it."""
    root = tmp_path_factory.mktemp("curves") / "run"
    ledger = Ledger(root, options=LedgerOptions(flush_interval_s=3600, compact=False))
    for part in np.array_split(np.arange(POINTS), FAN):
        for step in part.tolist():
            ledger.append_scalars({"loss": float(values[step])}, step=step)
        ledger.flush()
    assert ledger.compact() == 1
    ledger.close()
    return root


def test_few_points_come_as_they_are(run: Path, values: np.ndarray) -> None:
    """Where there are no more points than buckets, each is a row of its own, to the last bit."""
    frame = curve_buckets(Ledger(run, mode="r"), "loss", start=100, stop=199, buckets=100)
    assert frame["step"].to_list() == list(range(100, 200))
    assert frame["value"].to_numpy().tobytes() == values[100:200].tobytes()
    assert frame["points"].to_list() == [1] * 100


@pytest.mark.parametrize("buckets", [1, 7, 20, 100, 3000])
def test_a_thinned_curve_keeps_extremes_and_ends(
    run: Path, values: np.ndarray, buckets: int
) -> None:
    """From blocks and from points: extremes, ends, count and mean are the curve's."""
    frame = curve_buckets(Ledger(run, mode="r"), "loss", buckets=buckets)
    assert 1 <= len(frame) <= buckets
    assert (frame["step"][0], frame["last_step"][-1]) == (0, POINTS - 1)
    assert frame["min"].min() == values.min()
    assert frame["max"].max() == values.max()
    assert frame["points"].sum() == POINTS
    mean = (frame["value"] * frame["points"]).sum() / POINTS
    assert mean == pytest.approx(values.mean())
    assert frame["step"].is_sorted()


def test_buckets_are_equal_shares_of_the_steps(run: Path, values: np.ndarray) -> None:
    """Made of points, each bucket holds exactly the steps of its share."""
    frame = curve_buckets(Ledger(run, mode="r"), "loss", start=1000, stop=1999, buckets=10)
    assert frame["step"].to_list() == list(range(1000, 2000, 100))
    assert frame["last_step"].to_list() == list(range(1099, 2000, 100))
    expected = [values[s : s + 100].max() for s in range(1000, 2000, 100)]
    assert frame["max"].to_list() == expected


def test_a_curve_is_read_the_same_twice_and_while_it_is_saved(tmp_path: Path) -> None:
    """Thinning is deterministic; what is not in a file yet is in it, the last point always."""
    ledger = Ledger(tmp_path / "run", options=LedgerOptions(flush_interval_s=3600))
    for step in range(5000):
        ledger.append_scalars({"loss": float(step % 17)}, step=step)
    first = curve_buckets(ledger, "signals//loss", buckets=50)
    assert curve_buckets(ledger, "loss", buckets=50).equals(first)
    ledger.append_scalars({"loss": 1e9}, step=5000)
    again = curve_buckets(ledger, "loss", buckets=50)
    assert again["max"][-1] == 1e9
    assert again["last_step"][-1] == 5000
    ledger.close()


def test_nan_is_no_point_and_infinity_is_an_extreme(tmp_path: Path) -> None:
    """A curve with NaN and infinities is thinned around them."""
    ledger = Ledger(tmp_path / "run", options=LedgerOptions(flush_interval_s=3600))
    for step, value in enumerate([1.0, float("nan"), 3.0, float("inf"), float("nan")]):
        ledger.append_scalars({"loss": value}, step=step)
    frame = curve_buckets(ledger, "loss", buckets=1)
    assert frame.select("step", "last_step", "min", "max", "points").rows() == [
        (0, 3, 1.0, float("inf"), 3)
    ]
    ledger.close()


def test_launches_and_hashes_can_be_chosen(tmp_path: Path) -> None:
    """One launch or one experiment alone, or nothing at all."""
    for launch in (1, 2):
        ledger = Ledger(tmp_path / "run")
        ledger.edit.set_experiment(str(launch) * 24)
        for step in range(10):
            ledger.append_scalars({"loss": float(launch)}, step=step)
        ledger.close()
    reader = Ledger(tmp_path / "run", mode="r")
    assert set(curve_buckets(reader, "loss", launch=2)["value"]) == {2.0}
    assert set(curve_buckets(reader, "loss", hashes=["1" * 24])["value"]) == {1.0}
    assert curve_buckets(reader, "loss", buckets=1)["points"].to_list() == [20]
    empty = curve_buckets(reader, "other")
    assert empty.is_empty()
    assert empty.schema["step"] == pl.Int64
    with pytest.raises(InputError, match="at least 1"):
        curve_buckets(reader, "loss", buckets=0)


@pytest.mark.parametrize("closed", [False, True])
def test_a_step_in_two_files_is_one_point(tmp_path: Path, closed: bool) -> None:
    """Means and scalars of a step that was flushed in between fold, as they do once merged."""
    options = LedgerOptions(flush_interval_s=3600, compact=False)
    ledger = Ledger(tmp_path / "run", options=options)
    rows = ledger.ids.block("val", range(4))
    for step in range(FAN):
        ledger.append_samples({"loss": np.ones(1)}, rows[:1], step=step)
        ledger.append_scalars({"acc": 0.25, "loss2": 1.0}, step=step)
        ledger.flush()
        ledger.append_samples({"loss": np.full(3, 5.0)}, rows[1:], step=step)
        ledger.append_scalars({"acc": 0.75}, step=step)
    if closed:
        ledger.flush()
    before = {name: curve_buckets(ledger, name) for name in ("loss", "acc", "loss2")}
    for name, frame in before.items():
        expected = history_frame(ledger, "global", [name])
        assert frame["points"].to_list() == [1] * FAN
        columns = ["step", "value", "min", "max"]
        assert frame.select(columns).equals(expected.select(columns))
    assert set(before["loss"]["value"]) == {4.0}
    assert set(before["acc"]["value"]) == {0.75}
    assert ledger.compact()
    for name, frame in before.items():
        assert curve_buckets(ledger, name).equals(frame)
    ledger.close()


@pytest.mark.parametrize("buckets", [3, 2000])
def test_two_writers_and_a_cut_step_are_thinned_as_their_history_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buckets: int
) -> None:
    """In blocks and in points, each step of two writers counts once, before a merge and after."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one launch")
    options = LedgerOptions(flush_interval_s=3600, compact=False)
    ledgers = [Ledger(tmp_path / "run", rank=rank, options=options) for rank in (0, 1)]
    blocks = [ledger.ids.block("val", range(4)) for ledger in ledgers]
    n = 4000
    for ledger, rows, offset in zip(ledgers, blocks, (0, n // 2), strict=True):
        for step in range(offset, offset + n):
            # As a whole at once, or cut in two by the flush.
            if step % 500 == 499:
                ledger.append_samples({"loss": np.zeros(2)}, rows[:2], step=step)
                ledger.flush()
            ledger.append_samples({"loss": np.full(2, float(step % 32))}, rows[2:], step=step)
    writer = ledgers[0]
    points = history_frame(writer, "global", ["loss"])
    assert len(points) == n + n // 2

    def check() -> None:
        frame = curve_buckets(writer, "loss", buckets=buckets)
        assert frame["points"].sum() == len(points)
        for step, last, value, low, high, count in frame.rows():
            own = points.filter(pl.col("step").is_between(step, last))
            assert len(own) == count
            assert value == pytest.approx(own["value"].mean())
            assert (low, high) == (own["min"].min(), own["max"].max())

    check()
    for ledger in ledgers:
        ledger.flush()
        assert ledger.compact()
    check()
    for ledger in ledgers:
        ledger.close()


def test_a_merged_curve_carries_its_blocks(run: Path, values: np.ndarray) -> None:
    """The blocks in a merged file's metadata are those of its points."""
    (path,) = (run / "history/kind=global").rglob("*.parquet")
    blocks = unpacked(read_footer(path)["blocks"])
    expected = blocks_of(curve(values))
    for found, column in zip(blocks.columns(), expected.columns(), strict=True):
        assert found.tobytes() == column.tobytes()


def test_blocks_do_not_span_launches() -> None:
    """Two launches at the same steps stay apart, and come back from text as they were."""
    parts = [curve(np.arange(300.0), 1), curve(np.arange(10.0), 2)]
    columns = {n: np.concatenate([p.columns[n] for p in parts]) for n in parts[0].columns}
    blocks = blocks_of(Chunk("global", columns))
    assert blocks.launch.tolist() == [1, 1, 2]
    assert blocks.points.tolist() == [256, 44, 10]
    assert blocks.last.tolist() == [255, 299, 9]
    again = unpacked(packed(blocks))
    assert [c.tolist() for c in again.columns()] == [c.tolist() for c in blocks.columns()]
