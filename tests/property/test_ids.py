"""Whatever a sample is called, it is found under that name, everywhere and for good."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

import weightslab as wl
from tests.property.support import FEW, NAMES, at_every_age, csv_rows, folder, json_rows

_INT64 = st.integers(-(2**63), 2**63 - 1)
_IDS = st.lists(st.one_of(NAMES, st.integers()), min_size=1, max_size=5, unique_by=str)


def _spellings(value: int) -> st.SearchStrategy[Any]:
    """Ways to write a whole number as an id."""
    return st.sampled_from(
        [value, str(value), np.int64(value), torch.tensor(value), np.array(value), np.str_(value)]
    )


@FEW
@given(_IDS)
def test_ids_come_back(ids: list[Any]) -> None:
    """Ids of any text and number are those of queries, history, samples and files."""
    names = [str(one) for one in ids]
    values = [float(n) for n in range(len(ids))]

    def look() -> None:
        rows = wl.query_signal_history("loss")
        assert [row[:3] for row in rows] == [(n, 0, v) for n, v in zip(names, values, strict=True)]
        assert wl.history("loss")["sample_id"].to_list() == names
        assert wl.samples()["sample_id"].to_list() == names
        for one, value in zip(ids, values, strict=True):
            assert [row[:3] for row in wl.query_sample_history(one)] == [("loss", 0, value)]
        history = wl.write_history(type_of_history="sample")
        assert [row["sample_id"] for row in json_rows(history)["sample"]] == names
        table = json_rows(wl.write_dataframe())
        assert [(row["sample_id"], row["signals//loss"]) for row in table] == list(
            zip(names, values, strict=True)
        )
        only = json_rows(wl.write_dataframe(sample_id=ids[-1:]))
        assert [row["sample_id"] for row in only] == names[-1:]

    with folder() as root:
        at_every_age(root, lambda: wl.save_signals({"loss": values}, ids, step=0), look)


@FEW
@given(_IDS)
def test_ids_in_csv(ids: list[Any]) -> None:
    """CSV quotes what needs quoting: its readers see the ids as they were."""
    # Readers of CSV take a lone carriage return or a NUL for something else.
    kept = [one for one in ids if not set("\x00\r") & set(str(one))]
    with folder() as root, wl.Session(root):
        wl.save_signals({"loss": [1.0] * len(kept)}, kept, step=0)
        for path in (
            wl.write_history(format="csv", type_of_history="sample"),
            wl.write_dataframe(format="csv"),
        ):
            assert [row["sample_id"] for row in csv_rows(path)] == list(map(str, kept))


@FEW
@given(st.lists(_INT64, min_size=1, max_size=4, unique=True), st.data())
def test_every_spelling_is_one_sample(numbers: list[int], data: st.DataObject) -> None:
    """`1`, `"1"`, `np.int64(1)` and `tensor(1)` are one sample; mixed lists too."""
    with folder() as root, wl.Session(root):
        for step in range(3):
            ids: Any = [data.draw(_spellings(number)) for number in numbers]
            if step == 2:
                ids = data.draw(st.sampled_from([np.array(numbers), torch.tensor(numbers)]))
            wl.save_signals({"loss": [float(step)] * len(numbers)}, ids, step=step)
        rows = [row[:3] for row in wl.query_signal_history("loss")]
        assert rows == [(str(n), step, float(step)) for n in numbers for step in range(3)]
        spelled = [data.draw(_spellings(number)) for number in numbers]
        assert wl.tag_samples(spelled, "t") == len(numbers)
        assert wl.get_samples_by_tag("t") == [str(number) for number in numbers]


@FEW
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=8))
def test_an_id_that_repeats(ids: list[str]) -> None:
    """An id twice in one batch is two rows, in order."""
    values = [float(n) for n in range(len(ids))]
    with folder() as root:

        def look() -> None:
            for name in set(ids):
                own = [v for one, v in zip(ids, values, strict=True) if one == name]
                assert [row[2] for row in wl.query_sample_history(name)] == own
            assert wl.history("loss").height == len(ids)
            assert wl.samples().height == len(set(ids))

        at_every_age(root, lambda: wl.save_signals({"loss": values}, ids, step=0), look)


@FEW
@given(
    st.lists(NAMES, min_size=1, max_size=4, unique=True),
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
)
def test_instances_come_back(ids: list[str], positions: list[int]) -> None:
    """Instances are numbered from 1 in the order in which those of a sample appear."""
    batch_idx = [position % len(ids) for position in positions]
    values = [float(n) for n in range(len(batch_idx))]
    expected = {
        (ids[at], batch_idx[: n + 1].count(at)): value
        for n, (at, value) in enumerate(zip(batch_idx, values, strict=True))
    }

    def look() -> None:
        frame = wl.history("iou", kind="instance")
        found = frame.select("sample_id", "annotation_id", "value").rows()
        assert {(s, a): v for s, a, v in found} == expected
        assert len(found) == len(expected)
        for (name, annotation), value in expected.items():
            rows = wl.query_instance_history(name, annotation)
            assert [row[:3] for row in rows] == [("iou", 0, value)]
        rows = json_rows(wl.write_dataframe())
        assert {
            (row["sample_id"], row["annotation_id"]): row["signals//iou"]
            for row in rows
            if row["annotation_id"]
        } == expected

    with folder() as root:
        at_every_age(
            root, lambda: wl.save_instance_signals({"iou": values}, ids, batch_idx, step=0), look
        )
