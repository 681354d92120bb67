"""save_signals and save_instance_signals: what is written, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

import weightslab as wl
from tests.capture.recorded import array_of, curve, hand_out, instances, samples, values
from weightslab.session import current

EACH_IN_ITS_OWN = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn,
]  # fmt: skip


# -- save_signals ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(dtype: torch.dtype) -> None:
    """Values of any dtype are kept exactly."""
    given_values = torch.tensor([0, 1, 1]).to(dtype)
    wl.save_signals({"s": given_values}, ["a", "b", "c"], step=0)
    assert values("s") == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "given_values",
    [
        [0.1, 2],
        (0.1, 2),
        np.array([0.1, 2]),
        [np.float64(0.1), 2],
        [torch.tensor(0.1, dtype=torch.float64, requires_grad=True), 2.0],
        torch.tensor([0.1, 2], dtype=torch.float64, requires_grad=True),
        [np.array(0.1), torch.tensor(2)],
        torch.tensor([0.1, 2], dtype=torch.float64).to_sparse(),
    ],
    ids=["list", "tuple", "numpy", "mixed", "tensors", "grad", "0-d", "sparse"],
)
def test_every_container(given_values: Any) -> None:
    """Tensors, arrays, lists and mixtures of them are taken."""
    wl.save_signals({"s": given_values}, ["a", "b"], step=0)
    assert values("s") == [0.1, 2.0]


@EACH_IN_ITS_OWN
@given(
    st.lists(
        st.one_of(st.floats(), st.integers(-(2**53), 2**53), st.sampled_from([1e300, -1e-300])),
        max_size=20,
    )
)
def test_any_number_is_kept(numbers: list[float]) -> None:
    """NaN, infinities, 1e300 and whole numbers come back as they went in, in order."""
    wl.reset()
    with wl.Session(current_folder()):
        wl.save_signals({"s": numbers}, [f"{i:03}" for i in range(len(numbers))], step=0)
        found = values("s")
    assert len(found) == len(numbers)
    for kept, number in zip(found, numbers, strict=True):
        assert kept == number or (math.isnan(kept) and math.isnan(number))


@EACH_IN_ITS_OWN
@given(
    st.text(min_size=1).filter(lambda s: s.strip() and s.encode("utf-8", "ignore").decode() == s)
)
def test_any_name_is_kept(name: str) -> None:
    """Any text is a name: emoji, slashes, commas, newlines; only the prefix is no part of it."""
    with wl.Session(current_folder()):
        wl.save_signals({f"signals//{name}": [1.0]}, ["a"], step=0)
        assert values(name) == [1.0]


_folders = iter(range(10**6))


def current_folder() -> str:
    return f"runs/{next(_folders)}"


def test_more_dimensions_fold_by_the_mean() -> None:
    """[B, ...] is folded to [B] by the mean, in numpy as in torch."""
    maps = torch.rand(2, 3, 4)
    wl.save_signals({"t": maps, "n": maps.numpy(), "h": maps.bfloat16()}, ["a", "b"], step=0)
    assert values("t") == pytest.approx(maps.mean((1, 2)).tolist())
    assert values("n") == pytest.approx(maps.mean((1, 2)).tolist())
    assert values("h") == pytest.approx(maps.mean((1, 2)).tolist(), rel=1e-2)


@pytest.mark.parametrize("number", [2, 2.0, np.float32(2), torch.tensor(2), np.array(2)])
def test_a_single_number_goes_to_the_curve(number: Any) -> None:
    """A 0-d value is one point of the curve and belongs to no sample."""
    wl.save_signals({"s": number}, ["a", "b"], step=5)
    assert curve("s") == [(5, 2.0)]
    assert samples("s") == []


def test_the_mean_goes_to_the_curve() -> None:
    """log=True, the default, also puts the mean of the batch on the curve; log=False does not."""
    wl.save_signals({"s": [1.0, 3.0]}, ["a", "b"], step=1)
    wl.save_signals({"q": [1.0, 3.0]}, ["a", "b"], step=1, log=False)
    assert curve("s") == [(1, 2.0)]
    assert curve("q") == []


def test_values_are_copied() -> None:
    """What the caller writes into its tensor afterwards changes nothing."""
    loss = torch.ones(2)
    wl.save_signals({"s": loss}, ["a", "b"], step=0)
    loss.zero_()
    assert values("s") == [1.0, 1.0]


def test_an_id_twice_is_two_rows() -> None:
    """A sample that stands twice in a batch has two rows, in order."""
    wl.save_signals({"s": [1.0, 2.0]}, ["a", "a"], step=0)
    assert samples("s") == [("a", 0, 1.0), ("a", 0, 2.0)]


@pytest.mark.parametrize(
    "ids",
    [[1, 2], ["1", "2"], np.array([1, 2]), torch.tensor([1, 2]), [torch.tensor(1), np.int64(2)]],
    ids=["int", "str", "numpy", "tensor", "mixed"],
)
def test_ids_of_any_kind(ids: Any) -> None:
    """Ids of every kind are the same strings."""
    wl.save_signals({"s": [1.0, 2.0]}, ids, step=0)
    assert [row[0] for row in samples("s")] == ["1", "2"]


def test_the_ids_in_hand() -> None:
    """batch_ids=None takes those of the batch that a watched loader handed out."""
    hand_out(["x", "y"])
    wl.save_signals({"s": [1.0, 2.0]}, None, step=0)
    assert [row[0] for row in samples("s")] == ["x", "y"]


def test_targets_and_predictions_of_any_shape() -> None:
    """Targets, predictions and raw outputs are kept as they came, ragged ones too."""
    boxes = [torch.ones(1, 4), torch.ones(3, 4)]
    wl.save_signals(
        {"s": [1.0, 2.0]},
        ["a", "b"],
        targets=torch.tensor([-100, 7]),
        preds=boxes,
        preds_raw=torch.ones(2, 5, dtype=torch.bfloat16),
        step=0,
    )
    assert array_of("targets", "a") == -100
    assert array_of("targets", "a").dtype == np.int64
    assert array_of("preds", "b").shape == (3, 4)
    assert array_of("preds_raw", "b").tolist() == [1.0] * 5


def test_an_empty_batch_writes_nothing() -> None:
    """An empty batch is fine, and leaves no trace."""
    wl.save_signals({"s": torch.ones(0)}, [], targets=[], step=0)
    assert samples("s") == [] and curve("s") == []


@pytest.mark.parametrize("step", [3, np.int32(3), torch.tensor(3), 3.0, torch.tensor(3.0)])
def test_steps_of_any_kind(step: Any) -> None:
    """A step is any whole number, a large one too."""
    wl.save_signals({"s": [1.0]}, ["a"], step=step)
    wl.save_signals({"s": [1.0]}, ["a"], step=2**40)
    assert [row[1] for row in samples("s")] == [3, 2**40]


@pytest.mark.parametrize(
    ("signals", "ids", "options", "message"),
    [
        ({"loss": [1.0, 2.0]}, ["a"], {}, "'loss' has 2 values but batch_ids has 1"),
        ({"ok": [1.0], "bad": [[1.0], [2.0]]}, ["a"], {}, "'bad' has 2 values"),
        ({"s": [1.0]}, ["a"], {"targets": [1, 2]}, "targets has 2 entries but there are 1 ids"),
        ({"s": [1.0]}, None, {}, "no ids for these values: pass batch_ids="),
        ({"": [1.0]}, ["a"], {}, "a signal needs a name"),
        ({"signals//": [1.0]}, ["a"], {}, "a signal needs a name"),
        ({3: [1.0]}, ["a"], {}, "a signal's name is a string, got 3"),
        ({"x": [1.0], "signals//x": [1.0]}, ["a"], {}, "are one signal"),
        ([1.0], ["a"], {}, "signals is a mapping of names to values"),
        ({}, ["a"], {}, "nothing to save"),
        ({"s": ["high"]}, ["a"], {}, "signal 's': expected numbers"),
        ({"s": [[1.0], [1.0, 2.0]]}, ["a", "b"], {}, "signal 's': expected a tensor"),
        ({"s": [None]}, ["a"], {}, "signal 's': expected numbers"),
        ({"s": None}, ["a"], {}, "signal 's': expected numbers"),
        ({"s": [1j]}, ["a"], {}, "complex values are no signal"),
        ({"s": torch.ones(2, 0)}, ["a", "b"], {}, "hold nothing to fold"),
        ({"s": [1.0]}, ["a"], {"step": 1.5}, "step is a whole number, got 1.5"),
        ({"s": [1.0]}, ["a"], {"step": "x"}, "step is a whole number, got 'x'"),
        ({"s": [1.0]}, [1.5], {}, "no sample id"),
    ],
)
def test_what_is_refused(signals: Any, ids: Any, options: dict[str, Any], message: str) -> None:
    """What cannot be used is refused by name, and nothing of the call is written."""
    with pytest.raises(ValueError, match=message):
        wl.save_signals(signals, ids, **options)
    ledger = current().ledger
    ledger._store.drain()
    assert len(ledger.ids) == 0
    assert not any(ledger._store.history.signal_names(kind) for kind in ("sample", "global"))


class _Saves(Dataset[str]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> str:
        told = []
        for save in (
            lambda: wl.save_signals({"s": [1.0]}, ["a"]),
            lambda: wl.save_instance_signals({"s": [1.0]}, ["a"], [0]),
        ):
            try:
                save()
            except wl.WeightsLabError as error:
                told.append(str(error))
        return " | ".join(told)


def test_workers_are_refused() -> None:
    """Both verbs raise inside a DataLoader worker and say so by name."""
    (told,) = next(iter(DataLoader(_Saves(), num_workers=1)))
    assert "wl.save_signals was called inside" in told
    assert "wl.save_instance_signals was called inside" in told


def test_current_ids() -> None:
    """wl.current_ids() are those of the batch in hand, and None outside of one."""
    assert wl.current_ids() is None
    hand_out(["x", "y"])
    assert wl.current_ids() == ["x", "y"]


# -- save_instance_signals ----------------------------------------------------------


def test_instances_are_numbered_within_their_sample() -> None:
    """Annotation ids count from 1 in the order in which instances of a sample appear."""
    wl.save_instance_signals(
        {"signals//iou": torch.tensor([1.0, 2.0, 3.0, 4.0])}, ["a", "b"], [1, 0, 1, 1], step=0
    )
    assert instances("iou") == [("a", 1, 2.0), ("b", 1, 1.0), ("b", 2, 3.0), ("b", 3, 4.0)]


def test_whole_floats_are_positions() -> None:
    """A batch_idx of whole floats, as detection batches keep it, is taken."""
    wl.save_instance_signals({"s": [1.0, 2.0]}, ["a", "b"], torch.tensor([0.0, 1.0]), step=0)
    assert [row[0] for row in instances("s")] == ["a", "b"]


def test_targets_of_instances() -> None:
    """Targets of instances are kept for each of them, ragged ones too."""
    masks = [np.ones((2, 2)), np.zeros((3, 1))]
    wl.save_instance_signals({"s": [1.0, 2.0]}, ["a"], [0, 0], targets=masks, step=0)
    ledger = current().ledger
    kept = ledger._store.arrays.instances["targets"]
    assert [kept[(0 << 32) | number].shape for number in (1, 2)] == [(2, 2), (3, 1)]


def test_origin_of_new_samples() -> None:
    """origin= is the split of samples that nobody knows yet."""
    wl.save_instance_signals({"s": [1.0]}, ["a"], [0], origin="val", step=0)
    assert current().ledger.ids.origins_of(0) == ("val",)


def test_no_instances() -> None:
    """A batch without instances is fine, and leaves no trace of values."""
    wl.save_instance_signals({"s": []}, ["a", "b"], [], step=0)
    assert instances("s") == [] and curve("s") == []


@pytest.mark.parametrize(
    ("signals", "batch_idx", "options", "message"),
    [
        ({"s": [1.0]}, [0, 0], {}, "'s' has 1 values but batch_idx has 2"),
        ({"s": [1.0]}, [2], {}, "batch_idx holds 2, but positions in this batch of 2 ids"),
        ({"s": [1.0]}, [-1], {}, "batch_idx holds -1"),
        ({"s": [1.0]}, [0.5], {}, r"batch_idx holds 0\.5"),
        ({"s": [1.0]}, [float("nan")], {}, "batch_idx holds nan"),
        ({"s": [1.0]}, ["a"], {}, "expected numbers"),
        ({"s": [1.0]}, [0], {"targets": [1, 2]}, "targets has 2 entries but there are 1"),
        ({"s": [1.0]}, [0], {"origin": ""}, "origin"),
        ({}, [0], {}, "nothing to save"),
    ],
)
def test_instances_that_are_refused(
    signals: Any, batch_idx: Any, options: dict[str, Any], message: str
) -> None:
    """What cannot be used is refused by name, and nothing of the call is written."""
    with pytest.raises(ValueError, match=message):
        wl.save_instance_signals(signals, ["a", "b"], batch_idx, **options)
    assert len(current().ledger.ids) == 0
