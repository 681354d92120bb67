"""Two watched loaders in one thread: every value goes to the samples that it was made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import weightslab as wl
from tests.capture.oracles import Numbers, watch
from tests.capture.recorded import said, samples
from weightslab.errors import InputError
from weightslab.session import current


def loaders(**options: Any) -> tuple[Any, Any]:
    """A training and a validation loader over 12 and 8 numbers, 4 in a batch."""
    train = watch(DataLoader(Numbers(12), batch_size=4, **options), name="train", append_ids=False)
    val = watch(DataLoader(Numbers(8), batch_size=4, **options), name="val", append_ids=False)
    return train, val


def loss(name: str) -> Any:
    """A loss whose value is the number of its sample."""
    return wl.watch_or_edit(nn.L1Loss(reduction="none"), flag="loss", signal_name=name)


def names(signal: str) -> list[str]:
    """Ids that a signal was recorded for, in order of arrival."""
    return sorted(row[0] for row in samples(signal))


def all_of(origin: str, count: int) -> list[str]:
    """The ids of the first samples of a split."""
    return sorted(f"{origin}/{index}" for index in range(count))


def test_a_preview_of_another_loader_leaves_the_batch_its_ids() -> None:
    """After `next(iter(val))` in a training batch, each loss is under the ids of its batch."""
    train, val = loaders()
    train_loss, val_loss = loss("t"), loss("v")
    for x, y in train:
        preview, labels = next(iter(val))
        train_loss(x[:, 0], y)
        val_loss(preview[:, 0], labels)
    assert names("t") == all_of("train", 12)
    assert set(names("v")) == set(all_of("val", 4))


def test_a_break_from_another_loader_gives_the_batch_back() -> None:
    """After `break` out of a validation inside a training batch, the ids are the latter's."""
    train, val = loaders()
    train_loss = loss("t")
    for x, y in train:
        for _ in val:
            break
        ids = wl.current_ids()
        assert ids is not None
        assert ids[0].startswith("train/")
        train_loss(x[:, 0], y)
    assert names("t") == all_of("train", 12)


def test_a_break_leaves_no_batch_current() -> None:
    """After `break` out of the only loader there is no current batch."""
    train, _ = loaders()
    for _ in train:
        break
    assert wl.current_ids() is None


def test_a_validation_inside_a_batch_leaves_the_rest_of_it_with_its_ids() -> None:
    """Losses of a training batch after a whole validation within it have its ids, moved or not."""
    train, val = loaders()
    train_loss, val_loss = loss("t"), loss("v")
    for x, y in train:
        train_loss(x[:, 0].clone(), y.clone())
        for seen, labels in val:
            val_loss(seen[:, 0].clone(), labels.clone())
        train_loss(x[:, 0].clone(), y.clone())
    assert names("t") == sorted(2 * all_of("train", 12))
    assert names("v") == sorted(3 * all_of("val", 8))


def test_a_value_after_a_nested_validation_has_the_step_of_its_batch() -> None:
    """What is saved after `optimizer.step()` and a validation belongs to the step of its batch."""
    train, val = loaders()
    train_loss = loss("t")
    model = nn.Linear(1, 1)
    optimizer = wl.watch_or_edit(torch.optim.SGD(model.parameters(), lr=0.1))
    for x, y in train:
        optimizer.step()
        for _ in val:
            pass
        train_loss(x[:, 0], y)
        wl.save_signals({"s": x}, None)
    for signal in ("t", "s"):
        assert sorted({row[1] for row in samples(signal)}) == [0, 1, 2]


def test_ids_of_an_outer_batch_bring_its_step() -> None:
    """`batch_ids=ids` of the training batch mean its step, inside a nested validation too."""
    train = watch(DataLoader(Numbers(12), batch_size=4), name="train")
    _, val = loaders()
    train_loss = loss("t")
    optimizer = wl.watch_or_edit(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1))
    for x, y, ids in train:
        optimizer.step()
        for _ in val:
            train_loss(x[:, 0], y, batch_ids=ids)
            wl.save_signals({"s": x}, ids)
    for signal in ("t", "s"):
        assert sorted({row[1] for row in samples(signal)}) == [0, 1, 2]


def test_zip_tells_the_loaders_apart_by_the_tensors_of_the_call() -> None:
    """In `zip(a, b)` a loss over tensors of a batch of `a` has ids of `a`, views of them too."""
    train, val = loaders()
    first, second, viewed = loss("a"), loss("b"), loss("c")
    for (x, y), (seen, labels) in zip(train, val, strict=False):
        first(x[:, 0], y)
        second(seen[:, 0], labels)
        viewed(x.view(-1), torch.zeros(4))
    assert names("a") == all_of("train", 8)
    assert names("b") == all_of("val", 8)
    assert names("c") == all_of("train", 8)


def test_zip_over_moved_tensors_is_said_and_never_guessed() -> None:
    """Where nothing tells two open loaders apart, no sample gets a value, and that is said once."""
    train, val = loaders()
    first = loss("a")
    for (x, y), _ in zip(train, val, strict=False):
        first(x[:, 0].clone(), y.clone())
    assert names("a") == []
    assert sum("two watched loaders are open at once" in one for one in said()) == 1
    assert "batch_ids=ids" in said()[-1]


def test_a_save_among_loaders_that_take_turns_asks_for_ids() -> None:
    """`save_signals` without ids is refused where two loaders take turns."""
    train, val = loaders()
    with pytest.raises(InputError, match="two watched loaders"):  # noqa: PT012
        for (x, _), _ in zip(train, val, strict=False):
            wl.save_signals({"s": x.clone()}, None)


def test_workers_that_live_on_start_each_epoch_anew() -> None:
    """A validation left by `break` with persistent workers harms no later epoch of either."""
    train, val = loaders(num_workers=1, persistent_workers=True)
    train_loss, val_loss = loss("t"), loss("v")
    for epoch in range(2):
        for x, y in train:
            train_loss(x[:, 0], y)
            if epoch == 0:
                for _ in val:
                    break
        for seen, labels in val:
            val_loss(seen[:, 0].clone(), labels.clone())
    assert names("t") == sorted(2 * all_of("train", 12))
    assert names("v") == sorted(2 * all_of("val", 8))


def test_a_loader_class_with_an_iterator_of_its_own_nests_as_well() -> None:
    """A nested validation leaves the ids to the batch of a loader that wraps its iterator."""

    class Own(DataLoader[Any]):
        def __iter__(self) -> Any:
            yield from super().__iter__()

    train = watch(Own(Numbers(12), batch_size=4), name="train", append_ids=False)
    _, val = loaders()
    train_loss = loss("t")
    for x, y in train:
        for _ in val:
            pass
        train_loss(x[:, 0].clone(), y.clone())
    assert names("t") == all_of("train", 12)
    assert current().batches.current is None
