"""Whatever a value is, and in whatever it comes, what comes back is that value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import weightslab as wl
from tests.property.support import FEW, at_every_age, csv_rows, folder, json_rows, same
from weightslab.errors import InputError, LengthMismatchError

_NUMPY = [np.dtype(code) for code in ["?", "b", "B", "h", "H", "i", "I", "l", "L", "e", "f", "d"]]
_TORCH = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint16, torch.uint32, torch.uint64,
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip
_FLOATS = st.lists(
    st.one_of(
        st.floats(), st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -0.0, 5e-324, 2.0**53])
    ),
    min_size=1,
    max_size=6,
)


def _ids(count: int) -> list[str]:
    return [f"s{n}" for n in range(count)]


def _back() -> list[float]:
    return [row[2] for row in wl.query_signal_history("v")]


@FEW
@given(_FLOATS)
def test_floats_come_back(values: list[float]) -> None:
    """NaN, infinities, 1e300 and every other float, through every way out."""
    finite = [value if math.isfinite(value) else None for value in values]

    def look() -> None:
        assert same(_back(), values)
        assert same(wl.history("v")["value"].to_list(), values)
        assert same(wl.samples()["signals//v"].to_list(), values)
        rows = json_rows(wl.write_history(type_of_history="sample"))["sample"]
        assert [row["metric_value"] for row in rows] == finite
        assert [row["signals//v"] for row in json_rows(wl.write_dataframe())] == finite
        rows = csv_rows(wl.write_history(format="csv", type_of_history="sample"))
        assert same([float(row["metric_value"]) for row in rows], values)
        assert [row["metric_value"] for row in rows if "n" in row["metric_value"]] == [
            str(value) for value in values if not math.isfinite(value)
        ]
        rows = csv_rows(wl.write_dataframe(format="csv"))
        assert same([float(row["signals//v"]) for row in rows], values)

    with folder() as root:
        at_every_age(root, lambda: wl.save_signals({"v": values}, _ids(len(values)), step=0), look)


@pytest.mark.parametrize("dtype", _NUMPY, ids=str)
def test_every_numpy_dtype(dtype: np.dtype[Any]) -> None:
    """What fits a float64 exactly comes back exactly, of every dtype of numpy."""

    @FEW
    @given(hnp.arrays(dtype, st.integers(1, 6)))
    def check(values: Any) -> None:
        with folder() as root, wl.Session(root):
            wl.save_signals({"v": values}, _ids(len(values)), step=0)
            assert same(_back(), values.astype(np.float64).tolist())

    check()


@pytest.mark.parametrize("dtype", _TORCH, ids=str)
def test_every_torch_dtype(dtype: torch.dtype) -> None:
    """The same for every dtype of torch, bfloat16 and bool among them."""
    if dtype is torch.bool:
        values = torch.tensor([True, False])
    elif dtype.is_floating_point:
        info = torch.finfo(dtype)
        values = torch.tensor([0.0, -1.5, info.max, info.min, info.tiny, math.nan]).to(dtype)
        if dtype is torch.float64:
            values = torch.tensor([1e300, 0.1, math.inf], dtype=dtype)
    else:
        limits = torch.iinfo(dtype)
        values = torch.tensor([0, 1, 100], dtype=dtype)
        values = torch.cat([values, torch.tensor([limits.max, limits.min], dtype=dtype)])
    expected = [float(value.item()) for value in values]

    def look() -> None:
        assert same(_back(), expected)

    with folder() as root:
        at_every_age(root, lambda: wl.save_signals({"v": values}, _ids(len(values)), step=0), look)


@FEW
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4, unique=True))
def test_steps_come_back(steps: list[int]) -> None:
    """Steps beyond 2^31, and every other that 64 bits hold."""

    def fill() -> None:
        for step in steps:
            wl.save_signals({"v": [1.0]}, ["a"], step=step)

    def look() -> None:
        assert [row[1] for row in wl.query_signal_history("v")] == steps
        assert wl.history("v", kind="global")["step"].to_list() == sorted(steps)
        rows = json_rows(wl.write_history(type_of_history="sample"))["sample"]
        assert [row["step"] for row in rows] == steps

    with folder() as root:
        at_every_age(root, fill, look)


@FEW
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.bool_]),
        hnp.array_shapes(min_dims=1, max_dims=4, max_side=4),
        elements={"min_value": 0, "max_value": 1},
    ),
    st.booleans(),
)
def test_any_shape_folds_by_the_mean(values: Any, as_tensor: bool) -> None:
    """`[B, ...]` folds to `[B]` by the mean."""
    given_values = torch.from_numpy(values) if as_tensor else values
    with folder() as root, wl.Session(root):
        wl.save_signals({"v": given_values}, _ids(len(values)), step=0)
        expected = values.reshape(len(values), -1).astype(np.float64).mean(1)
        assert _back() == pytest.approx(expected.tolist(), rel=1e-6)


@FEW
@given(st.integers(0, 5), st.integers(0, 5), st.booleans())
def test_mismatched_and_empty(values: int, ids: int, second: bool) -> None:
    """One value for each id, or an error and not a row; nothing for an empty batch."""
    signals = {"v": [1.0] * values} | ({"w": [2.0] * ids} if second else {})
    with folder() as root, wl.Session(root):
        if values == ids:
            wl.save_signals(signals, _ids(ids), step=0)
            assert wl.history().height == ids * len(signals)
        else:
            with pytest.raises(LengthMismatchError, match=rf"'v'.*{values}.*{ids}"):
                wl.save_signals(signals, _ids(ids), step=0)
            assert wl.history().is_empty()
            assert wl.history(kind="global").is_empty()
            assert wl.samples().is_empty()


_JUNK = st.one_of(
    st.none(),
    st.text(),
    st.binary(),
    st.complex_numbers(),
    st.lists(st.one_of(st.none(), st.text(max_size=2), st.floats(), st.lists(st.floats()))),
    st.dictionaries(st.text(max_size=2), st.integers()),
    st.floats(),
    st.booleans(),
)


@FEW
@given(_JUNK, _JUNK, _JUNK)
def test_whatever_comes_is_kept_or_refused(signals: Any, ids: Any, targets: Any) -> None:
    """No input but that which can be kept is kept; every other is an `InputError`, whole."""
    with folder() as root, wl.Session(root):
        try:
            wl.save_signals({"v": signals}, ids, targets=targets, step=0)
        except InputError:
            assert wl.history().is_empty()
            assert wl.history(kind="global").is_empty()
            assert wl.samples().is_empty()
        wl.save_signals({"after": [1.0]}, ["after"], step=0)
        assert [row[:3] for row in wl.query_signal_history("after")] == [("after", 0, 1.0)]


@FEW
@given(
    hnp.arrays(
        st.sampled_from([np.int64, np.int8, np.float32, np.bool_, np.uint8]),
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=3),
        elements={"min_value": 0, "max_value": 1},
    )
)
@example(np.array([0.8066406], np.float32))  # its shortest digits are another float64
def test_targets_come_back(targets: Any) -> None:
    """Targets of any shape come back as they were."""
    expected = targets.tolist()

    def look() -> None:
        rows = json_rows(wl.write_dataframe())
        assert [row["target"] for row in rows] == expected

    with folder() as root:
        at_every_age(
            root, lambda: wl.save_signals({}, _ids(len(targets)), targets=targets, step=0), look
        )


@FEW
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5))
def test_labels_come_back(labels: list[int]) -> None:
    """-100 stays -100, and so does every other label."""
    with folder() as root, wl.Session(root):
        wl.save_signals({}, _ids(len(labels)), targets=torch.tensor(labels), step=0)
        assert wl.samples()["target"].to_list() == labels
        assert [row["target"] for row in json_rows(wl.write_dataframe())] == labels
