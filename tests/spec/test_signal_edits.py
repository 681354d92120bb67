"""What a signal does beside its value: tags, discards and reads, as api.md settles them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import weightslab as wl
from tests.ledger.support import run_script
from tests.spec.support import Numbers, said, table
from weightslab.session import current

IDS = ["a", "b", "c", "d"]


def journal() -> list[tuple[str, str | None, str | None]]:
    """Verb, name and value of what signals edited."""
    entries = current().settled().views()[0].store.pending.journal
    return [(e.verb, e.name, e.value) for e in entries if e.actor == "signal"]


def tag_above(limit: float) -> None:
    """A signal that tags, categorises and discards by its value."""

    @wl.signal(name="sorter", subscribe_to="loss")
    def sorter(ctx: wl.SignalContext) -> float:
        high = ctx.subscribed_value > limit
        wl.tag_samples([ctx.sample_id], "high", mode="add" if high else "remove")
        wl.set_categorical_tag(ctx.sample_id, "level", "high" if high else "low")
        wl.discard_samples([ctx.sample_id], discarded=bool(ctx.subscribed_value > 2 * limit))
        return float(high)


READERS: dict[str, Callable[[], Any]] = {
    "get_samples_by_tag": lambda: wl.get_samples_by_tag("high") == ["c", "d"],
    "by category": lambda: wl.get_samples_by_tag("level") == IDS,
    "get_discarded_samples": lambda: wl.get_discarded_samples() == ["d"],
    "samples": lambda: wl.samples()["tag:high"].to_list() == [False, False, True, True],
    "write_dataframe": lambda: (
        [row["tag:level"] for row in table().values()] == ["low", "low", "high", "high"]
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_side_effects_are_drained_before_an_answer(reader: str) -> None:
    """api.md: "allowed and drained before any query or export returns"."""
    tag_above(1.0)
    wl.save_signals({"loss": [0.5, 1.0, 1.5, 2.5]}, IDS, step=0)
    assert READERS[reader]()


def test_one_entry_for_each_value_of_a_firing() -> None:
    """api.md: "edits made inside a signal are grouped: one journal entry ... per firing"."""
    tag_above(1.0)
    wl.save_signals({"loss": [1.5, 1.0, 1.5, 2.5]}, IDS, step=0)
    assert journal() == [
        ("tag", "high", "true"),
        ("category", "level", "high"),
        ("category", "level", "low"),
        ("discard", None, "true"),
    ]


def test_an_unchanged_verdict_writes_nothing() -> None:
    """api.md: "an unchanged value writes nothing"."""
    tag_above(1.0)
    for step in range(20):
        wl.save_signals({"loss": [0.5, 1.0, 1.5, 2.5]}, IDS, step=step)
    assert len(journal()) == 4
    wl.save_signals({"loss": [1.5]}, ["a"], step=20)
    assert journal()[4:] == [("tag", "high", "true"), ("category", "level", "high")]


def test_a_signal_that_raises_has_done_what_it_did_before() -> None:
    """A function that fails for one sample loses that value; its tags, and the others, stay."""

    @wl.signal(name="fragile", subscribe_to="loss")
    def fragile(ctx: wl.SignalContext) -> float:
        wl.tag_samples([ctx.sample_id], "seen")
        if ctx.sample_id == "b":
            raise RuntimeError("no idea")
        return ctx.subscribed_value

    wl.save_signals({"loss": [0.5, 1.0, 1.5, 2.5]}, IDS, step=0)
    assert wl.get_samples_by_tag("seen") == IDS
    assert [row[0] for row in wl.query_signal_history("fragile")] == ["a", "c", "d"]
    assert "no idea" in said(current())


def test_discards_of_a_signal_leave_the_next_batches() -> None:
    """A sample that a signal discards is in no batch from then on, and the epoch shrinks."""

    @wl.signal(name="pruner", subscribe_to="loss")
    def pruner(ctx: wl.SignalContext) -> None:
        if ctx.subscribed_value >= 6:
            wl.discard_samples([ctx.sample_id])

    loader = wl.watch_or_edit(
        DataLoader(Numbers(8), batch_size=2), flag="data", loader_name="train"
    )
    for inputs, _, ids in loader:
        wl.save_signals({"loss": inputs.flatten()}, ids)
    assert wl.get_discarded_samples() == ["train/6", "train/7"]
    assert torch.cat([inputs for inputs, *_ in loader]).flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_a_signal_reads_its_samples_history_with_the_value_at_hand() -> None:
    """Quoted: "looks at each sample's full loss trajectory (via query_sample_history())"."""
    seen: dict[tuple[str, int], list[Any]] = {}

    @wl.signal(name="reader", subscribe_to="loss")
    def reader(ctx: wl.SignalContext) -> float:
        found = wl.query_sample_history(ctx.sample_id, signal_name="loss")
        seen[ctx.sample_id, ctx.step] = found
        return float(len(found))

    for step in range(3):
        wl.save_signals({"loss": [step, 10.0 + step]}, ["a", "b"], step=step)
        outside = {name: wl.query_sample_history(name, signal_name="loss") for name in "ab"}
        assert {name: seen[name, step] for name in "ab"} == outside
    assert [row[2] for row in seen["b", 2]] == [10.0, 11.0, 12.0]


def test_a_signal_sees_what_it_saved_and_tagged_itself() -> None:
    """Within one batch later calls see what earlier ones have saved and tagged."""
    counts: list[tuple[int, int]] = []

    @wl.signal(name="counter", subscribe_to="loss")
    def counter(ctx: wl.SignalContext) -> None:
        wl.save_signals({"mine": [ctx.subscribed_value]}, [ctx.sample_id], step=ctx.step)
        wl.tag_samples([ctx.sample_id], "done")
        counts.append(
            (
                len(wl.query_sample_history("a", signal_name="mine")),
                len(wl.get_samples_by_tag("done")),
            )
        )

    wl.save_signals({"loss": [0.0, 1.0, 2.0]}, ["b", "a", "c"], step=0)
    current().settled()
    assert counts == [(0, 1), (1, 2), (1, 3)]


def test_two_signals_agree_on_a_tag_in_order() -> None:
    """Of two signals that give a sample different values, the one registered later wins."""
    for name in ("first", "second"):

        @wl.signal(name=name, subscribe_to="loss")
        def verdict(ctx: wl.SignalContext, name: str = name) -> None:
            wl.set_categorical_tag([ctx.sample_id], "by", name)

    wl.save_signals({"loss": [0.0, 1.0]}, ["a", "b"], step=0)
    assert wl.samples()["tag:by"].to_list() == ["second", "second"]


DIES = """
import os, signal, sys
import weightslab as wl
session = wl.Session(sys.argv[1]).__enter__()

@wl.signal(name="sorter", subscribe_to="loss")
def sorter(ctx):
    wl.set_categorical_tag([ctx.sample_id], "level", "high" if ctx.subscribed_value > 1 else "low")
    if ctx.subscribed_value > 1:
        wl.discard_samples(ctx.sample_id)
    return 0.0

for step in range(30):
    wl.save_signals({"loss": [0.5, 1.5]}, [f"s{step}", f"t{step}"], step=step)
wl.get_samples_by_tag("level")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_loses_no_tag_of_a_signal(tmp_path: Path) -> None:
    """api.md: "A tag or discard survives a kill"; a signal's, once an answer has shown it."""
    ended = run_script(DIES, tmp_path / "run", path=True)
    assert ended.returncode == -9, ended.stderr
    with wl.Session(tmp_path / "run", mode="r"):
        found = wl.samples(columns=["tags", "discarded"]).drop("annotation_id").rows()
    assert sorted(found) == sorted(
        row
        for step in range(30)
        for row in ((f"s{step}", False, "low"), (f"t{step}", True, "high"))
    )
