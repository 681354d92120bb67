"""Arguments that cannot be meant: refused before anything is done, by name; typos are said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weightslab as wl
from tests.spec.support import said
from weightslab.errors import InputError, UnknownOptionError

REFUSED: dict[str, Callable[[], Any]] = {
    "discarded": lambda: wl.discard_samples(["a"], discarded="False"),  # type: ignore[arg-type]
    "discarded ": lambda: wl.discard_samples(["a"], discarded=1),  # type: ignore[arg-type]
    "log": lambda: wl.save_signals({"x": [1.0]}, ["a"], log="no"),  # type: ignore[arg-type]
    "log ": lambda: wl.save_instance_signals({"x": [1.0]}, ["a"], [0], log=0),  # type: ignore[arg-type]
    "origin": lambda: wl.get_samples_by_tag("t", origin=3),  # type: ignore[arg-type]
    "origin ": lambda: wl.get_discarded_samples(origin=""),
    "origin  ": lambda: wl.samples(origin=3),  # type: ignore[arg-type]
    "origin   ": lambda: wl.save_instance_signals({"x": [1.0]}, ["z"], [0], origin=3),  # type: ignore[arg-type]
    "origin    ": lambda: wl.save_instance_signals({"x": [1.0]}, ["z"], [0], origin="\ud800"),
    "tag": lambda: wl.samples(tag=3),  # type: ignore[arg-type]
    "launch": lambda: wl.history("x", launch="1"),  # type: ignore[arg-type]
    "launch ": lambda: wl.history("x", launch=True),
    "categories": lambda: wl.register_categorical_tag("w", None),  # type: ignore[arg-type]
    "exp_hash": lambda: wl.query_signal_history("x", exp_hash=3),  # type: ignore[arg-type]
    "exp_hash ": lambda: wl.query_sample_history("x", exp_hash=3),  # type: ignore[arg-type]
    "unknown kind": lambda: wl.history("x", kind="samples"),
    "root_log_dir": lambda: wl.Session(3),  # type: ignore[arg-type]
    "root_log_dir ": lambda: wl.Session(""),
    "root_log_dir  ": lambda: wl.Session("run-\udcff"),
    "root_log_dir   ": lambda: wl.Session("run\0"),
    "root_log_dir    ": lambda: wl.watch_or_edit({}, flag="hp", root_log_dir="run-\udcff"),
    "root_log_dir of": lambda: wl.watch_or_edit({"root_log_dir": "run-\udcff"}, flag="hp"),
    "experiment_name": lambda: wl.watch_or_edit({"experiment_name": "run-\udcff"}, flag="hp"),
    "log_dir": lambda: wl.watch_or_edit(None, flag="logger", log_dir="run-\udcff"),
}


@pytest.mark.parametrize("argument", REFUSED)
def test_what_cannot_be_meant_is_refused_by_name(argument: str) -> None:
    """Each is an InputError that names the argument, and nothing is written."""
    wl.save_signals({"x": [0.5]}, ["a"], step=0)
    with pytest.raises(InputError, match=argument.strip()):
        REFUSED[argument]()
    assert wl.samples().select("sample_id", "discarded", "signals//x").rows() == [("a", False, 0.5)]


def test_none_means_every_hash_in_a_query_and_says_so() -> None:
    """The complaint of a query says what None means there, not what it means in an export."""
    with pytest.raises(InputError, match="None for every one"):
        wl.history(exp_hash=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"experiment_hash.*None for the current one"):
        wl.write_history("x.json", experiment_hash=3)  # type: ignore[arg-type]


def test_another_mode_is_refused_at_once() -> None:
    """A session's mode is "r" or "w"."""
    with pytest.raises(UnknownOptionError, match="mode 'rw'"):
        wl.Session("run", mode="rw")  # type: ignore[arg-type]


def test_flags_and_numbers_of_numpy_are_taken() -> None:
    """np.True_ is a truth value, and np.int64(1) a whole number."""
    wl.save_signals({"x": [0.5]}, ["a"], step=0, log=np.bool_(False))
    assert wl.history("x", kind="global").height == 0
    assert wl.discard_samples(["a"], discarded=np.bool_(True)) == 1
    assert wl.get_discarded_samples(limit=np.int64(1)) == ["a"]
    assert wl.history("x", launch=np.int64(1)).height == 1


ASKED: dict[str, Callable[[], Any]] = {
    "there is no tag 'hrd': did you mean 'hard'?": lambda: wl.get_samples_by_tag("hrd"),
    "there is no tag 'hrd': did you mean 'hard'? ": lambda: wl.samples(tag="hrd").rows(),
    "there is no split 'trian': did you mean 'train'?": lambda: wl.get_samples_by_tag(
        "hard", origin="trian"
    ),
    "there is no split 'val': known: train": lambda: wl.get_discarded_samples(origin="val"),
    "there is no split 'val': known: train ": lambda: wl.samples(origin="val").rows(),
    "there is no sample signal 'los': did you mean 'loss'?": lambda: wl.query_signal_history("los"),
    "there is no sample signal 'los': did you mean 'loss'? ": lambda: wl.query_sample_history(
        "a", "los"
    ),
    "there is no instance signal 'loss': known: iou": lambda: wl.query_instance_history(
        "a", 1, "loss"
    ),
    "there is no experiment hash 'ff': known: ": lambda: wl.query_signal_history(
        "loss", exp_hash="ff"
    ),
}


@pytest.mark.filterwarnings("ignore::weightslab.WeightsLabWarning")
@pytest.mark.parametrize("sentence", ASKED)
def test_a_name_that_does_not_exist_is_said_once(tmp_path: Path, sentence: str) -> None:
    """An empty answer to a typo comes with the nearest known name."""
    with wl.Session(tmp_path / "run") as session:
        wl.save_signals({"loss": [0.5]}, ["a"], step=0)
        wl.save_instance_signals({"iou": [0.5]}, ["a"], [0], step=0)
        wl.tag_samples(["a"], "hard")
        assert session.notices.messages() == []
        assert list(ASKED[sentence]()) == []
        assert list(ASKED[sentence]()) == []
        assert sentence.strip() in said(session)
        assert len(session.notices.messages()) == 1


def test_what_exists_is_asked_for_without_a_word(tmp_path: Path) -> None:
    """Known names, a split's other spelling, and questions before the first answer are silent."""
    with wl.Session(tmp_path / "run") as session:
        assert wl.get_samples_by_tag("hard") == wl.query_signal_history("loss") == []
        wl.save_signals({"loss": [0.5]}, ["a"], step=0)
        assert wl.get_discarded_samples("train_loader") == []
        assert len(wl.query_signal_history("signals//loss", wl.get_current_experiment_hash())) == 1
        assert session.notices.messages() == []


@pytest.mark.parametrize("mode", ["w", "r"])
def test_a_tag_is_found_by_the_name_of_its_column(tmp_path: Path, mode: Any) -> None:
    """The tag "tag:hard" is "hard", in every mode and in every verb that asks."""
    with wl.Session(tmp_path / "run"):
        wl.save_signals({"loss": [0.5, 1.0]}, ["a", "b"], step=0)
        wl.tag_samples(["b"], "hard")
        wl.set_categorical_tag(["a"], "weather", "rainy")
    with wl.Session(tmp_path / "run", mode=mode):
        for tag, ids in (("hard", ["b"]), ("weather", ["a"])):
            for name in (tag, f"tag:{tag}"):
                assert wl.get_samples_by_tag(name) == ids
                assert wl.samples(tag=name)["sample_id"].to_list() == ids
