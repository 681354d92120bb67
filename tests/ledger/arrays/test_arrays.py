"""Arrays of samples: each comes back as it went in, from memory, from files and from the log."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ledger.support import run_script
from weightslab.ledger import Ledger, LedgerOptions
from weightslab.ledger.arrays.reader import held_keys, read_arrays

SMALL: list[Any] = [
    np.array(-100),
    np.array(2.5, np.float64),
    np.array(True),
    np.zeros(0, np.int16),
    np.zeros((3, 0, 2), np.float32),
    np.array([True, False, True]),
    np.arange(6, dtype=np.uint8).reshape(2, 3),
    np.array([2**62, -(2**62)]),
    np.array([math.nan, -0.0, math.inf, 1e300]),
    np.array([1.5, 65504], np.float16),
    np.array([1 + 2j, complex(math.nan, 1)], np.complex64),
    np.array([1, 2], ">i4"),
    np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
    np.arange(512.0),
]
"""Of every kind of number, shape and order; none above 4 KiB."""

LARGE: list[tuple[Any, str]] = [
    (np.random.default_rng(0).integers(0, 255, (80, 80), np.uint8), "uint8"),
    (np.random.default_rng(1).integers(-(2**62), 2**62, (30, 30)), "int64"),
    (np.random.default_rng(2).random((80, 80)) < 0.5, "bool"),
    (np.full(600, 1 + 2j), "complex128"),
    (np.linspace(-60000, 60000, 5000, dtype=np.float16).astype(np.float32), "float16"),
    (np.array([math.nan, math.inf, -math.inf] * 1000), "float16"),
    (np.array([65504.0, 1e6, math.inf] * 1000, np.float32), "float32"),
    (np.array([1e38, 1.0] * 1000), "float32"),
    (np.array([1e300, 1.0] * 1000), "float64"),
    (np.full(5000, 1.0, np.float16), "float16"),
]
"""Above 4 KiB, with the type in which they come back."""


def same(found: Any, expected: Any) -> bool:
    """Whether two arrays have one dtype, shape and the same bits."""
    return (found.dtype.str, found.shape, found.tobytes()) == (
        expected.dtype.str,
        expected.shape,
        expected.tobytes(),
    )


def arrays(ledger: Ledger, field: str = "targets") -> dict[int, Any]:
    """Every array of the first writer, by row << 32 | annotation."""
    store = ledger.views()[0].store
    return read_arrays(store, field, held_keys(store, field))


@pytest.mark.parametrize("memory", [1 << 20, 0], ids=["in memory", "in files"])
def test_small_arrays_keep_dtype_shape_and_bits(tmp_path: Path, memory: int) -> None:
    """Whatever the kind of number and the shape, before a flush, after it, and when closed."""
    options = LedgerOptions(flush_interval_s=3600, array_memory_bytes=memory)
    ledger = Ledger(tmp_path, options=options)
    rows = ledger.ids.block("train", range(len(SMALL)))

    def look(looked: Ledger) -> None:
        found = arrays(looked)
        assert len(found) == len(SMALL)
        for row, expected in enumerate(SMALL):
            assert same(found[row << 32], expected), expected

    ledger.append_arrays("targets", rows, SMALL)
    look(ledger)
    ledger.flush()
    look(ledger)
    ledger.close()
    look(Ledger(tmp_path, mode="r", options=options))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("item", SMALL, ids=repr)
def test_a_batch_is_one_array(tmp_path: Path, item: Any, batch: int) -> None:
    """A batch as one array gives each sample its item."""
    ledger = Ledger(tmp_path)
    rows = ledger.ids.block("train", range(batch))
    ledger.append_arrays("targets", rows, np.stack([item] * batch).astype(item.dtype))
    ledger.close()
    found = arrays(Ledger(tmp_path, mode="r"))
    assert [same(found[row << 32], item) for row in range(batch)] == [True] * batch


@pytest.mark.parametrize(("item", "dtype"), LARGE, ids=[dtype for _, dtype in LARGE])
def test_large_arrays_keep_what_is_said(tmp_path: Path, item: Any, dtype: str) -> None:
    """Integers and booleans are bit-equal; floats narrow where none becomes infinite."""
    ledger = Ledger(tmp_path, options=LedgerOptions(flush_interval_s=3600))
    rows = ledger.ids.block("train", range(1))
    ledger.append_arrays("targets", rows, item[None])
    for looked in (ledger, Ledger(tmp_path, mode="r")):
        found = arrays(looked)[0]
        assert same(found, item.astype(dtype))
        assert np.array_equal(np.isinf(found), np.isinf(item))
        ledger.close()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("cat", np.array("cat")),
        (np.array(["a", "béé"]), np.array(["a", "béé"])),
        (np.array([(1, 2.5)], [("x", "i4"), ("y", "f8")]), np.array([[1, 2.5]])),
        (np.datetime64("2024-01-02"), np.array("2024-01-02")),
    ],
)
def test_what_is_no_number_comes_back_as_json_has_it(
    tmp_path: Path, value: Any, expected: Any
) -> None:
    """Text, structures and dates are kept as JSON."""
    ledger = Ledger(tmp_path)
    ledger.append_arrays("targets", ledger.ids.block("train", range(1)), [value])
    ledger.close()
    assert same(arrays(Ledger(tmp_path, mode="r"))[0], expected)


def test_what_the_caller_changes_afterwards_is_not_kept(tmp_path: Path) -> None:
    """A batch is copied when it is saved: the file has what memory has."""
    ledger = Ledger(tmp_path, options=LedgerOptions(flush_interval_s=3600))
    values, masks = np.ones((1, 3)), np.ones((1, 99, 99), np.int64)
    rows = ledger.ids.block("train", range(1))
    ledger.append_arrays("targets", rows, values)
    ledger.append_arrays("preds", rows, masks)
    values[:] = masks[:] = 7
    ledger.close()
    reader = Ledger(tmp_path, mode="r")
    assert arrays(reader)[0].tolist() == [1, 1, 1]
    assert np.unique(arrays(reader, "preds")[0]).tolist() == [1]


def test_arrays_that_are_read_are_copies(tmp_path: Path) -> None:
    """Who reads an array may write into it."""
    ledger = Ledger(tmp_path)
    rows = ledger.ids.block("train", range(1))
    ledger.append_arrays("targets", rows, np.zeros((1, 3)))
    ledger.append_arrays("preds", rows, np.zeros((1, 99, 99), np.int64))
    for field in ("targets", "preds"):
        arrays(ledger, field)[0][:] = 1
        assert not arrays(ledger, field)[0].any()
    ledger.close()


def test_the_newest_array_is_the_samples(tmp_path: Path) -> None:
    """Of several saves the last one counts, also where dtype and shape differ, at every age."""
    ledger = Ledger(tmp_path, options=LedgerOptions(flush_interval_s=3600, array_memory_bytes=0))
    rows = ledger.ids.block("train", range(2))
    values = [np.zeros((2, 3)), np.ones((2, 5)), np.full((2, 3), 2.0), np.full(2, 3)]
    for at, value in enumerate(values):
        ledger.append_arrays("targets", rows[: 2 - at % 2], value[: 2 - at % 2])
        if at % 2:
            ledger.flush()
        found = arrays(ledger)
        assert same(found[0], value[0, ...])
    assert same(found[1 << 32], values[2][0])
    ledger.close()


def test_arrays_of_instances_are_theirs(tmp_path: Path) -> None:
    """The sample's own array and those of its instances are kept apart, small and large."""
    ledger = Ledger(tmp_path, options=LedgerOptions(array_memory_bytes=0))
    rows = np.array([0, 0, 1], np.int32)
    ledger.ids.block("train", range(2))
    numbers = np.array([1, 2, 1], np.int32)
    masks = np.arange(3)[:, None, None] * np.ones((1, 99, 99), np.int64)
    ledger.append_arrays("targets", rows[:1], np.array([9]))
    ledger.append_arrays("targets", rows, np.array([1, 2, 3]), numbers)
    ledger.append_arrays("preds", rows, masks, numbers)
    ledger.close()
    reader = Ledger(tmp_path, mode="r")
    place = [(0 << 32) | 0, (0 << 32) | 1, (0 << 32) | 2, (1 << 32) | 1]
    assert arrays(reader) == dict(zip(place, [9, 1, 2, 3], strict=True))
    large = arrays(reader, "preds")
    assert [int(large[key].max()) for key in place[1:]] == [0, 1, 2]


KILLED = """
import os, signal, sys
import numpy as np
from weightslab.ledger import Ledger, LedgerOptions
ledger = Ledger(sys.argv[1], options=LedgerOptions(flush_interval_s=1e9))
rows = ledger.ids.block("train", range(3))
large, small = np.full((1, 99, 99), 5), np.full((1, 4), 7)
ledger.append_arrays("preds", rows[:1], large)
ledger.append_arrays("preds", rows[1:2], small)
ledger.append_arrays("preds", rows[2:], large)
ledger.flush()
ledger.append_arrays("preds", rows[:1], small)
ledger.append_arrays("preds", rows[1:2], large)
if sys.argv[2] == "flushed":
    ledger.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("flushed", ["flushed", "logged"])
def test_after_a_kill_the_newest_is_found_among_small_and_large(
    tmp_path: Path, flushed: str
) -> None:
    """A small array that took a large one's place stays, and an array that did not change."""
    run_script(KILLED, tmp_path, flushed, path=True)
    for mode in ("r", "w", "r"):
        ledger = Ledger(tmp_path, mode=mode)  # type: ignore[arg-type]
        found = arrays(ledger, "preds")
        ledger.close()
        assert found[0].tolist() == [7] * 4
        # Large ones are outside of the promise: the kill may cost the last of them.
        expected = (99, 99) if flushed == "flushed" else (4,)
        assert found[1 << 32].shape == expected
        assert found[2 << 32].shape == (99, 99)
