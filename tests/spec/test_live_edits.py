"""`get_current_experiment_hash` while hyperparameters are edited, and what api.md says of edits."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

import weightslab as wl
from tests.spec.support import Training, python, table, triples, wait_until


def write(path: Path, **values: Any) -> None:
    """Replace a file as an editor does."""
    from omegaconf import OmegaConf

    beside = path.with_suffix(".new")
    OmegaConf.save(OmegaConf.create(values), beside)
    beside.replace(path)


def requested(handle: Any, name: str, value: object) -> None:
    """Let the file's watcher get there."""
    wait_until(lambda: handle[name] == value)


# -- the experiment hash -------------------------------------------------------------


def test_the_example(tmp_path: Path) -> None:
    """The seed's example: "Useful to pin a write_history call to the run currently in progress"."""
    wl.watch_or_edit({"experiment_name": "e", "lr": 0.1}, flag="hyperparameters")
    Training().run()
    h = wl.get_current_experiment_hash()
    assert isinstance(h, str)
    assert len(h) == 24
    assert set(h) <= set("0123456789abcdef")
    path = wl.write_history(str(tmp_path / "run"), experiment_hash=h)
    rows = json.loads(path.read_text("utf-8"))["sample"]
    assert len(rows) == 32
    assert {row["experiment_hash"] for row in rows} == {h}


def test_an_edit_opens_a_new_hash_at_the_next_step() -> None:
    """api.md: "It changes at the first training step after a change, once, …"."""
    hp = wl.watch_or_edit({"experiment_name": "e", "lr": 0.1, "depth": 1}, flag="hp")
    hashes = []
    for step in Training().steps():
        hashes.append(wl.get_current_experiment_hash())
        if step == 1:
            hp.lr = 0.2
            hp.depth = 2
            hp.lr = 0.3
            assert wl.get_current_experiment_hash() == hashes[-1]
            time.sleep(0.3)  # the handle is looked at 4 times a second
    assert hashes[0] == hashes[1] != hashes[2] == hashes[3]
    recorded = {row[1]: row[3] for row in wl.query_signal_history("train_loss")}
    assert list(recorded.values()) == hashes


def test_an_edit_of_the_file_opens_a_new_hash(tmp_path: Path) -> None:
    """Issue 4: "Every change … opens a new experiment hash at the next training step"."""
    write(tmp_path / "config.yaml", experiment_name="e", lr=0.1)
    hp = wl.watch_or_edit("./config.yaml", flag="hyperparameters", poll_interval=0.02)
    hashes = []
    for step in Training().steps():
        hashes.append(wl.get_current_experiment_hash())
        if step == 1:
            write(tmp_path / "config.yaml", experiment_name="e", lr=0.2)
            requested(hp, "lr", 0.2)
            time.sleep(0.3)
    assert hashes[0] == hashes[1] != hashes[2] == hashes[3]


def test_an_edit_that_is_taken_back_gives_the_hash_that_was() -> None:
    """api.md: "The same content gives the same hash"."""
    hp = wl.watch_or_edit({"experiment_name": "e", "lr": 0.1}, flag="hp")
    hashes = []
    for step in Training().steps(epochs=2):
        hashes.append(wl.get_current_experiment_hash())
        if step in (1, 4):
            hp.lr = 0.2 if step == 1 else 0.1
            time.sleep(0.3)
    assert hashes[0] == hashes[1] == hashes[5] == hashes[7]
    assert hashes[2] == hashes[4] != hashes[0]


def test_pausing_is_no_other_experiment() -> None:
    """`is_training` stops and starts: it is no part of what an experiment is."""
    hp = wl.watch_or_edit({"experiment_name": "e", "is_training": True}, flag="hp")
    before = wl.get_current_experiment_hash()
    hp.is_training = False
    assert wl.get_current_experiment_hash() == before
    hp.is_training = True
    Training().run()
    assert {row[3] for row in wl.query_signal_history("train_loss")} == {
        wl.get_current_experiment_hash()
    }


SAME = """
import sys, weightslab as wl
hp = wl.watch_or_edit({"experiment_name": "e", "lr": 0.1}, flag="hp")
hp.lr = float(sys.argv[1])
print(wl.get_current_experiment_hash())
"""


def test_edited_and_given_are_one_experiment() -> None:
    """api.md: "The same content gives the same hash in another process"."""
    ended = python(SAME, "0.5")
    assert ended.returncode == 0, ended.stderr
    wl.watch_or_edit({"experiment_name": "e", "lr": 0.5}, flag="hp")
    assert wl.get_current_experiment_hash() == ended.stdout.strip()


def test_edits_are_in_the_journal() -> None:
    """api.md: "Every edit is in the journal", hyperparameters with before and after."""
    with wl.Session("run") as session:
        hp = wl.watch_or_edit({"optimizer": {"lr": 0.1}}, flag="hp")
        for step in Training().steps():
            if step == 1:
                hp.optimizer.lr = 0.2
                time.sleep(0.3)
        text = journal(session)
        assert "optimizer.lr" in text
        assert "0.1" in text and "0.2" in text


def journal(session: wl.Session) -> str:
    """Everything in the journal, as text."""
    session.flush()
    import polars as pl

    assert session.root_log_dir is not None
    files = sorted((session.root_log_dir / "journal").rglob("*.parquet"))
    return "\n".join(str(row) for path in files for row in pl.read_parquet(path).rows())


# -- edits inside signals ------------------------------------------------------------


def test_edits_inside_a_signal_are_grouped() -> None:
    """api.md: "edits made inside a signal are grouped: one journal entry … per firing"."""
    import polars as pl

    wl.register_categorical_tag("size", ["small", "big"])

    @wl.signal(name="size", subscribe_to="train_loss", log=False)
    def size(ctx: Any) -> float:
        wl.set_categorical_tag(
            [ctx.sample_id], "size", "big" if ctx.subscribed_value > 2.3 else "small"
        )
        wl.tag_samples([ctx.sample_id], "seen")
        return 1.0

    with wl.Session("run") as session:
        Training("train_loss").run()  # 4 firings of 8 samples, each sample once
        assert len(wl.get_samples_by_tag("seen")) == len(wl.get_samples_by_tag("size")) == 32
        session.flush()
        assert session.root_log_dir is not None
        files = (session.root_log_dir / "journal").rglob("*.parquet")
        entries = pl.concat([pl.read_parquet(path) for path in files], how="diagonal_relaxed")
        assert entries.filter(verb="tag")["count"].to_list() == [8] * 4
        sizes = entries.filter(verb="category", name="size").filter(pl.col("count") > 0)
        assert sizes["count"].sum() == 32
        assert sizes.height <= 8  # small and big for each firing


def test_an_unchanged_value_writes_nothing() -> None:
    """api.md: "and an unchanged value writes nothing"."""

    @wl.signal(name="seen", subscribe_to="loss")
    def seen(ctx: Any) -> None:
        wl.tag_samples([ctx.sample_id], "seen")

    with wl.Session("run") as session:
        wl.save_signals({"loss": [1.0, 2.0]}, ["a", "b"], step=0)
        assert wl.get_samples_by_tag("seen") == ["a", "b"]
        before = journal(session)
        assert "seen" in before
        for step in range(1, 20):
            wl.save_signals({"loss": [1.0, 2.0]}, ["a", "b"], step=step)
        assert wl.get_samples_by_tag("seen") == ["a", "b"]
        assert journal(session) == before


def test_a_signal_reads_its_own_edits() -> None:
    """Within a firing, what was just tagged is tagged."""
    found = []

    @wl.signal(name="count", subscribe_to="loss")
    def count(ctx: Any) -> float:
        wl.tag_samples([ctx.sample_id], "seen")
        found.append(wl.get_samples_by_tag("seen"))
        return float(len(found[-1]))

    wl.save_signals({"loss": [1.0, 2.0]}, ["a", "b"], step=0)
    assert triples("count") == [("a", 0, 1.0), ("b", 0, 2.0)]
    assert found == [["a"], ["a", "b"]]


def test_a_discard_inside_a_signal_takes_effect_in_the_loop() -> None:
    """api.md: side effects are "allowed": the next epoch is without the samples."""

    @wl.signal(name="drop", subscribe_to="train_loss", log=False)
    def drop(ctx: Any) -> None:
        if ctx.sample_id in {"train/3", "train/4"}:
            wl.discard_samples([ctx.sample_id])

    training = Training("train_loss")
    training.run()
    assert wl.get_discarded_samples() == ["train/3", "train/4"]
    seen = [name for _, _, ids in training.loader for name in ids]
    assert len(seen) == 30
    assert not {"train/3", "train/4"} & set(seen)


@pytest.mark.parametrize("kind", ["tag", "category", "discard"])
def test_edits_inside_a_signal_survive(kind: str) -> None:
    """api.md: "Every edit is in the journal": those of a signal are there after the run."""

    @wl.signal(name="edit", subscribe_to="loss")
    def edit(ctx: Any) -> None:
        if kind == "tag":
            wl.tag_samples([ctx.sample_id], "t")
        elif kind == "category":
            wl.set_categorical_tag([ctx.sample_id], "t", "x")
        else:
            wl.discard_samples([ctx.sample_id])

    with wl.Session("run"):
        wl.save_signals({"loss": [1.0]}, ["a"], step=0)
    with wl.Session("run", mode="r"):
        found = wl.get_discarded_samples() if kind == "discard" else wl.get_samples_by_tag("t")
        assert found == ["a"]
        assert table()["a", 0]["signals//loss"] == 1.0
