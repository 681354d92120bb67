"""The seed's section "Signal history query helpers", sentence by sentence, and frames beside it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import weightslab as wl
from weightslab.errors import InputError, UnknownOptionError


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Two samples at two steps, and three instances, in a run folder."""
    wl.Session(tmp_path / "run").__enter__()
    wl.save_signals({"train/loss": [0.5, 0.25], "acc": [0.0, 1.0]}, ["img_0042", "b"], step=0)
    wl.save_signals({"train/loss": [0.125, math.nan]}, ["img_0042", "b"], step=1)
    wl.save_instance_signals({"iou": [0.75, 0.5, 1.0]}, ["img_0042", "b"], [0, 0, 1], step=1)
    return tmp_path / "run"


def test_current_hash_without_an_experiment() -> None:
    """get_current_experiment_hash: "Returns None when no experiment is active"."""
    assert wl.get_current_experiment_hash() is None


@pytest.mark.usefixtures("recorded")
def test_query_signal_history() -> None:
    """Quoted: "Returns a list of (sample_id, step, value, experiment_hash) tuples"."""
    now = wl.get_current_experiment_hash()
    rows = wl.query_signal_history("train/loss")
    assert isinstance(rows, list)
    assert rows[:3] == [("img_0042", 0, 0.5, now), ("img_0042", 1, 0.125, now), ("b", 0, 0.25, now)]
    assert rows[3][:2] == ("b", 1)
    assert math.isnan(rows[3][2])
    assert [type(item) for item in rows[0][:3]] == [str, int, float]


@pytest.mark.usefixtures("recorded")
def test_both_spellings() -> None:
    """A signal is found under its name and under that of its column."""
    assert wl.query_signal_history("signals//acc") == wl.query_signal_history("acc")
    assert len(wl.query_sample_history("b", "signals//acc")) == 1


@pytest.mark.usefixtures("recorded")
def test_exp_hash() -> None:
    """Quoted: "Pass exp_hash to restrict to a single experiment run"; None is every one."""
    assert wl.query_signal_history("acc", exp_hash="another") == []
    assert wl.query_signal_history("acc", exp_hash="all") == wl.query_signal_history("acc")


@pytest.mark.usefixtures("recorded")
def test_query_sample_history() -> None:
    """The whole history of a sample, or of one metric.

    "Returns a list of (signal_name, step, value, experiment_hash) tuples. Pass signal_name to
    restrict to a single metric."
    """
    rows = wl.query_sample_history("img_0042")
    assert sorted(row[:3] for row in rows) == [
        ("acc", 0, 0.0),
        ("train/loss", 0, 0.5),
        ("train/loss", 1, 0.125),
    ]
    only = wl.query_sample_history("img_0042", signal_name="train/loss")
    assert [row[:3] for row in only] == [("train/loss", 0, 0.5), ("train/loss", 1, 0.125)]
    assert wl.query_sample_history("nobody") == []


@pytest.mark.usefixtures("recorded")
def test_query_instance_history() -> None:
    """Quoted: "annotation_id is 1-based (0 is the per-sample row)"."""
    assert [r[:3] for r in wl.query_instance_history("img_0042", 2)] == [("iou", 1, 0.5)]
    assert [r[:3] for r in wl.query_instance_history("b", annotation_id=1)] == [("iou", 1, 1.0)]
    assert wl.query_instance_history("b", 2) == []
    assert wl.query_instance_history("img_0042", 0) == wl.query_sample_history("img_0042")


@pytest.mark.parametrize(
    "call",
    [
        lambda: wl.query_signal_history(None),  # type: ignore[arg-type]
        lambda: wl.query_sample_history(["a", "b"]),
        lambda: wl.query_sample_history(None),
        lambda: wl.query_instance_history("a", -1),
        lambda: wl.query_instance_history("a", [1, 2]),  # type: ignore[arg-type]
        lambda: wl.history(kind="all"),
    ],
)
def test_what_cannot_be_meant_is_refused(call: object) -> None:
    """The error says what was expected."""
    with pytest.raises(InputError, match=r"must be|counts"):
        call()  # type: ignore[operator]


def test_an_unknown_kind_names_the_nearest() -> None:
    """The error says what was probably meant."""
    with pytest.raises(UnknownOptionError, match="did you mean 'sample'"):
        wl.history(kind="samples")


@pytest.mark.usefixtures("recorded")
def test_history_is_a_frame() -> None:
    """The same rows as a Polars frame, for every layer."""
    frame = wl.history("train/loss", sample_id="img_0042")
    assert isinstance(frame, pl.DataFrame)
    assert frame["value"].to_list() == [0.5, 0.125]
    assert wl.history("iou", kind="instance")["annotation_id"].to_list() == [1, 2, 1]
    curve = wl.history("acc", kind="global")
    assert curve.select("step", "value").rows() == [(0, 0.5)]


def test_bare_indices_find_their_samples(tmp_path: Path) -> None:
    """An id is found in every type, and a bare index as the sample of the first split."""
    with wl.Session(tmp_path / "run") as session:
        session.ledger.ids.block("train", range(3))
        wl.save_signals({"loss": [1.0, 2.0]}, ["train/0", "train/2"], step=0)
        expected = wl.query_sample_history("train/2")
        assert [row[:3] for row in expected] == [("loss", 0, 2.0)]
        assert wl.query_sample_history(2) == expected
        assert wl.query_sample_history(np.int64(2), "loss") == expected
        assert wl.history("loss", sample_id=[2, "train/0"]).height == 2
        rows = json.loads(wl.write_dataframe(sample_id=[2]).read_text())
        assert [row["sample_id"] for row in rows] == ["train/2"]
        rows = json.loads(wl.write_history(sample_id=2).read_text())["sample"]
        assert [row["sample_id"] for row in rows] == ["train/2"]


@pytest.mark.usefixtures("recorded")
def test_samples_is_a_frame() -> None:
    """The latest value of each sample and instance, by column."""
    frame = wl.samples(columns=["acc", "iou"]).sort("sample_id", "annotation_id")
    assert frame.rows() == [
        ("b", 0, 1.0, None),
        ("b", 1, None, 1.0),
        ("img_0042", 0, 0.0, None),
        ("img_0042", 1, None, 0.75),
        ("img_0042", 2, None, 0.5),
    ]


def test_exports_go_to_the_run_folder(recorded: Path) -> None:
    """`wl.write_history()` and `wl.write_dataframe()` without a path write there."""
    history, table = wl.write_history(), wl.write_dataframe()
    assert history.parent == table.parent == recorded
    assert len(json.loads(history.read_text())["sample"]) == 6
    assert len(json.loads(table.read_text())) == 5


def test_an_unknown_id_is_said(recorded: Path) -> None:
    """The empty file is written, and a warning names what was not found."""
    with pytest.warns(wl.WeightsLabWarning, match="no rows for sample_id 'nobody'"):
        path = wl.write_dataframe(sample_id="nobody")
    assert json.loads(path.read_text()) == []
    assert path.parent == recorded


@pytest.mark.parametrize("kind", ["sample", "instance"])
def test_two_spellings_of_one_id_are_one_sample(tmp_path: Path, kind: str) -> None:
    """Asked for as 0 and as train/0, a sample's rows come once."""
    with wl.Session(tmp_path / "run") as session:
        session.ledger.register("train", range(2))
        wl.save_signals({"loss": [1.0, 2.0]}, ["train/0", "train/1"], step=0)
        wl.save_instance_signals({"iou": [1.0]}, ["train/0", "train/1"], [0], step=0)
        assert wl.history(kind=kind, sample_id=[0, "train/0"])["value"].to_list() == [1.0]
