"""The seed's section "save_signals", and the rows of api.md's table "Signals" that it has."""

from __future__ import annotations

import csv
import inspect
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

import weightslab as wl
from tests.spec.support import curve, python, table, triples
from weightslab.errors import InputError, LengthMismatchError


def test_signature() -> None:
    """Quoted: "wl.save_signals(signals, batch_ids, preds_raw=None, targets=None, …"."""
    assert str(inspect.signature(wl.save_signals).replace(return_annotation=inspect._empty)) in (
        "(signals: 'Mapping[str, Any]', batch_ids: 'Any', preds_raw: 'Any' = None, "
        "targets: 'Any' = None, preds: 'Any' = None, step: 'int | None' = None, "
        "log: 'bool' = True)"
    )


def test_typical_usage() -> None:
    """The seed's "Typical usage", verbatim."""
    loss_batch = torch.tensor([0.5, 0.25])
    batch_ids = ["img0", "img1"]
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    targets, preds, current_step = torch.tensor([0, 1]), logits.argmax(1), 7

    wl.save_signals(
        signals={"train_loss": loss_batch},
        batch_ids=batch_ids,
        preds_raw=logits,
        targets=targets,
        preds=preds,
        step=current_step,
        log=True,
    )

    assert triples("train_loss") == [("img0", 7, 0.5), ("img1", 7, 0.25)]
    assert curve("train_loss") == [(7, 0.375)]
    row = table()["img1", 0]
    assert row["signals//train_loss"] == 0.25
    assert (row["target"], row["prediction"]) == (1, 1)
    assert row["prediction_raw"] == [0.0, 3.0]


def test_the_sample_row() -> None:
    """Quoted: "Per-sample signals are written to the sample row (annotation_id == 0)"."""
    wl.save_signals({"loss": [0.5]}, ["img0"])
    assert list(table()) == [("img0", 0)]
    assert wl.query_instance_history("img0", 0) == wl.query_sample_history("img0")


def test_column_is_never_doubled() -> None:
    """Quoted: "`signals//<name>`, always, never doubled when the caller wrote the prefix"."""
    wl.save_signals({"signals//loss": [0.5]}, ["a"], step=0)
    wl.save_signals({"loss": [0.25]}, ["a"], step=1)
    assert [c for c in table()["a", 0] if c.startswith("signals")] == ["signals//loss"]
    assert triples("loss") == triples("signals//loss") == [("a", 0, 0.5), ("a", 1, 0.25)]


def test_log_false_keeps_no_curve() -> None:
    """Quoted: "`log=False` keeps per-sample values only"."""
    wl.save_signals({"loss": [0.5, 1.0]}, ["a", "b"], step=0, log=False)
    assert curve("loss") == []
    assert len(triples("loss")) == 2


def test_log_is_the_mean_of_the_batch() -> None:
    """Quoted: "`log=True` (the default) also puts the batch mean on the global curve"."""
    wl.save_signals({"loss": [0.5, 1.0]}, ["a", "b"], step=0)
    wl.save_signals({"loss": [0.0, 0.5]}, ["a", "b"], step=1)
    assert curve("loss") == [(0, 0.75), (1, 0.25)]


@pytest.mark.parametrize("value", [0.5, torch.tensor(0.5), np.float64(0.5), np.array(0.5)])
def test_a_0d_value_goes_to_the_curve(value: object) -> None:
    """Quoted: "0-d value handed to `save_signals` | goes to the curve; no per-sample row"."""
    wl.save_signals({"loss": value, "acc": [1.0]}, ["a"], step=4)
    assert curve("loss") == [(4, 0.5)]
    assert triples("loss") == []
    assert "signals//loss" not in table()["a", 0]


def test_values_fold_by_the_mean() -> None:
    """Quoted: "`[B, ...]` folds to `[B]` by the mean"."""
    values = torch.arange(24.0).reshape(2, 3, 4)
    wl.save_signals({"tensor": values, "array": values.numpy()}, ["a", "b"], step=0)
    for name in ("tensor", "array"):
        assert triples(name) == [("a", 0, 5.5), ("b", 0, 17.5)]


@pytest.mark.parametrize(
    "values",
    [
        torch.tensor([1.5, 2.5]),
        torch.tensor([1.5, 2.5], dtype=torch.bfloat16),
        torch.tensor([1.5, 2.5], dtype=torch.float16),
        torch.tensor([1.5, 2.5], dtype=torch.float64, requires_grad=True),
        np.array([1.5, 2.5]),
        [1.5, 2.5],
        (1.5, 2.5),
        [torch.tensor(1.5), torch.tensor(2.5)],
        [np.float32(1.5), 2.5],
    ],
)
def test_accepted_values(values: object) -> None:
    """Quoted: "any float, int or bool dtype, bfloat16 too, CPU or GPU, tensors, numpy, lists"."""
    wl.save_signals({"loss": values}, ["a", "b"], step=0)
    assert triples("loss") == [("a", 0, 1.5), ("b", 0, 2.5)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_accepted_values_of_a_gpu() -> None:
    """Quoted: "CPU or GPU"."""
    wl.save_signals({"loss": torch.tensor([1.5], device="cuda")}, ["a"], step=0)
    assert triples("loss") == [("a", 0, 1.5)]


def test_mismatched_lengths() -> None:
    """Quoted: "`ValueError` that names the signal and both lengths"."""
    with pytest.raises(ValueError, match=r"'train/loss'.*3.*2") as caught:
        wl.save_signals({"train/loss": [1.0, 2.0, 3.0]}, ["a", "b"])
    assert isinstance(caught.value, LengthMismatchError)


@pytest.mark.parametrize(
    "wrong",
    [
        {"signals": {"good": [1.0, 2.0], "bad": [1.0]}},
        {"signals": {"good": [1.0, 2.0]}, "targets": [1]},
        {"signals": {"good": [1.0, 2.0]}, "preds": torch.zeros(3)},
        {"signals": {"good": [1.0, 2.0]}, "preds_raw": torch.zeros(3, 4)},
        {"signals": {"good": [1.0, 2.0], "curve": 1.0}, "targets": [1]},
        {"signals": {"good": [1.0, 2.0], "bad": ["x", "y"]}},
        {"signals": {"good": [1.0, 2.0], "": [1.0, 2.0]}},
        {"signals": {"good": [1.0, 2.0]}, "step": 1.5},
        {"signals": {"good": [1.0, 2.0]}, "step": 2**63},
        {"signals": {"good": [1.0, 2.0], "bad": [[1.0], [1.0, 2.0]]}},
        {"signals": {"good": [1.0, 2.0], "bad": np.zeros((2, 0))}},
    ],
)
def test_nothing_of_a_wrong_call_is_written(wrong: dict[str, object]) -> None:
    """Quoted: "nothing of that call is written"."""
    with pytest.raises(InputError):
        wl.save_signals(batch_ids=["a", "b"], **wrong)  # type: ignore[arg-type]
    assert wl.history().is_empty()
    assert wl.history(kind="global").is_empty()
    assert wl.samples().is_empty()


def test_an_id_twice() -> None:
    """Quoted: "an id twice in one batch | two rows, in order"."""
    wl.save_signals({"loss": [0.5, 0.25, 0.125]}, ["a", "b", "a"], step=3)
    assert triples("loss") == [("a", 3, 0.5), ("a", 3, 0.125), ("b", 3, 0.25)]
    assert table()["a", 0]["signals//loss"] == 0.125


def test_odd_values_are_kept() -> None:
    """Quoted: "NaN, infinities, 1e300, steps beyond 2^31 | kept"."""
    values = [math.nan, math.inf, -math.inf, 1e300]
    wl.save_signals({"loss": values}, list("abcd"), step=2**40)
    found = triples("loss")
    assert [row[1] for row in found] == [2**40] * 4
    assert math.isnan(found[0][2])
    assert [row[2] for row in found[1:]] == values[1:]


def test_odd_values_in_files() -> None:
    """Quoted: "null in JSON (strict JSON), `nan`/`inf` in CSV"."""
    values = [math.nan, math.inf, -math.inf, 1e300]
    wl.save_signals({"loss": values}, list("abcd"), step=0)

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no strict JSON")

    text = wl.write_history("h.json", type_of_history="sample").read_text()
    rows = json.loads(text, parse_constant=refuse)["sample"]
    assert [row["metric_value"] for row in rows] == [None, None, None, 1e300]
    text = wl.write_dataframe("d.json").read_text()
    rows = json.loads(text, parse_constant=refuse)
    assert [row["signals//loss"] for row in rows] == [None, None, None, 1e300]
    for path in (
        wl.write_history("h.csv", format="csv", type_of_history="sample"),
        wl.write_dataframe("d.csv", format="csv"),
    ):
        column = "metric_value" if path.name == "h.csv" else "signals//loss"
        with path.open(newline="", encoding="utf-8") as file:
            found = [row[column] for row in csv.DictReader(file)]
        assert found[:3] == ["nan", "inf", "-inf"]
        assert float(found[3]) == 1e300


def test_targets_stay_as_they_came() -> None:
    """Quoted: "targets | kept as they came: -100 stays -100"."""
    wl.save_signals({}, ["a", "b"], targets=torch.tensor([-100, 7]))
    found = table()
    assert [found["a", 0]["target"], found["b", 0]["target"]] == [-100, 7]


def test_arrays_of_any_shape() -> None:
    """Quoted: "`targets`, `preds`, `preds_raw` of any shape | the latest of each is kept"."""
    for turn in range(2):
        wl.save_signals(
            {"loss": [0.0, 0.0]},
            ["a", "b"],
            targets=torch.full((2, 2, 3), turn),
            preds=[[turn], [turn, turn]],
            preds_raw=np.full((2, 3), turn + 0.5),
        )
    row = table()["b", 0]
    assert row["target"] == [[1, 1, 1], [1, 1, 1]]
    assert row["prediction"] == [1, 1]
    assert row["prediction_raw"] == [1.5, 1.5, 1.5]


def test_large_arrays_go_to_files_of_their_own() -> None:
    """Quoted: "Larger arrays … never enter the log: they go to `arrays/`"."""
    with wl.Session("run") as session:
        wl.save_signals({"loss": [0.0]}, ["a"], preds_raw=torch.zeros(1, 64, 64))
        assert session.root_log_dir is not None
        root = session.root_log_dir
    assert [path for path in (root / "arrays").rglob("*") if path.is_file()]


def test_predictions_and_targets_are_read_back_as_they_were() -> None:
    """Quoted: "optional predictions/targets with sample IDs"."""
    logits = torch.randn(2, 10)
    targets = torch.tensor([3, -100])
    preds = logits.argmax(1)
    wl.save_signals({"loss": [0.0, 0.0]}, ["a", "b"], logits, targets, preds, step=0)
    for field, given in (("preds_raw", logits), ("targets", targets), ("preds", preds)):
        found = wl.arrays(field)
        for at, sample_id in enumerate("ab"):
            array = found[sample_id, 0]
            assert (array.dtype, array.shape) == (given[at].numpy().dtype, given[at].shape)
            assert np.array_equal(array, given[at].numpy())


def test_large_masks_stay_and_large_floats_are_halved() -> None:
    """Quoted: "masks as integers, floats in 16 bits"."""
    masks = torch.randint(0, 19, (2, 64, 64), dtype=torch.uint8).repeat(1, 2, 1)
    logits = torch.randn(2, 19, 32, 32)
    wl.save_signals({}, ["a", "b"], preds_raw=logits, targets=masks, step=0)
    for at, sample_id in enumerate("ab"):
        mask = wl.arrays("targets", sample_id=sample_id)[sample_id, 0]
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, masks[at].numpy())
        raw = wl.arrays("preds_raw", sample_id=sample_id)[sample_id, 0]
        assert np.array_equal(raw, logits[at].half().numpy())


def test_large_floats_beyond_16_bits_are_no_infinities() -> None:
    """A feature map with 1e6 in it comes back with 1e6 in it."""
    features = torch.full((1, 64, 64), 1e6)
    wl.save_signals({}, ["a"], preds_raw=features, step=0)
    assert np.array_equal(wl.arrays("preds_raw")["a", 0], features[0].numpy())


# -- steps -------------------------------------------------------------------------


def test_an_explicit_step_wins() -> None:
    """Quoted: "an explicit `step=` wins"."""
    optimizer = wl.watch_or_edit(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1))
    optimizer.step()
    wl.save_signals({"loss": [0.5]}, ["a"], step=41)
    assert triples("loss") == [("a", 41, 0.5)]


@pytest.mark.parametrize("step", [3, np.int64(3), torch.tensor(3), 3.0])
def test_kinds_of_step(step: object) -> None:
    """A step that went through numpy or a tensor is a step."""
    wl.save_signals({"loss": [0.5]}, ["a"], step=step)  # type: ignore[arg-type]
    assert triples("loss") == [("a", 3, 0.5)]


def test_else_the_updates_of_the_optimizer() -> None:
    """Quoted: "else the number of training updates completed before the batch, from 0"."""
    optimizer = wl.watch_or_edit(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1))
    for turn in range(3):
        wl.save_signals({"loss": [float(turn)]}, ["a"])
        wl.save_signals({"again": [float(turn)]}, ["a"])
        optimizer.step()
    assert triples("loss") == triples("again") == [("a", n, float(n)) for n in range(3)]


def test_a_second_optimizer_doubles_nothing() -> None:
    """Quoted: "not doubled by a second optimizer"."""
    both = [
        wl.watch_or_edit(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1), name)
        for name in ("generator", "critic")
    ]
    for turn in range(3):
        wl.save_signals({"loss": [float(turn)]}, ["a"])
        for optimizer in both:
            optimizer.step()
    assert [step for _, step, _ in triples("loss")] == [0, 1, 2]


def test_else_one_more_for_each_call() -> None:
    """Quoted: "else one more per call of that signal"."""
    for turn in range(3):
        wl.save_signals({"loss": [float(turn)]}, ["a"])
    wl.save_signals({"other": [0.0]}, ["a"])
    assert [step for _, step, _ in triples("loss")] == [0, 1, 2]
    assert triples("other") == [("a", 0, 0.0)]


LAUNCH = """
import sys
import weightslab as wl
with wl.Session(sys.argv[1]):
    if sys.argv[2] == "0":
        wl.tag_samples(["a"], "kept")
        wl.save_signals({"loss": [0.5]}, ["a"], step=0)
        wl.tag_samples(["a"], "kept")
    else:
        assert wl.get_samples_by_tag("kept") == ["a"]
        wl.save_signals({"loss": [0.25]}, ["a"], step=0)
"""


def test_the_same_script_twice_in_one_folder() -> None:
    """Quoted: "each process that trains is a launch with a number, kept as a column".

    "curation carries over; queries give every launch of the hash unless `launch=` says
    otherwise".
    """
    for turn in range(2):
        ended = python(LAUNCH, "run", str(turn))
        assert ended.returncode == 0, ended.stderr
    with wl.Session("run", mode="r"):
        assert wl.history("loss").select("launch", "value").rows() == [(1, 0.5), (2, 0.25)]
        assert wl.history("loss", launch=2)["value"].to_list() == [0.25]
        assert [row[2] for row in wl.query_signal_history("loss")] == [0.5, 0.25]


def test_every_hash() -> None:
    """Quoted: "`exp_hash=None` in `query_*` | every hash"."""
    wl.watch_or_edit({"lr": 1}, flag="hp")
    wl.save_signals({"loss": [0.5]}, ["a"], step=0)
    first = wl.get_current_experiment_hash()
    wl.watch_or_edit({"lr": 2}, flag="hp")
    wl.save_signals({"loss": [0.25]}, ["a"], step=1)
    second = wl.get_current_experiment_hash()
    assert wl.query_signal_history("loss") == [("a", 0, 0.5, first), ("a", 1, 0.25, second)]
    assert wl.query_sample_history("a", exp_hash=first) == [("loss", 0, 0.5, first)]


# -- bad input ---------------------------------------------------------------------


@pytest.mark.parametrize("ids", [[True], [1.5], [None], [("a", 1)], [b"a"], {"a": 1}, [""]])
def test_what_is_no_id(ids: object) -> None:
    """The error says what an id is."""
    with pytest.raises(InputError, match="sample id"):
        wl.save_signals({"loss": [1.0]}, ids)


@pytest.mark.parametrize("signals", [None, [1.0], "loss", 3])
def test_signals_that_are_no_mapping(signals: object) -> None:
    """The error shows what a mapping of signals looks like."""
    with pytest.raises(InputError, match="mapping of names to values"):
        wl.save_signals(signals, ["a"])  # type: ignore[arg-type]


def test_nothing_to_save() -> None:
    """No falsy no-op: a call that keeps nothing is refused."""
    with pytest.raises(InputError, match="nothing to save"):
        wl.save_signals({}, ["a"])


def test_no_ids() -> None:
    """The error says where ids come from."""
    with pytest.raises(InputError, match="batch_ids="):
        wl.save_signals({"loss": [1.0]}, None)


def test_an_empty_batch() -> None:
    """A batch without samples is a batch: nothing is written, nothing fails."""
    wl.save_signals({"loss": torch.zeros(0)}, [], targets=torch.zeros(0), step=0)
    assert wl.history().is_empty()
    assert wl.samples().is_empty()


def test_saved_values_are_copies() -> None:
    """Values are those of the call, whatever the loop does with its tensors afterwards."""
    values = torch.tensor([1.0, 2.0])
    wl.save_signals({"loss": values}, ["a", "b"], targets=values, step=0)
    values.zero_()
    assert [row[2] for row in triples("loss")] == [1.0, 2.0]
    assert table()["b", 0]["target"] == 2.0


def test_gradients_are_left_alone() -> None:
    """Saving detaches its own copy, not yours."""
    values = torch.tensor([1.0, 2.0], requires_grad=True) * 2
    wl.save_signals({"loss": values}, ["a", "b"])
    assert values.grad_fn is not None
    values.sum().backward()


@pytest.mark.parametrize(
    "call",
    [
        lambda: wl.save_signals({"loss": [1.0]}, ["img\udcff"]),
        lambda: wl.save_signals({"loss": [1.0]}, "img\udcff"),
        lambda: wl.save_signals({"loss\udcff": [1.0]}, ["a"]),
        lambda: wl.tag_samples(["a"], "t\udcff"),
        lambda: wl.set_categorical_tag(["a"], "w", "v\udcff"),
        lambda: wl.register_categorical_tag("w", ["v\udcff"]),
        lambda: wl.discard_samples(["img\udcff"]),
    ],
)
def test_text_that_no_file_can_hold(call: Callable[[], object]) -> None:
    """A file name that is not UTF-8 is refused with a way out, before anything is kept."""
    with pytest.raises(InputError, match=r"UTF-8.*another name"):
        call()
    wl.save_signals({"fine": [1.0]}, ["b"])
    assert wl.samples()["sample_id"].to_list() == ["b"]
