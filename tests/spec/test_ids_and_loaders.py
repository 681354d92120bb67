"""The table "Ids and loaders" of api.md, row by row, through real loaders."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

import weightslab as wl
from tests.spec.support import Items, Numbers, said, table, triples
from weightslab.errors import AllDiscardedError


def _drawn(loader: Any) -> list[str]:
    """Ids of one epoch, in order."""
    found: list[str] = []
    for _ in loader:
        ids = wl.current_ids()
        assert ids is not None
        found += ids
    return found


@pytest.mark.parametrize(
    "ids",
    [
        [1, 2],
        ["1", "2"],
        np.array([1, 2]),
        np.array(["1", "2"]),
        torch.tensor([1, 2]),
        [torch.tensor(1), "2"],
        [np.int64(1), torch.tensor([2])],
        (np.uint8(1), 2),
        torch.tensor([[1], [2]]),
    ],
)
def test_type_of_an_id(ids: Any) -> None:
    """Quoted: "the one canonical form is `str` … are one sample; results are `str`"."""
    wl.save_signals({"loss": [0.5, 0.25]}, ["1", "2"], step=0)
    wl.save_signals({"loss": [1.5, 1.25]}, ids, step=1)
    assert triples("loss") == [("1", 0, 0.5), ("1", 1, 1.5), ("2", 0, 0.25), ("2", 1, 1.25)]
    assert all(type(row[0]) is str for row in wl.query_signal_history("loss"))


@pytest.mark.parametrize("one", [1, "1", np.int64(1), torch.tensor(1)])
def test_a_single_id(one: Any) -> None:
    """Quoted: "anything is accepted (int, str, numpy, 0-d or 1-d tensors, mixed lists)"."""
    wl.save_signals({"loss": [0.5]}, one, step=0)
    assert triples("loss") == [("1", 0, 0.5)]
    assert wl.query_sample_history(one) == wl.query_sample_history("1")
    assert wl.history("loss", sample_id=one).height == 1
    assert list(table(sample_id=one)) == [("1", 0)]


# -- what identifies a row ---------------------------------------------------------


def test_strings_in_the_batch_name_the_rows() -> None:
    """Quoted: "A third item of the batch … *names* the row. Strings always do"."""
    items = [(torch.zeros(1), 0, f"img{n}.png") for n in range(3)]
    loader = wl.watch_or_edit(DataLoader(Items(items), batch_size=2), flag="data")
    assert _drawn(loader) == ["img0.png", "img1.png", "img2.png"]


@pytest.mark.parametrize("field", ["id", "sample_id", "idx", "index"])
def test_the_id_field_of_a_dict(field: str) -> None:
    """Quoted: "or a dict's id, sample_id, idx or index field"."""
    items = [{"image": torch.zeros(1), field: 10 + n} for n in range(3)]
    loader = wl.watch_or_edit(DataLoader(Items(items), batch_size=2), flag="data")
    assert _drawn(loader) == ["10", "11", "12"]


def test_integers_that_are_one_to_one() -> None:
    """Quoted: "Integers do only while index and value stay one to one"."""
    items = [(torch.zeros(1), 0, 100 + n) for n in range(4)]
    loader = wl.watch_or_edit(DataLoader(Items(items), batch_size=2), flag="data")
    assert _drawn(loader) == ["100", "101", "102", "103"]


def test_a_class_is_no_id() -> None:
    """Quoted: "The first violation … drops the naming … and says so once"."""
    with wl.Session("run") as session:
        items = [(torch.zeros(1), torch.zeros(1), n % 2) for n in range(6)]
        loader = wl.watch_or_edit(DataLoader(Items(items), batch_size=3), flag="data")
        for _ in range(2):
            assert _drawn(loader) == [f"train/{n}" for n in range(6)]
        assert len(session.notices.messages()) == 1


class Stream(IterableDataset[Any]):
    """Items with an integer id, in no order that an index could know."""

    def __iter__(self) -> Any:
        return iter([(torch.zeros(1), 0, n) for n in (7, 3, 5)])


def test_integers_of_an_iterable() -> None:
    """Quoted: "Integers without an index (iterables) need `id_fn` or `ids=True`"."""
    plain = wl.watch_or_edit(DataLoader(Stream(), batch_size=3), flag="data", loader_name="a")
    assert _drawn(plain) != ["7", "3", "5"]
    by_flag = wl.watch_or_edit(
        DataLoader(Stream(), batch_size=3), flag="data", loader_name="b", ids=True
    )
    assert [name.split("/")[-1] for name in _drawn(by_flag)] == ["7", "3", "5"]
    by_function = wl.watch_or_edit(
        DataLoader(Stream(), batch_size=3),
        flag="data",
        loader_name="c",
        id_fn=lambda item: f"item-{item[2]}",
    )
    assert _drawn(by_function) == ["item-7", "item-3", "item-5"]


# -- for inputs, targets, ids in loader --------------------------------------------


def test_ids_are_appended_to_a_two_item_batch() -> None:
    """Quoted: "appends the ids to a two-item batch"."""
    loader = wl.watch_or_edit(DataLoader(Numbers(4), batch_size=2), flag="data")
    for inputs, targets, ids in loader:
        assert [f"train/{int(x)}" for x in inputs] == list(ids)
        assert len(targets) == 2
        wl.save_signals({"x": inputs}, ids, step=0)
    assert triples("x") == [(f"train/{n}", 0, float(n)) for n in range(4)]


def test_append_ids_false() -> None:
    """Quoted: "(`append_ids=False` keeps `for x, y in loader`)"."""
    loader = wl.watch_or_edit(DataLoader(Numbers(4)), flag="data", append_ids=False)
    assert all(len(batch) == 2 for batch in loader)


@pytest.mark.parametrize(
    "item",
    [
        torch.zeros(2),
        (torch.zeros(2),),
        (torch.zeros(2), 1, torch.zeros(1)),
        {"x": torch.zeros(2), "y": 1},
    ],
)
def test_every_other_batch_passes_through(item: Any) -> None:
    """Quoted: "every other batch passes through unchanged"."""
    plain = DataLoader(Items([item] * 3), batch_size=3)
    [expected], [found] = list(plain), list(wl.watch_or_edit(plain, flag="data"))
    assert type(found) is type(expected)
    assert str(found) == str(expected)


# -- ids made by us ----------------------------------------------------------------


def test_ids_made_by_us_are_stable() -> None:
    """Quoted: "stable across runs, epochs, augmentation and the order of registration"."""
    found = []
    for order in (("train", "val"), ("val", "train")):
        with wl.Session("run"):
            loaders = {
                name: wl.watch_or_edit(
                    DataLoader(Numbers(5), shuffle=name == "train"), flag="data", loader_name=name
                )
                for name in order
            }
            found += [
                [sorted(_drawn(loaders[name])) for name in ("train", "val")] for _ in range(2)
            ]
    expected = [[f"{name}/{n}" for n in range(5)] for name in ("train", "val")]
    assert found == [expected] * 4


def test_a_loader_that_joins_in_a_later_run() -> None:
    """Quoted: "stable across runs": a second view of the training set renames nothing."""
    for names in (("train",), ("probe", "train"), ("train", "probe")):
        with wl.Session("run"):
            data = Numbers(2)
            loaders = [
                wl.watch_or_edit(DataLoader(data), flag="data", loader_name=name) for name in names
            ]
            assert [_drawn(loader) for loader in loaders] == [["train/0", "train/1"]] * len(names)


class Untouchable(Dataset[Any]):
    """A large dataset that notices when somebody reads it."""

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: int) -> Any:
        pytest.fail("registration read the dataset")


def test_registration_never_reads_the_dataset() -> None:
    """Quoted: "registration never reads the dataset (1M samples in well under a second)"."""
    began = time.perf_counter()
    wl.watch_or_edit(DataLoader(Untouchable()), flag="data")
    wl.tag_samples(["train/999999"], "last")
    # Far above what it takes: this tells a pass over the samples, not a slow day.
    assert time.perf_counter() - began < 10
    assert wl.get_samples_by_tag("last") == ["train/999999"]


def test_one_id_in_two_datasets() -> None:
    """Quoted: "An id that arrives from a *different* base dataset … as `<origin>/<id>`, once"."""
    with wl.Session("run") as session:
        for name in ("train", "val"):
            items = [(torch.zeros(1), 0, "a"), (torch.zeros(1), 0, "b")]
            loader = wl.watch_or_edit(DataLoader(Items(items)), flag="data", loader_name=name)
            found = _drawn(loader) + _drawn(loader)
            assert found == (["a", "b"] * 2 if name == "train" else ["val/a", "val/b"] * 2)
        assert len(session.notices.messages()) == 1
        wl.tag_samples(["a"], "bare")
        assert wl.get_samples_by_tag("bare", origin=None) in (["a"], ["val/a"])


def test_a_bare_id_means_the_current_batch() -> None:
    """Quoted: "a bare id given to a verb means the origin of the current batch, else the first"."""
    loaders = [
        wl.watch_or_edit(DataLoader(Numbers(2)), flag="data", loader_name=name, append_ids=False)
        for name in ("train", "val")
    ]
    for loader in loaders:
        for x, _ in loader:
            wl.save_signals({"x": x}, [int(x)], step=0)
    assert sorted(row[0] for row in triples("x")) == ["train/0", "train/1", "val/0", "val/1"]
    wl.discard_samples([1])
    assert wl.get_discarded_samples() == ["train/1"]


def test_the_first_split_whatever_it_is_called() -> None:
    """Quoted: "else the first": loaders have the names that their scripts give them."""
    for name in ("train_loader", "val_loader"):
        wl.watch_or_edit(DataLoader(Numbers(3)), flag="data", loader_name=name)
    wl.tag_samples([1], "t")
    wl.save_signals({"loss": [0.5]}, [2], step=0)
    assert wl.get_samples_by_tag("t") == ["train_loader/1"]
    assert triples("loss") == [("train_loader/2", 0, 0.5)]
    assert wl.query_sample_history(2) == wl.query_sample_history("train_loader/2")
    assert wl.samples().height == 6


# -- discard -----------------------------------------------------------------------


def test_the_epoch_shrinks() -> None:
    """Quoted: "raw `watch_or_edit`: the epoch shrinks, batches stay full where they can"."""
    loader = wl.watch_or_edit(DataLoader(Numbers(6), batch_size=2), flag="data")
    wl.discard_samples(["train/1", "train/2"])
    assert [list(ids) for _, _, ids in loader] == [["train/0", "train/3"], ["train/4", "train/5"]]


def test_restore_brings_the_sample_back() -> None:
    """Quoted: "Restore brings the sample back"."""
    loader = wl.watch_or_edit(DataLoader(Numbers(3)), flag="data")
    wl.discard_samples(["train/1"])
    assert _drawn(loader) == ["train/0", "train/2"]
    wl.discard_samples(["train/1"], discarded=False)
    assert _drawn(loader) == ["train/0", "train/1", "train/2"]


def test_a_discard_works_within_the_epoch() -> None:
    """A discard takes effect from the next batch on."""
    loader = wl.watch_or_edit(DataLoader(Numbers(4)), flag="data")
    found = []
    for _, _, ids in loader:
        found += ids
        if ids == ["train/0"]:
            wl.discard_samples(["train/2"])
    assert found == ["train/0", "train/1", "train/3"]


def test_all_discarded() -> None:
    """Quoted: "All discarded: an error with the way back"."""
    loader = wl.watch_or_edit(DataLoader(Numbers(2)), flag="data")
    wl.discard_samples(["train/0", "train/1"])
    with pytest.raises(AllDiscardedError, match="discarded=False"):
        list(loader)


def test_validation_keeps_its_samples() -> None:
    """A loader that does not train shows every sample, discarded or not."""
    loader = wl.watch_or_edit(DataLoader(Numbers(2)), flag="data", loader_name="val")
    wl.discard_samples(["val/0"])
    assert _drawn(loader) == ["val/0", "val/1"]


def test_loss_values_are_never_changed() -> None:
    """Quoted: "The user's loss values are never changed"."""
    loss = wl.watch_or_edit(nn.L1Loss(reduction="none"), flag="loss", name="l1")
    wl.save_signals({"x": [1.0, 2.0]}, ["a", "b"])
    wl.discard_samples(["a"])
    assert loss(torch.ones(2), torch.zeros(2), batch_ids=["a", "b"]).tolist() == [1.0, 1.0]


# -- origin ------------------------------------------------------------------------


def test_an_unnamed_loader_is_train() -> None:
    """Quoted: "values saved with no loader known, or an unnamed one, are `train`"."""
    list(wl.watch_or_edit(DataLoader(Numbers(1)), flag="data"))
    wl.save_signals({"loss": [1.0]}, ["by hand"])
    frame = wl.samples()
    assert dict(frame.select("sample_id", "origin").rows()) == {
        "train/0": "train",
        "by hand": "train",
    }


def test_origin_is_a_column_and_not_an_identity() -> None:
    """Quoted: "one id is one sample, and a sample may be in several origins"."""
    data = Numbers(2)
    for name in ("train", "probe"):
        list(wl.watch_or_edit(DataLoader(data), flag="data", loader_name=name))
    wl.tag_samples(["train/1"], "t")
    assert wl.get_samples_by_tag("t", origin="probe") == ["train/1"]
    assert wl.samples(origin="probe")["sample_id"].to_list() == ["train/0", "train/1"]
    assert wl.samples()["sample_id"].to_list() == ["train/0", "train/1"]


# -- workers -----------------------------------------------------------------------


class Verbs(Dataset[Any]):
    """Each item calls a verb inside the worker and says what came of it."""

    CALLS = (
        lambda: wl.watch_or_edit(nn.MSELoss(), flag="loss"),
        lambda: wl.save_signals({"loss": [1.0]}, ["a"]),
        lambda: wl.save_instance_signals({"iou": [1.0]}, ["a"], [0]),
        lambda: wl.tag_samples(["a"], "t"),
        lambda: wl.register_categorical_tag("w", ["x"]),
        lambda: wl.set_categorical_tag(["a"], "w", "x"),
        lambda: wl.discard_samples(["a"]),
        lambda: wl.get_samples_by_tag("t"),
        wl.get_discarded_samples,
        lambda: wl.query_signal_history("loss"),
        lambda: wl.query_sample_history("a"),
        lambda: wl.query_instance_history("a", 1),
        wl.history,
        wl.samples,
        wl.write_history,
        wl.write_dataframe,
    )

    def __len__(self) -> int:
        return len(self.CALLS)

    def __getitem__(self, index: int) -> str:
        try:
            self.CALLS[index]()
        except wl.WeightsLabError as error:
            return str(error)
        return "nothing was said"


def test_verbs_inside_a_worker() -> None:
    """A verb that keeps state says that it was called inside a DataLoader worker."""
    wl.save_signals({"loss": [1.0]}, ["a"])
    for [message] in DataLoader(Verbs(), num_workers=1):
        assert "inside a DataLoader worker" in message


def test_ids_follow_workers() -> None:
    """Whichever process loads an item, its id is its own."""
    loader = wl.watch_or_edit(DataLoader(Numbers(8), 2, shuffle=True, num_workers=2), flag="data")
    seen = [(int(x), name) for xs, _, ids in loader for x, name in zip(xs, ids, strict=True)]
    assert sorted(seen) == [(n, f"train/{n}") for n in range(8)]


def test_text_that_no_file_can_hold_in_a_batch() -> None:
    """A file name that is not UTF-8 as an id never ends a training run; it is said."""
    with wl.Session("run") as session:
        items = [(torch.zeros(1), 0, "img\udcff"), (torch.zeros(1), 0, "fine")]
        loader = wl.watch_or_edit(DataLoader(Items(items), batch_size=2), flag="data")
        for _ in loader:
            wl.save_signals({"loss": [1.0, 2.0]}, None)
        session.flush()
        assert [row[0] for row in triples("loss")] == ["train/0", "train/1"]
        assert "UTF-8" in said(session)
