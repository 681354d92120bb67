"""What user code shares that a signal calls sample by sample: edits and reads of one firing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import weightslab as wl
from tests.ledger.disks import FaultyFiles
from tests.spec.support import Numbers, said
from weightslab.errors import InputError, ReadOnlyError, UnknownOptionError
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.edits.merged import DISCARD, Key
from weightslab.session import current
from weightslab.signals.firing import Firing
from weightslab.types import Rows

IDS = ["a", "b", "c"]


@pytest.fixture
def rows() -> Rows:
    """Three samples with two values each."""
    for step in range(2):
        wl.save_signals({"loss": [step, step + 0.1, step + 0.2]}, IDS, step=step)
    return current().ledger.ids.add(IDS, None)


def firing(rows: Rows) -> Firing:
    return Firing(current().ledger, rows, 2)


def elsewhere(work: Callable[[], object]) -> Any:
    """What `work` gives on a thread of its own."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def edits() -> list[tuple[str, str | None, str | None, str]]:
    entries = current().ledger.views()[0].store.pending.journal
    kept = ("tag", "category", "discard", "register")
    return [(e.verb, e.name, e.value, e.actor) for e in entries if e.verb in kept]


# -- what is at work ------------------------------------------------------------


def test_a_thread_knows_its_own_firing_alone(rows: Rows) -> None:
    """Only the thread that fires is inside a firing, and only while it does."""
    with firing(rows) as outer:
        assert Firing.current() is outer
        assert elsewhere(Firing.current) is None
        with firing(rows[:1]) as inner:
            assert Firing.current() is inner
        assert Firing.current() is outer
    assert Firing.current() is None


def test_a_firing_of_another_run_is_none(rows: Rows, tmp_path: Path) -> None:
    """What is edited in another session meanwhile is that session's, at once."""
    with firing(rows):
        with wl.Session(tmp_path / "other") as other:
            wl.save_signals({"loss": [0.0]}, ["a"])
            assert Firing.current(other.ledger) is None
            wl.tag_samples("a", "hard")
            assert edits() == [("tag", "hard", "true", "user")]
        assert wl.get_samples_by_tag("hard") == []


def test_what_it_works_on(rows: Rows) -> None:
    """Rows, their ids and the step are there for whoever fires."""
    with firing(rows) as now:
        assert now.ids == IDS
        assert (now.step, now.rows.tolist()) == (2, rows.tolist())
        assert now.rows_of(now.ids) == rows.tolist()
        assert now.rows_of("b") == [rows[1]]
        assert now.rows_of(("c", "a")) == [rows[2], rows[0]]


@pytest.mark.parametrize("ids", [["a", "new"], [1], {"a": 1}, np.array(["a"]), None, [["a"]]])
def test_ids_that_are_not_of_the_batch_take_the_usual_way(rows: Rows, ids: object) -> None:
    """Only strings that are all of the batch are known at once."""
    assert firing(rows).rows_of(ids) is None


# -- edits ----------------------------------------------------------------------


def test_edits_are_one_entry_for_each_value(rows: Rows) -> None:
    """Tagging sample by sample gives one entry of each verb, tag and value, by the signal."""
    with firing(rows) as now:
        for name, shape in zip(now.ids, ("u", "v", "u"), strict=True):
            assert wl.set_categorical_tag([name], "shape", shape) == 1
            assert wl.tag_samples(name, "hard") == 1
        assert wl.discard_samples(["c"]) == 1
        assert edits() == []
    assert edits() == [
        ("category", "shape", "u", "signal"),
        ("tag", "hard", "true", "signal"),
        ("category", "shape", "v", "signal"),
        ("discard", None, "true", "signal"),
    ]
    table = wl.samples(columns=["tags", "discarded"])
    assert table["tag:shape"].to_list() == ["u", "v", "u"]
    assert table["tag:hard"].to_list() == [True, True, True]
    assert table["discarded"].to_list() == [False, False, True]


def test_the_count_takes_what_waits_into_account(rows: Rows) -> None:
    """A second edit to the same value changes nothing, one to another value changes again."""
    with firing(rows):
        assert wl.tag_samples(IDS, "hard") == 3
        assert wl.tag_samples(IDS, "hard") == 0
        assert wl.tag_samples(["b"], "hard", mode="remove") == 1
        assert wl.set_categorical_tag(["a", "a", "b"], "shape", "u") == 2
        assert wl.set_categorical_tag(["a"], "shape", "") == 1
        assert wl.discard_samples("a", discarded=False) == 0
    assert wl.get_samples_by_tag("hard") == ["a", "c"]
    assert wl.get_samples_by_tag("shape") == ["b"]


def test_one_sync_of_the_disk(tmp_path: Path) -> None:
    """All edits of a firing cost one sync; a firing without edits costs none."""
    files = FaultyFiles()
    still = LedgerOptions(sync_interval_s=1e6, flush_interval_s=1e6)
    ledger = Ledger(tmp_path / "run", options=still, files=files)
    rows = ledger.ids.add(IDS, "train")
    before = files.counts["sync"]
    with Firing(ledger, rows, 0) as now:
        for row in rows.tolist():
            now.edits.put(Key("category", "shape"), [row], f"value {row}")
            now.edits.put(DISCARD, [row], "true")
    assert files.counts["sync"] == before + 1
    with Firing(ledger, rows, 0):
        pass
    assert files.counts["sync"] == before + 1
    ledger.close()


def test_an_unchanged_value_writes_nothing(rows: Rows) -> None:
    """A verdict that stays what it was leaves the journal alone."""
    wl.set_categorical_tag(IDS, "shape", "u")
    written = edits()
    with firing(rows) as now:
        assert [wl.set_categorical_tag([name], "shape", "u") for name in now.ids] == [0, 0, 0]
    assert edits() == written


@pytest.mark.parametrize("mode", ["set", "add"])
def test_errors_come_at_the_call(rows: Rows, mode: str) -> None:
    """What is refused outside of a signal is refused inside, at once, also for what waits."""
    wl.register_categorical_tag("weather", ["rainy"])
    with firing(rows):
        with pytest.raises(InputError, match="is a categorical tag"):
            wl.tag_samples("a", "weather", mode=mode)  # type: ignore[arg-type]
        with pytest.raises(UnknownOptionError):
            wl.tag_samples("a", "x", mode="toggle")  # type: ignore[arg-type]
        with pytest.raises(InputError, match="is a string"):
            wl.set_categorical_tag("a", "weather", 3)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="no sample id"):
            wl.discard_samples([1.5])
        wl.tag_samples("a", "fresh")
        wl.set_categorical_tag("a", "kind", "x")
        with pytest.raises(InputError, match="is a boolean tag"):
            wl.set_categorical_tag("a", "fresh", "x")
        with pytest.raises(InputError, match="is a boolean tag"):
            wl.register_categorical_tag("fresh", ["x"])
        with pytest.raises(InputError, match="is a categorical tag"):
            wl.tag_samples("a", "kind")
    assert wl.get_samples_by_tag("fresh") == wl.get_samples_by_tag("kind") == ["a"]


def test_declaring_a_tag_is_immediate(rows: Rows) -> None:
    """`register_categorical_tag` inside a signal does not wait."""
    with firing(rows):
        wl.register_categorical_tag("weather", ["rainy"])
        assert edits() == [("register", "weather", '["rainy"]', "user")]


def test_a_reading_verb_sees_them(rows: Rows) -> None:
    """What the same signal tagged and discarded before is in every answer."""
    with firing(rows):
        wl.tag_samples(["a", "b"], "hard")
        wl.set_categorical_tag("c", "shape", "u")
        wl.discard_samples("c")
        assert wl.get_samples_by_tag("hard") == ["a", "b"]
        assert wl.get_samples_by_tag("shape") == ["c"]
        assert wl.get_discarded_samples() == ["c"]
        assert wl.samples()["tag:shape"].to_list() == [None, None, "u"]
        wl.tag_samples("b", "hard", mode="remove")
        assert '"tag:hard":false' in wl.write_dataframe("t.json", sample_id="b").read_text()
    assert wl.get_samples_by_tag("hard") == ["a"]


def test_an_error_costs_no_earlier_edit(rows: Rows) -> None:
    """A signal that raises after it has tagged something has tagged it."""

    def tag_and_raise() -> None:
        with firing(rows):
            wl.tag_samples("a", "hard")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tag_and_raise()
    assert wl.get_samples_by_tag("hard") == ["a"]
    assert Firing.current() is None


def test_samples_outside_of_the_batch(rows: Rows) -> None:
    """Other samples, and ids that nobody knows yet, are edited as well; the latter are said."""
    with firing(rows[:1]):
        assert wl.tag_samples(["b", "c"], "hard") == 2
        assert wl.tag_samples(["late/0", "a"], "hard") == 2
        assert wl.tag_samples(["late/0"], "hard") == 0
    assert "1 of the ids is not known yet ('late/0')" in said(current())
    assert wl.get_samples_by_tag("hard", origin=None) == IDS
    list(wl.watch_or_edit(DataLoader(Numbers(2)), flag="data", loader_name="late"))
    assert wl.get_samples_by_tag("hard", origin="late") == ["late/0"]


def test_a_dataset_that_comes_meanwhile(rows: Rows) -> None:
    """Samples that are edited first and registered next, within one firing, keep the edit."""
    with firing(rows):
        wl.discard_samples(["late/1"])
        wl.watch_or_edit(DataLoader(Numbers(3)), flag="data", loader_name="late")
        list(wl.watch_or_edit(DataLoader(Numbers(3)), flag="data", loader_name="late"))
    assert wl.get_discarded_samples("late") == ["late/1"]


def test_a_run_that_is_only_looked_at_refuses(rows: Rows) -> None:
    """Edits of a folder that is open for reading raise as they do outside of a signal."""
    root = current().ledger.root
    wl.reset()
    with (
        wl.Session(root, mode="r") as session,
        Firing(session.ledger, rows, 0),
        pytest.raises(ReadOnlyError),
    ):
        wl.tag_samples("a", "hard")


def test_discards_leave_the_next_batches() -> None:
    """A sample that a signal discards while the epoch runs is in no batch after that."""
    loader = wl.watch_or_edit(
        DataLoader(Numbers(8), batch_size=2), flag="data", loader_name="train"
    )
    seen = []
    for inputs, _, ids in loader:
        seen.append(inputs.flatten().tolist())
        wl.save_signals({"loss": torch.zeros(len(ids))}, ids)
        with Firing(current().ledger, ids.rows, 0):
            wl.discard_samples(["train/4", "train/7"])
    assert seen == [[0, 1], [2, 3], [5, 6]]
    assert [inputs.flatten().tolist() for inputs, *_ in loader] == [[0, 1], [2, 3], [5, 6]]


# -- history --------------------------------------------------------------------


def both(query: Callable[[], list[Any]], rows: Rows) -> tuple[list[Any], list[Any]]:
    """An answer outside of a firing and the same inside."""
    outside = query()
    with firing(rows):
        inside = query()
    return outside, inside


def answers() -> list[Any]:
    """Everything that a signal may ask of the samples that are known here."""
    known = current().experiment_hash
    return [
        wl.query_sample_history(name, signal_name=signal, exp_hash=experiment)
        for name in (*IDS, "d", "nobody")
        for signal in ("loss", "signals//loss", "other", None, ["loss", "other"])
        for experiment in (None, "all", known, "unknown")
    ]


def test_an_answer_inside_is_that_outside(tmp_path: Path) -> None:
    """Order, hashes, launches and types are those of a call outside, to the letter."""
    hp = {"experiment_name": "x", "lr": 1.0}
    with wl.Session(tmp_path / "run") as session:
        wl.save_signals({"loss": np.array([7.0, 8.0])}, ["b", "d"], step=90)
        session.flush()
    with wl.Session(tmp_path / "run") as session:
        wl.watch_or_edit(hp, flag="hyperparameters")
        wl.save_signals({"other": np.array([1, 2, 3], np.int64)}, ["c", "b", "a"], step=5)
        for step in (3, 1, 2):
            wl.save_signals({"loss": np.array([step, 0.1, 1e300, 5])}, [*IDS, "a"], step=step)
        session.flush()
        session.ledger.edit.set_experiment("f" * 24)
        wl.save_signals({"loss": torch.tensor([0.5, float("nan")])}, ["a", "c"], step=4)
        rows = session.ledger.ids.add(["c", "a", "b", "a"], None)
        outside, inside = both(answers, rows)
        assert repr(inside) == repr(outside)  # also of NaN
        a = wl.query_sample_history("a", signal_name="loss")
        assert [row[1:3] for row in a] == [
            (3, 3.0),
            (3, 5.0),
            (1, 1.0),
            (1, 5.0),
            (2, 2.0),
            (2, 5.0),
            (4, 0.5),
        ]
        assert len({row[3] for row in a}) == 2


def test_an_answer_inside_is_that_outside_with_other_writers(tmp_path: Path) -> None:
    """Values that another process saved of the same samples are in the answer, in their order."""
    with wl.Session(tmp_path / "run") as first:
        wl.save_signals({"loss": [1.0, 2.0, 3.0]}, ["c", "a", "d"], step=1)
        other = Ledger(first.ledger.root)
        theirs = other.ids.add(["a", "b"], "train")
        other.append_samples({"loss": np.array([8.0, 9.0])}, theirs, step=7)
        other.close()
        outside, inside = both(answers, first.ledger.ids.add(["d", "c", "a"], None))
        assert repr(inside) == repr(outside)
        assert [row[1:3] for row in inside[0]] == [(1, 2.0), (7, 8.0)]


def test_one_read_serves_the_batch(rows: Rows) -> None:
    """All samples see the moment of the first call: values that arrive later are not read."""
    with firing(rows):
        assert len(wl.query_sample_history("a", signal_name="loss")) == 2
        elsewhere(lambda: wl.save_signals({"loss": [9.0] * 3}, IDS, step=9))
        assert len(wl.query_sample_history("b", signal_name="loss")) == 2
        assert len(wl.query_sample_history("b", signal_name="signals//loss")) == 2
    assert len(wl.query_sample_history("b", signal_name="loss")) == 3


def test_a_save_of_the_same_thread_is_seen(rows: Rows) -> None:
    """What the signal itself saves is in the next answer, whatever signals were asked for."""
    with firing(rows):
        assert len(wl.query_sample_history("a", signal_name="loss")) == 2
        assert len(wl.query_sample_history("a")) == 2
        wl.save_signals({"loss": [9.0]}, ["b"], step=9)
        wl.save_signals({"mine": [9.0]}, ["b"], step=9)
        assert wl.query_sample_history("b", signal_name="loss")[-1][1:3] == (9, 9.0)
        assert [row[0] for row in wl.query_sample_history("b")] == ["loss"] * 3 + ["mine"]


def test_samples_outside_of_the_batch_are_read_as_ever(rows: Rows) -> None:
    """A sample that is not in the batch is answered from what is saved now."""
    with firing(rows[:1]):
        assert len(wl.query_sample_history("a", signal_name="loss")) == 2
        elsewhere(lambda: wl.save_signals({"loss": [9.0]}, ["b"], step=9))
        assert len(wl.query_sample_history("b", signal_name="loss")) == 3


def test_a_signal_that_nobody_saved_is_said(rows: Rows) -> None:
    """A name that does not exist gives nothing and a hint, once, inside as outside."""
    with firing(rows):
        for name in IDS:
            assert wl.query_sample_history(name, signal_name="losss") == []
        assert wl.query_sample_history("a", signal_name="loss", exp_hash="0" * 24) == []
    assert said(current()).count("did you mean 'loss'?") == 1


def test_the_id_of_the_batch_means_the_sample_of_the_batch() -> None:
    """Of two samples that one bare id could mean, a signal reads and tags the one it is for."""
    ledger = current().ledger
    wl.save_signals({"loss": [1.0, 2.0]}, ["3", "train/3"], step=0)
    rows = ledger.ids.add(["3"], None)
    with firing(rows) as now:
        assert wl.query_sample_history(now.ids[0], signal_name="loss")[0][2] == 1.0
        wl.tag_samples([now.ids[0]], "hard")
    assert wl.get_samples_by_tag("hard") == ["3"]
