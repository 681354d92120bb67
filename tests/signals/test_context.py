"""What a function sees: read-only, and made when it is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import weightslab as wl
from tests.signals.support import feed
from weightslab.signals.context import SignalContext


def context(**options: Any) -> SignalContext:
    return SignalContext("a", is_dynamic=False, dataframe=pl.DataFrame, **options)


PROPERTIES = [name for name in dir(SignalContext) if not name.startswith("_")]


@pytest.mark.parametrize("name", [*PROPERTIES, "other"])
def test_it_is_read_only(name: str) -> None:
    """No attribute can be set or added: a typing error in a function is found."""
    with pytest.raises(AttributeError):
        setattr(context(), name, 1)


def test_data_is_read_when_it_is_looked_at_and_once() -> None:
    """A signal that looks at no data costs no access to the dataset."""
    reads: list[int] = []

    def read() -> Any:
        reads.append(1)
        return np.zeros((2, 2, 3), np.uint8)

    ctx = context(data=read)
    assert reads == []
    assert ctx.image is not None
    assert ctx.data is ctx.data
    assert ctx.points is None
    assert reads == [1]


def test_history_is_made_once() -> None:
    """A function that looks twice sees one list."""
    made: list[int] = []
    ctx = context(history=lambda: made.append(1) or [{"signal_value": 1.0}])
    assert ctx.subscribed_history is ctx.subscribed_history
    assert made == [1]
    assert context().subscribed_history == []


def test_the_table_is_read_once_a_firing() -> None:
    """All samples of a batch look at one table; a tag that the function set before is in it."""
    tables: list[pl.DataFrame] = []

    @wl.signal(name="x", subscribe_to="loss")
    def x(ctx: Any) -> None:
        wl.tag_samples([ctx.sample_id], "seen")
        tables.append(ctx.dataframe)

    feed("loss", [0])
    feed("loss", [1])
    wl.history()
    assert tables[0] is tables[1]
    assert tables[2] is tables[3] is not tables[0]
    assert tables[0].filter("tag:seen")["sample_id"].to_list() == ["a"]


def test_origin_is_that_of_the_batch() -> None:
    """A sample of two splits is in the one whose batch the value was saved in."""
    seen: list[Any] = []
    wl.signal(name="x", subscribe_to="loss")(lambda ctx: seen.append((ctx.sample_id, ctx.origin)))
    data = TensorDataset(torch.zeros(1, 2), torch.zeros(1))
    loaders = {
        name: wl.watch_or_edit(DataLoader(data), flag="data", loader_name=name)
        for name in ("train", "val")
    }
    for name in ("train", "val", "train"):
        for *_, ids in loaders[name]:
            wl.save_signals({"loss": [1.0]}, ids)
    wl.history()
    assert [origin for _, origin in seen] == ["train", "val", "train"]
    assert len({sample for sample, _ in seen}) == 1


def test_it_shows_what_it_is() -> None:
    """A function that is debugged by printing sees the value and the sample."""
    text = repr(SignalContext("a", is_dynamic=True, dataframe=pl.DataFrame, subscribed_value=0.5))
    assert "dynamic" in text
    assert "'a'" in text
    assert "0.5" in text
