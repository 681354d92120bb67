"""History as a lazy frame: the same rows, of which only what is asked for is made."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest

import weightslab as wl
from weightslab.errors import FolderError, InputError
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.queries.history import history_frame, history_pieces
from weightslab.queries.lazy import history_scan


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Two signals, two hashes, several segments and a tail, samples and instances."""
    ledger = Ledger(tmp_path / "run", options=LedgerOptions(flush_interval_s=3600))
    rows = ledger.ids.block("train", range(20))
    for step in range(12):
        values = np.arange(20, dtype=np.float64) * step
        ledger.append_samples({"loss": values, "acc": -values}, rows, step=step)
        ledger.append_instances(
            {"iou": values[:2]}, rows[:2], np.ones(2, np.int32), step=step, log=False
        )
        if step % 5 == 4:
            ledger.flush()
        if step == 6:
            ledger.edit.set_experiment("b" * 24)
    return ledger


def by_everything(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort(frame.columns)


@pytest.mark.parametrize("kind", ["sample", "instance"])
def test_a_scan_has_the_rows_and_columns_of_a_history(ledger: Ledger, kind: str) -> None:
    """Collected whole, a scan is the history in another order."""
    expected = history_frame(ledger, kind)
    found = history_scan(ledger, kind).collect()
    assert found.columns == expected.columns
    assert by_everything(found).equals(by_everything(expected))


def test_filters_projections_and_aggregates_are_those_of_the_frame(ledger: Ledger) -> None:
    """Whatever is asked of the lazy frame is what the eager one answers."""
    whole = history_frame(ledger, "sample")
    lazy = history_scan(ledger, "sample")
    queries = [
        lambda f: f.filter(pl.col("value") > 50).select("sample_id", "step"),
        lambda f: f.filter((pl.col("signal") == "loss") & (pl.col("step") < 3)).select("value"),
        lambda f: f.group_by("sample_id").agg(pl.col("value").mean()),
        lambda f: f.select(pl.len()),
        lambda f: f.filter(pl.col("experiment_hash").is_null()).select(pl.col("value").sum()),
        lambda f: f.filter(pl.col("sample_id") == "train/3").select("launch", "value"),
    ]
    for query in queries:
        expected, found = query(whole), query(lazy).collect()
        assert by_everything(found).equals(by_everything(expected))
    assert len(lazy.head(7).collect()) == 7


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_limits_and_filters_go_in_the_order_in_which_they_were_asked(
    ledger: Ledger, engine: Literal["in-memory", "streaming"]
) -> None:
    """Rows are cut off before or after a filter as the query says, whatever runs it."""
    scan = history_scan(ledger, "sample")
    whole = scan.collect()
    late = pl.col("step") == 1
    queries = [
        lambda f: f.head(30).filter(late),
        lambda f: f.limit(3).filter(pl.col("step") > 100),
        lambda f: f.filter(late).head(5),
        lambda f: f.filter(late).slice(3, 30),
        lambda f: f.slice(3, 60).filter(late),
        lambda f: f.head(60).filter(late).head(2),
        lambda f: f.filter(pl.col("value") > 3).head(9).filter(late),
        lambda f: f.tail(70).filter(pl.col("step") == 11),
        lambda f: f.head(30).filter(late).select(pl.len()),
        lambda f: f.with_row_index().filter(late).head(4),
        lambda f: f.head(0).filter(late),
    ]
    for query in queries:
        assert query(scan).collect(engine=engine).equals(query(whole))


def test_signals_hashes_and_launches_are_chosen_when_it_is_made(ledger: Ledger) -> None:
    """The arguments of the scan leave out what a filter would, before it is read."""
    scan = history_scan(ledger, "sample", ["signals//loss"], ["b" * 24], launch=1)
    found = scan.collect()
    assert set(found["signal"]) == {"loss"}
    assert set(found["step"]) == set(range(7, 12))
    assert history_scan(ledger, "sample", launch=2).collect().is_empty()


def test_a_scan_shows_what_is_saved_when_it_is_collected(ledger: Ledger) -> None:
    """Values saved, flushed or merged after the scan was made are in it."""
    scan = history_scan(ledger, "sample").select(pl.len())
    before = scan.collect().item()
    ledger.append_samples({"loss": np.zeros(5)}, ledger.ids.block("train", range(5)), step=99)
    ledger.compact(archive=True)
    assert scan.collect().item() == before + 5


def merge_all(ledger: Ledger) -> None:
    """Let one file of each partition take the place of all others."""
    ledger.flush()
    ledger.compact(archive=True)


def test_files_that_vanish_under_a_scan_are_said(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where files are too many to hold, whoever collects is told to do it again."""
    monkeypatch.setattr("weightslab.ledger.history.reader._MOST_HELD", 0)
    # However long the merge takes: a look that has turned old would be taken anew.
    monkeypatch.setattr("weightslab.ledger.reader._FRESH_S", 3600.0)
    ledger.flush()
    reader = Ledger(tmp_path / "run", mode="r")
    reader.views()
    merge_all(ledger)
    with pytest.raises(FolderError, match="collect it again"):
        history_scan(reader, "sample").collect()
    ledger.close()


@pytest.mark.parametrize("kind", ["sample", "instance"])
def test_a_scan_looks_anew_at_files_that_were_merged_before_it_began(
    ledger: Ledger, tmp_path: Path, kind: str
) -> None:
    """A reader whose last look speaks of files that are gone collects every row."""
    ledger.flush()
    reader = Ledger(tmp_path / "run", mode="r")
    reader.views()
    expected = by_everything(history_scan(ledger, kind).collect())
    merge_all(ledger)
    assert by_everything(history_scan(reader, kind).collect()).equals(expected)
    ledger.close()


@pytest.mark.parametrize("kind", ["sample", "instance"])
def test_an_export_that_began_goes_through_while_another_process_merges(
    ledger: Ledger, tmp_path: Path, kind: str
) -> None:
    """Every piece comes once and in order, though each merge removes what was not read yet."""
    ledger.append_instances(
        {"box": np.zeros(2)}, np.arange(2, dtype=np.int32), np.ones(2, np.int32), step=1
    )
    ledger.flush()
    expected = history_frame(Ledger(tmp_path / "run", mode="r"), kind)
    reader = Ledger(tmp_path / "run", mode="r")
    pieces = []
    for piece in history_pieces(reader, kind):
        pieces.append(piece)
        merge_all(ledger)
    assert len(pieces) > 1
    assert pl.concat(pieces).equals(expected)
    ledger.close()


def test_an_export_holds_files_without_descriptors_and_lets_them_go(
    ledger: Ledger, tmp_path: Path
) -> None:
    """However many files there are, the process may open as many others as before."""
    ledger.flush()
    reader = Ledger(tmp_path / "run", mode="r")
    reader.views()
    before = len(list(Path("/dev/fd").iterdir()))
    pieces = history_pieces(reader, "sample")
    next(pieces)
    assert len(reader._reader._held) > 4
    assert len(list(Path("/dev/fd").iterdir())) <= before
    pieces.close()
    assert not reader._reader._held
    ledger.close()


def test_the_verb_refuses_curves(tmp_path: Path) -> None:
    """Curves are short: they come as a whole frame."""
    with wl.Session(tmp_path / "run"), pytest.raises(InputError, match="'sample' or 'instance'"):
        wl.scan_history("loss", kind="global")


@pytest.mark.parametrize("kind", ["sample", "instance", "global"])
def test_pieces_are_the_history_in_order(
    ledger: Ledger, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export's pieces, however small, add up to the history in its order."""
    sweep = ledger._store.history.sweep
    monkeypatch.setattr(ledger._store.history, "sweep", lambda *a, **k: sweep(*a, **k, most_rows=9))
    pieces = list(history_pieces(ledger, kind))
    if kind != "global":
        assert max(map(len, pieces)) < 30
        assert len(pieces) > 3
    by_signal = history_frame(ledger, kind)
    order = {name: at for at, name in enumerate(dict.fromkeys(pl.concat(pieces)["signal"]))}
    assert list(order) == list(dict.fromkeys(by_signal["signal"]))
    assert (
        pl.concat(pieces)
        .sort("signal", maintain_order=True)
        .equals(by_signal.sort("signal", maintain_order=True))
    )


def test_of_large_segments_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    """Columns alone, none at all, with a launch or with ids: what the eager frame says."""
    ledger = Ledger(tmp_path / "run", options=LedgerOptions(flush_interval_s=3600, compact=False))
    rows = ledger.ids.block("train", range(100_000))
    for step in range(3):
        values = np.arange(100_000, dtype=np.float64) + step
        ledger.append_samples({"loss": values}, rows, step=step)
    ledger.flush()
    ledger.close()
    reader = Ledger(tmp_path / "run", mode="r")
    whole = history_frame(reader, "sample")
    for launch in (None, 1):
        lazy = history_scan(reader, "sample", launch=launch)
        assert lazy.select(pl.len()).collect().item() == 300_000
        assert lazy.select("value").sum().collect().item() == whole["value"].sum()
        last = pl.col("sample_id") == "train/99999"
        expected = whole.filter(last).select("step", "value")
        assert lazy.filter(last).select("step", "value").collect().equals(expected)
        assert lazy.select("signal").unique().collect().rows() == [("loss",)]


@pytest.mark.parametrize("flushed", [True, False])
def test_pieces_are_small_where_few_of_the_samples_have_rows(tmp_path: Path, flushed: bool) -> None:
    """A validation split behind a large training split comes in pieces as any other."""
    options = LedgerOptions(flush_interval_s=3600, compact=False)
    ledger = Ledger(tmp_path / "run", options=options)
    ledger.register("train", range(200_000))
    rows = ledger.register("val", range(2000))
    for step in range(40):
        ledger.append_samples({"loss": np.zeros(2000)}, rows, step=step, log=False)
        if flushed and step % 10 == 9:
            ledger.flush()
    pieces = list(ledger._store.history.sweep("sample", most_rows=10_000))
    sizes = [len(chunk) for _, chunk in pieces]
    assert sum(sizes) == 80_000
    assert max(sizes) < 15_000
    ledger.close()
