from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightslab.errors import InputError
from weightslab.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(tmp_path / "run")
    yield made
    made.close()


def test_a_block_is_named_by_origin_and_index(ledger: Ledger) -> None:
    """Ids made by us are "<origin>/<index>"."""
    rows = ledger.ids.block("val", range(3))
    assert ledger.ids.names(rows) == ["val/0", "val/1", "val/2"]
    assert ledger.ids.find("val/2") == rows[2]
    assert ledger.ids.find("val/3") is None


@pytest.mark.parametrize(
    "name", ["val/02", "val/-1", "val/1x", "val/", "/1", "val/１", "val/" + "9" * 40]
)
def test_only_the_canonical_number_finds_an_index(ledger: Ledger, name: str) -> None:
    """An id that only looks like "<origin>/<index>" is another id."""
    ledger.ids.block("val", range(100))
    assert ledger.ids.find(name) is None


def test_the_same_block_again_is_the_same_rows(ledger: Ledger) -> None:
    """Registering the same origin again finds its rows; a grown dataset adds only what is new."""
    first = ledger.ids.block("train", range(5))
    assert ledger.ids.block("train", range(5)).tolist() == first.tolist()
    grown = ledger.ids.block("train", range(8))
    assert grown[:5].tolist() == first.tolist()
    assert len(ledger.ids) == 8


@given(st.lists(st.integers(0, 200), max_size=40), st.lists(st.integers(0, 200), max_size=40))
def test_any_subsets_agree_on_rows(first: list[int], second: list[int]) -> None:
    """Two subsets of one origin give one row per index, whatever their order and overlap."""
    from weightslab.ledger.ids.ids import IdStore

    ids = IdStore(__import__("threading").RLock(), lambda op, blob: None)
    by_index: dict[int, int] = {}
    for wanted in (first, second, first):
        rows = ids.block("train", np.array(wanted, np.int64))
        assert len(rows) == len(wanted)
        for index, row in zip(wanted, rows.tolist(), strict=True):
            assert by_index.setdefault(index, row) == row
            assert ids.name(row) == f"train/{index}"
            assert ids.index_of(row) == index
    assert len(ids) == len(by_index) == len(set(by_index.values()))


@given(st.lists(st.text(min_size=1, max_size=20), max_size=30))
def test_any_names_are_found_again(names: list[str]) -> None:
    """Any strings are ids: each name has one row, and the row its name."""
    from weightslab.ledger.ids.ids import IdStore

    ids = IdStore(__import__("threading").RLock(), lambda op, blob: None)
    ids.block("train", range(3))
    rows = ids.add(names, "train")
    assert ids.names(rows) == names
    assert ids.add(names, "val").tolist() == rows.tolist()


def test_a_row_takes_a_name_and_gives_it_back(ledger: Ledger) -> None:
    """A row can be renamed and unnamed; the freed name belongs to nobody."""
    rows = ledger.ids.block("train", range(3))
    ledger.ids.rename(rows[1:2], ["img"])
    assert ledger.ids.find("img") == rows[1]
    ledger.ids.unname(rows)
    assert ledger.ids.find("img") is None
    assert ledger.ids.name(int(rows[1])) == "train/1"


def test_a_taken_name_is_refused_and_nothing_renamed(ledger: Ledger) -> None:
    """An id names one sample: a taken name is refused, and the call changes nothing."""
    rows = ledger.ids.block("train", range(3))
    ledger.ids.rename(rows[:1], ["a"])
    with pytest.raises(InputError, match="'a' already belongs"):
        ledger.ids.rename(rows[1:], ["b", "a"])
    assert ledger.ids.find("b") is None


def test_a_sample_may_be_in_several_origins(ledger: Ledger) -> None:
    """A sample may be in several origins, the first one first."""
    rows = ledger.ids.block("train", range(3))
    ledger.ids.add_origin(rows[:1], "val")
    assert ledger.ids.origins_of(0) == ("train", "val")
    assert ledger.ids.origins_of(1) == ("train",)


def test_everything_about_ids_survives_closing(tmp_path: Path) -> None:
    """Blocks, subsets, names, renames and origins are the same after closing and opening."""
    first = Ledger(tmp_path)
    rows = first.ids.block("train", np.array([5, 9, 7], np.int64))
    first.ids.block("val", range(4))
    first.ids.add(["é/ü", "a,b", "🙂"], "test")
    first.flush()
    first.ids.rename(rows[:1], ["later"])
    first.ids.add_origin(rows[1:], "fold")
    expected = [(first.ids.name(r), first.ids.origins_of(r)) for r in range(len(first.ids))]
    first.close()
    again = Ledger(tmp_path)
    assert [(again.ids.name(r), again.ids.origins_of(r)) for r in range(len(again.ids))] == expected
    assert again.ids.block("train", np.array([7], np.int64)).tolist() == [rows[2]]
    assert again.ids.find("later") == rows[0]
    again.close()


def test_one_call_cannot_give_one_name_twice(ledger: Ledger) -> None:
    """Two rows that are to get one name in one call are refused, and nothing is renamed."""
    rows = ledger.ids.block("train", range(2))
    with pytest.raises(InputError, match="'x' already belongs"):
        ledger.ids.rename(rows, ["x", "x"])
    assert ledger.ids.find("x") is None
