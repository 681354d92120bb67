"""What names a sample: ids in the batch do, unless they are no ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, Subset

import weightslab as wl
from tests.capture.oracles import Keyed, Numbers, Stream, Triples, ids_of, said, watch
from tests.capture.recorded import samples
from weightslab.session import Session, current
from weightslab.session.slot import swap

NINE = [f"img_{i}" for i in range(9)]


class Launch:
    """A new process over the same folder, as far as the ledger can tell."""

    def __init__(self, folder: Path) -> None:
        self.session = Session(folder)

    def __enter__(self) -> Session:
        self.before = swap(self.session)
        return self.session

    def __exit__(self, *_: object) -> None:
        swap(self.before)
        self.session.close()


def _names(loader: Any) -> list[str]:
    return [name for name, _ in ids_of(loader)]


def test_strings_in_the_batch_name_the_samples() -> None:
    """A third item of strings is the ids, in every epoch."""
    loader = watch(DataLoader(Triples(NINE), batch_size=4, shuffle=True))
    for _ in range(2):
        assert all(name == f"img_{number}" for name, number in ids_of(loader))


def test_integers_name_the_samples_while_they_are_one_to_one() -> None:
    """A third item of integers is the ids when each sample has its own."""
    loader = watch(DataLoader(Triples([30 - i for i in range(9)]), batch_size=4))
    assert _names(loader) == [str(30 - i) for i in range(9)]


@pytest.mark.parametrize("field", ["id", "sample_id", "idx", "index"])
def test_the_id_field_of_a_dict_names_the_samples(field: str) -> None:
    """id, sample_id, idx and index are the fields that name a sample."""
    assert _names(watch(DataLoader(Keyed(field, NINE), batch_size=4))) == NINE


def test_another_field_of_a_dict_names_nothing() -> None:
    """A field of any other name is data."""
    names = _names(watch(DataLoader(Keyed("path", NINE), batch_size=4)))
    assert names == [f"train/{i}" for i in range(9)]


def test_a_class_as_third_item_names_nothing() -> None:
    """(image, mask, class): integers that repeat are no ids, and that is said once."""
    loader = watch(DataLoader(Triples([i % 2 for i in range(9)]), batch_size=4))
    for _ in range(2):
        assert _names(loader) == [f"train/{i}" for i in range(9)]
    assert said().count("do not name its samples") == 1


def test_a_class_that_repeats_late_takes_its_names_back() -> None:
    """(x1, x2, label), one at a time: the first repetition gives every sample our id again."""
    loader = watch(DataLoader(Triples([7, 8, 9, 7]), batch_size=1))
    ids_of(loader)
    assert _names(loader) == [f"train/{i}" for i in range(4)]
    assert current().ledger.ids.find("7") is None
    assert len(current().ledger.ids) == 4


def test_an_integer_that_changes_names_nothing() -> None:
    """An integer that differs for one sample from epoch to epoch is no id."""
    dataset = Triples(list(range(4)))
    loader = watch(DataLoader(dataset, batch_size=4))
    ids_of(loader)
    dataset.third = [10, 11, 12, 13]
    assert _names(loader) == [f"train/{i}" for i in range(4)]


def test_floats_and_booleans_name_nothing() -> None:
    """Only strings and integers are ids."""
    assert _names(watch(DataLoader(Triples([0.5, 1.5]), batch_size=2), name="a")) == ["a/0", "a/1"]
    assert _names(watch(DataLoader(Triples([True, False]), batch_size=2), name="b")) == [
        "b/0",
        "b/1",
    ]


def test_ids_false_takes_nothing_from_the_batch() -> None:
    """`ids=False` keeps our ids whatever the batch says."""
    loader = watch(DataLoader(Triples(NINE), batch_size=4), ids=False)
    assert _names(loader) == [f"train/{i}" for i in range(9)]


def test_ids_true_takes_integers_at_their_word() -> None:
    """`ids=True`: integers name samples even when two indices share one."""
    loader = watch(DataLoader(Triples([5, 6, 5]), batch_size=3), ids=True)
    assert _names(loader) == ["5", "6", "5"]


def test_ids_true_names_the_items_of_an_iterable() -> None:
    """Integers without an index are ids when the caller says so."""

    class Marked(Stream):
        def __iter__(self) -> Iterator[Any]:
            return ((x, y, int(x) + 500) for x, y in super().__iter__())

    loader = watch(DataLoader(Marked(), batch_size=6), ids=True)
    assert all(name == str(number + 500) for name, number in ids_of(loader))


def test_a_string_that_repeats_is_one_sample() -> None:
    """One id at two indices is one sample; that is said once."""
    loader = watch(DataLoader(Triples(["a", "b", "a", "b"]), batch_size=3))
    assert _names(loader) == ["a", "b", "a", "b"]
    assert _names(loader) == ["a", "b", "a", "b"]
    assert said().count("stands at more than one index") == 1


def test_one_id_in_two_datasets_is_two_samples() -> None:
    """An id that arrives from another base dataset is <origin>/<id>, said once."""
    train = watch(DataLoader(Triples(NINE), batch_size=4), name="train")
    val = watch(DataLoader(Triples(NINE), batch_size=4), name="val")
    assert _names(train) == NINE
    assert _names(val) == [f"val/{name}" for name in NINE]
    assert said().count("already belongs to a sample of") == 1


def test_integer_ids_in_train_and_validation_never_collide() -> None:
    """Integer ids that count from 0 in both splits are told apart."""
    train = watch(DataLoader(Triples(list(range(9))), batch_size=4), name="train")
    val = watch(DataLoader(Triples(list(range(5))), batch_size=4), name="val")
    assert _names(train) == [str(i) for i in range(9)]
    assert _names(val) == [f"val/{i}" for i in range(5)]
    assert len(current().ledger.ids) == 14


def test_integer_ids_that_would_mean_another_index_are_dropped() -> None:
    """Where "<origin>/<id>" already means another index, our ids stay."""
    ids_of(watch(DataLoader(Triples([0, 1, 2]), batch_size=3), name="train"))
    val = watch(DataLoader(Triples([2, 0, 1]), batch_size=3), name="val")
    assert _names(val) == ["val/0", "val/1", "val/2"]
    assert "do not name its samples" in said()


def test_loaders_over_one_dataset_share_its_samples() -> None:
    """A second loader over the same base dataset sees the same samples."""
    base = Numbers(6)
    train = watch(DataLoader(base, batch_size=3), name="train")
    view = watch(DataLoader(base, batch_size=3), name="train_eval")
    assert _names(train) == _names(view)
    assert current().ledger.ids.origins_of(0) == ("train", "train_eval")


def test_folds_of_one_dataset_share_its_samples() -> None:
    """A sample keeps its id when it moves from one fold's validation to its training."""
    base = Numbers(6)
    watch(DataLoader(Subset(base, [0, 1, 2]), batch_size=3), name="train")
    first = watch(DataLoader(Subset(base, [3, 4, 5]), batch_size=3), name="val")
    names = dict(map(reversed, ids_of(first)))  # type: ignore[arg-type]
    second = watch(DataLoader(Subset(base, [3, 4, 5]), batch_size=3), name="train")
    assert dict(map(reversed, ids_of(second))) == names  # type: ignore[arg-type]
    assert len(current().ledger.ids) == 6


def test_ids_do_not_depend_on_the_order_of_registration(tmp_path: Path) -> None:
    """Of loaders over one dataset training names the samples, whoever came first."""
    found = []
    for number, order in enumerate((["val", "train"], ["train", "val"])):
        with Launch(tmp_path / str(number)):
            base = Numbers(4)
            loaders = [watch(DataLoader(base, batch_size=4), name=name) for name in order]
            found.append(_names(loaders[0]))
    assert found[0] == found[1] == [f"train/{i}" for i in range(4)]


def test_a_second_launch_finds_its_names(tmp_path: Path) -> None:
    """Names of an earlier launch are the same samples again, and no sample is added."""
    for _ in range(2):
        with Launch(tmp_path) as session:
            assert _names(watch(DataLoader(Triples(NINE), batch_size=4))) == NINE
            assert len(session.ledger.ids) == 9


def test_a_reordered_dataset_follows_its_names(tmp_path: Path) -> None:
    """A dataset that comes in another order in the next launch keeps each sample's row."""
    with Launch(tmp_path) as session:
        ids_of(watch(DataLoader(Triples(NINE), batch_size=4)))
        rows = {name: session.ledger.ids.find(name) for name in NINE}
    turned = NINE[::-1]
    with Launch(tmp_path) as session:
        assert _names(watch(DataLoader(Triples(turned), batch_size=4))) == turned
        assert {name: session.ledger.ids.find(name) for name in NINE} == rows
        assert len(session.ledger.ids) == 9


def test_a_grown_dataset_gets_new_samples_only_for_new_names(tmp_path: Path) -> None:
    """An item that was inserted is a new sample; those behind it stay themselves."""
    with Launch(tmp_path) as session:
        ids_of(watch(DataLoader(Triples(["a", "b"]), batch_size=2)))
        row = session.ledger.ids.find("b")
    with Launch(tmp_path) as session:
        loader = watch(DataLoader(Triples(["a", "new", "b"]), batch_size=3))
        for _ in range(2):
            assert _names(loader) == ["a", "new", "b"]
        assert session.ledger.ids.find("b") == row


def test_qualified_names_come_back_whoever_is_first(tmp_path: Path) -> None:
    """<origin>/<id> of an earlier launch is found when the splits are read in another order."""
    for order in (["train", "val"], ["val", "train"]):
        with Launch(tmp_path) as session:
            names = {
                name: _names(watch(DataLoader(Triples(["a", "b"]), batch_size=2), name=name))
                for name in order
            }
            assert names == {"train": ["a", "b"], "val": ["val/a", "val/b"]}
            assert len(session.ledger.ids) == 4


def test_an_index_that_says_two_ids_follows_them() -> None:
    """A dataset that picks its items itself is followed by the ids that it says."""
    dataset = Triples(["a", "b"])
    loader = watch(DataLoader(dataset, batch_size=2))
    ids_of(loader)
    dataset.third = ["b", "c"]
    assert _names(loader) == ["b", "c"]
    dataset.third = ["a", "b"]
    assert _names(loader) == ["a", "b"]
    assert "said two ids" in said()


def test_ids_that_are_tensors_and_strings_that_are_digits_are_ids() -> None:
    """0-d tensors and strings of digits name samples as integers would."""
    tensors = Triples([torch.tensor(5), torch.tensor(6)])
    assert _names(watch(DataLoader(tensors, batch_size=2), name="a")) == ["5", "6"]
    assert _names(watch(DataLoader(Triples(["7", "8"]), batch_size=2), name="b")) == ["7", "8"]


def test_a_later_split_of_a_concatenation_keeps_its_own_ids() -> None:
    """Two parts of a concatenation that say the same ids stay two samples each."""
    from torch.utils.data import ConcatDataset

    both = ConcatDataset([Triples(["a", "b"]), Triples(["a", "b"])])
    assert len(set(_names(watch(DataLoader(both, batch_size=4))))) == 4


def test_an_index_twice_in_a_batch_keeps_both_ids() -> None:
    """Where one index says two ids in one batch, each item has its own."""

    class Random(Triples):
        """Whatever index is asked for, the items come in their own order."""

        reads = 0

        def __getitem__(self, index: int) -> Any:
            self.reads += 1
            return super().__getitem__((self.reads - 1) % len(self))

    loader = watch(DataLoader(Random(["a", "b", "c"]), batch_size=3, sampler=[0, 0, 0]))
    assert _names(loader) == ["a", "b", "c"]


@pytest.mark.parametrize("watched_as", ["dropped", "id_fn", "refused"])
def test_the_id_field_of_the_batch_means_its_samples(watched_as: str) -> None:
    """`batch_ids=batch["id"]` means the samples of the batch, whatever names them."""
    options: dict[str, Any] = {
        "dropped": {},
        "id_fn": {"id_fn": lambda item: f"s{int(item['x'])}"},
        "refused": {"ids": False},
    }[watched_as]
    dataset = Keyed("id", [3, 3, 2, 2, 1, 1, 0, 0])
    loader = watch(DataLoader(dataset, batch_size=4), **options)
    number = wl.watch_or_edit(lambda x: x[:, 0], flag="metric", name="number")
    origin = "s" if watched_as == "id_fn" else "train/"
    for batch in loader:
        number(batch["x"], batch_ids=batch["id"])
        wl.save_signals({"by hand": batch["x"]}, batch["id"])
    for signal in ("number", "by hand"):
        assert sorted(samples(signal)) == sorted(
            (f"{origin}{i}", i // 4, float(i)) for i in range(8)
        )


def test_the_id_field_of_a_stream_means_its_samples() -> None:
    """`batch_ids=batch["id"]` means the samples of the batch of an iterable dataset, too."""

    class Items(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([{"x": torch.tensor([float(i)]), "id": 5 - i} for i in range(4)])

    for batch in watch(DataLoader(Items(), batch_size=2)):
        wl.save_signals({"s": batch["x"]}, batch["id"])
    assert {row[0] for row in samples("s")} == {f"train/w0:{i}" for i in range(4)}
