"""A watched loader is a loader: of the user's class, with the user's parts, and gone in copies."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from tests.capture.oracles import Numbers, ids_of, said, watch
from weightslab.capture.loader import OPTIONS, infer_training
from weightslab.errors import InputError, UnknownOptionError
from weightslab.session import current


class Own(DataLoader[Any]):
    """A class of the user."""


def test_the_shadow_is_of_the_users_class() -> None:
    """`isinstance` and the name of the class say what they always said."""
    loader = watch(Own(Numbers(), batch_size=4))
    assert isinstance(loader, Own)
    assert type(loader).__name__ == "Own"


def test_the_users_loader_stays_untouched() -> None:
    """The loader that was given still gives plain batches."""
    plain = DataLoader(Numbers(), batch_size=4)
    before = dict(plain.__dict__)
    watched = watch(plain)
    ids_of(watched)
    assert plain.__dict__ == before
    assert type(plain) is DataLoader
    assert len(next(iter(plain))) == 2


def test_a_loader_rebuilt_from_its_attributes_is_plain() -> None:
    """The dataset, collate function and samplers that it shows are the user's."""
    plain = DataLoader(Numbers(), batch_size=4, shuffle=True)
    watched = watch(plain)
    ids_of(watched)
    for name in ("dataset", "collate_fn", "sampler", "batch_sampler"):
        assert getattr(watched, name) is getattr(plain, name)
    rebuilt = DataLoader(
        watched.dataset, batch_sampler=watched.batch_sampler, collate_fn=watched.collate_fn
    )
    assert len(next(iter(rebuilt))) == 2


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))]
)
def test_copies_are_plain(duplicate: Any) -> None:
    """A copy or a pickle of a watched loader is a plain one."""
    watched = watch(DataLoader(Numbers(), batch_size=4))
    ids_of(watched)
    twin = duplicate(watched)
    assert type(twin) is DataLoader
    assert len(next(iter(twin))) == 2


def test_a_watched_loader_can_be_watched_again() -> None:
    """Watching a watched loader watches the user's loader under the new name."""
    again = watch(watch(DataLoader(Numbers(4), batch_size=4)), name="second")
    assert type(again).__mro__[1] is DataLoader
    x, _, ids = next(iter(again))
    assert len(x) == len(ids) == 4


def test_the_loader_stands_in_the_registry() -> None:
    """A name given again follows the newer loader."""
    watch(DataLoader(Numbers(), batch_size=4))
    newer = watch(DataLoader(Numbers(), batch_size=4))
    assert current().registry.loaders == {"train": newer}


def test_a_name_given_again_names_the_same_samples() -> None:
    """A loader made anew over an equal dataset, as in a notebook, has the same ids."""
    one = ids_of(watch(DataLoader(Numbers(), batch_size=4)))
    two = ids_of(watch(DataLoader(Numbers(), batch_size=4)))
    assert one == two
    assert len(current().ledger.ids) == 20


def test_loaders_without_names_are_told_apart() -> None:
    """The first is "train", one over another dataset "train_2", and names are asked for."""
    watch(DataLoader(Numbers(), batch_size=4), name=None)
    watch(DataLoader(Numbers(), batch_size=4), name=None)
    assert list(current().registry.loaders) == ["train", "train_2"]
    assert "loader_name=" in said()


def test_a_second_unnamed_loader_over_one_dataset_takes_the_place_of_the_first() -> None:
    """Without names, the dataset says which loader is meant."""
    data = Numbers()
    watch(DataLoader(data, batch_size=4), name=None)
    watch(DataLoader(data, batch_size=5), name=None)
    assert list(current().registry.loaders) == ["train"]


@pytest.mark.parametrize("name", ["val", "my_valid", "TEST", "evaluation", "dev_set"])
def test_names_of_evaluation_do_not_train(name: str) -> None:
    """val, test, eval and dev in a name say that the loader does not train."""
    assert not infer_training(name)


@pytest.mark.parametrize("name", ["train", "loader", "fit"])
def test_other_names_train(name: str) -> None:
    """Every other name is a training loader's."""
    assert infer_training(name)


def test_a_dataset_becomes_a_loader() -> None:
    """The options of a dataset make the loader that is watched."""
    loader = watch(Numbers(), batch_size=8, shuffle=True, drop_last=True, num_workers=0)
    assert isinstance(loader, DataLoader)
    assert [len(x) for x, _, _ in loader] == [8, 8]
    assert all(name == f"train/{number}" for name, number in ids_of(loader))


def test_options_of_a_dataset_are_refused_for_a_loader() -> None:
    """A loader has its batch size already."""
    with pytest.raises(InputError, match="batch_size= make a loader of a dataset"):
        watch(DataLoader(Numbers()), batch_size=4)


def test_what_is_no_data_is_refused() -> None:
    """The error names what would do."""
    with pytest.raises(InputError, match="takes a DataLoader or a dataset"):
        watch(3)


def test_unknown_options_are_refused() -> None:
    """An option that does not exist is refused with the nearest known one."""
    with pytest.raises(UnknownOptionError, match="did you mean 'batch_size'"):
        watch(Numbers(), batchsize=4)
    assert {"append_ids", "id_fn", "ids", "is_training", "batch_size"} <= OPTIONS


class Scaled(DataLoader[Any]):
    """Changes every batch on its way."""

    def __iter__(self) -> Iterator[Any]:
        for x, y in super().__iter__():
            yield x * 1, y


class Ahead(DataLoader[Any]):
    """Reads one batch ahead."""

    def __iter__(self) -> Iterator[Any]:
        iterator = super().__iter__()
        held = next(iterator)
        for batch in iterator:
            yield held
            held = batch
        yield held


class Thinned(DataLoader[Any]):
    """Leaves out every other batch, and makes new ones of the others."""

    def __iter__(self) -> Iterator[Any]:
        for number, (x, y) in enumerate(super().__iter__()):
            if number % 2:
                yield x * 1, y


class Returned(DataLoader[Any]):
    """Does something first and returns the usual iterator."""

    def __iter__(self) -> Any:
        torch.rand(0)
        return super().__iter__()


@pytest.mark.parametrize("kind", [Scaled, Ahead, Returned])
def test_a_class_with_an_iterator_of_its_own_sees_plain_batches(kind: Any) -> None:
    """The user's `__iter__` unpacks the batches that it knows, and the ids come out right."""
    seen = ids_of(watch(kind(Numbers(), batch_size=4, shuffle=True)))
    assert len(seen) == 20
    assert all(name == f"train/{number}" for name, number in seen)


def test_a_class_that_leaves_batches_out_has_no_ids() -> None:
    """Where batches cannot be matched, the ids are None, and that is said."""
    assert [ids for _, _, ids in watch(Thinned(Numbers(), batch_size=4))] == [None, None]
    assert "cannot be told" in said()


def test_a_loader_goes_on_when_its_session_is_over() -> None:
    """A loader that outlives its session still gives batches, without ids."""
    loader = watch(DataLoader(Numbers(), batch_size=10))
    current().close()
    assert [ids for _, _, ids in loader] == [None, None]


def test_attributes_of_the_iterator_are_the_loaders() -> None:
    """The iterator is one of torch's, so that its attributes are there."""
    iterator: Any = iter(watch(DataLoader(Numbers(), batch_size=4)))
    next(iterator)
    assert iterator._num_yielded == 1


def test_the_length_of_the_users_class_counts() -> None:
    """`len` asks the user's class."""

    class Twice(DataLoader[Any]):
        def __len__(self) -> int:
            return 2 * super().__len__()

    assert len(watch(Twice(Numbers(), batch_size=4))) == 10


def test_the_verb_watches_loaders() -> None:
    """`wl.watch_or_edit(loader, flag="data")` is this."""
    import weightslab as wl

    loader = wl.watch_or_edit(
        DataLoader(Numbers(), batch_size=4), flag="data", loader_name="val", is_training=False
    )
    assert ids_of(loader)[0] == ("val/0", 0)
    assert wl.current_ids() is None


def test_accelerate_rebuilds_a_plain_loader() -> None:
    """A loader that Accelerate prepares gives the batches that it always gave."""
    accelerate = pytest.importorskip("accelerate")
    loader = watch(DataLoader(Numbers(), batch_size=4))
    prepared = accelerate.Accelerator(cpu=True).prepare_data_loader(loader)
    assert [len(batch) for batch in prepared] == [2] * 5
