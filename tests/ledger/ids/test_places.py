"""Samples that somebody named by their place before their dataset was known."""

from __future__ import annotations

from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightslab.ledger import Ledger
from weightslab.ledger.ids.ids import IdStore
from weightslab.maintenance.check import check, open_tree

RANGES = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda ends: range(*sorted(ends)))
SUBSETS = st.lists(st.integers(0, 30), max_size=15).map(lambda some: np.array(some, np.int64))
ORIGINS = st.sampled_from(["train", "a/b"])
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("register"), ORIGINS, st.one_of(RANGES, SUBSETS)),
        st.tuples(st.just("name"), ORIGINS, st.lists(st.integers(0, 30), max_size=6)),
    ),
    max_size=8,
)


def everything(ids: IdStore) -> list[tuple[str, Any, tuple[str, ...]]]:
    return [(ids.name(row), ids.index_of(row), ids.origins_of(row)) for row in range(len(ids))]


@given(ACTIONS)
def test_a_place_has_one_row_in_whatever_order_it_is_named_and_registered(
    actions: list[tuple[str, str, Any]],
) -> None:
    """The first row of a place is its row for good, and what was logged gives the same again."""
    logged: list[tuple[dict[str, Any], bytes]] = []
    ids = IdStore(RLock(), lambda op, blob: logged.append((op, blob)))
    row_of: dict[str, int] = {}
    for action, origin, indices in actions:
        names = [f"{origin}/{index}" for index in indices]
        rows = ids.block(origin, indices) if action == "register" else ids.add(names, None)
        for name, row in zip(names, rows.tolist(), strict=True):
            assert row_of.setdefault(name, row) == row
        assert ids.names(rows) == names
        assert ids.find_all(names, under=None) == rows.tolist()
        if action == "register":
            assert [ids.index_of(row) for row in rows.tolist()] == list(indices)
            assert all(ids.origins_of(row) == (origin,) for row in rows.tolist())
    assert len(ids) == len(set(row_of.values())) == len(row_of)
    again = IdStore(RLock(), lambda op, blob: None)
    for op, blob in logged * 2:
        again.replay(op, blob)
    assert everything(again) == everything(ids)


@pytest.mark.parametrize("flushed", ["before", "between", "after", "never"])
@pytest.mark.parametrize("renamed", [False, True])
def test_places_survive_closing(tmp_path: Path, flushed: str, renamed: bool) -> None:
    """A row that got its place keeps it in files, with or without another name by then."""
    first = Ledger(tmp_path)
    mine = first.ids.add(["train/5", "train/2", "other"], None)
    if flushed == "before":
        first.flush()
    rows = first.register("train", range(7))
    assert rows[[5, 2]].tolist() == mine[:2].tolist()
    if flushed == "between":
        first.flush()
    if renamed:
        first.ids.rename(mine[:1], ["img"])
    if flushed == "after":
        first.flush()
    expected = everything(first.ids)
    reader = Ledger(tmp_path, mode="r")
    (view,) = reader.views()
    assert everything(view.store.ids) == expected
    first.close()
    again = Ledger(tmp_path)
    assert everything(again.ids) == expected
    assert again.ids.find("train/5") == mine[0]
    assert again.register("train", range(7)).tolist() == rows.tolist()
    again.ids.unname(mine)
    assert again.ids.name(int(mine[0])) == "train/5"
    again.close()
    assert not check(open_tree(tmp_path)).report.findings


def test_an_id_that_another_datasets_sample_says_stays_its_own(tmp_path: Path) -> None:
    """A place whose name is a sample of another dataset is called by origin and name."""
    ledger = Ledger(tmp_path)
    cats = ledger.register("train", range(2))
    ledger.ids.rename(cats[:1], ["cats/1"])
    rows = ledger.register("cats", range(3))
    assert ledger.ids.names(rows) == ["cats/0", "cats/cats/1", "cats/2"]
    assert ledger.ids.find("cats/1") == cats[0]
    assert ledger.register("cats", range(3)).tolist() == rows.tolist()
    ledger.close()
    again = Ledger(tmp_path)
    assert again.register("cats", range(3)).tolist() == rows.tolist()
    again.close()


def test_many_names_and_a_small_dataset(tmp_path: Path) -> None:
    """Names far beyond the dataset's length are none of its places."""
    ledger = Ledger(tmp_path)
    mine = ledger.ids.add([f"train/{index}" for index in range(3, 300)], None)
    rows = ledger.register("train", range(5))
    assert rows[3:].tolist() == mine[:2].tolist()
    grown = ledger.register("train", range(1000))
    assert grown[3:300].tolist() == mine.tolist()
    assert len(ledger.ids) == 1000
    ledger.close()
