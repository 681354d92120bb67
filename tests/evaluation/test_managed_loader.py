"""The managed loader: what an evaluation function iterates."""

from __future__ import annotations

import copy
import multiprocessing
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from weightslab.errors import EvaluationCancelled, EvaluationError, EvaluationTimeout
from weightslab.evaluation.managed_loader import ManagedLoader
from weightslab.progress import Progress


def _loader(**options: Any) -> DataLoader[Any]:
    data = TensorDataset(torch.arange(10.0), torch.arange(10))
    return DataLoader(data, batch_size=4, **options)


def test_batches_pass_through_and_are_counted() -> None:
    """Every batch comes as the loader gave it; batches, samples and progress count them."""
    progress = Progress("evaluating", 3)
    managed = ManagedLoader(_loader(), progress=progress)
    got = [batch[1].tolist() for batch in managed]
    assert got == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert (managed.batches, managed.samples, progress.done) == (3, 10, 3)


def test_a_batch_counts_when_it_is_done() -> None:
    """While the function works on a batch, that one is not counted."""
    managed = ManagedLoader(_loader())
    batches = iter(managed)
    next(batches)
    assert (managed.batches, managed.samples) == (0, 0)
    next(batches)
    assert (managed.batches, managed.samples) == (1, 4)


def test_it_looks_like_the_loader() -> None:
    """`len(loader)`, `loader.dataset` and `loader.batch_size` answer as in a test function."""
    managed = ManagedLoader(_loader())
    assert len(managed) == 3
    assert len(managed.dataset) == 10 and managed.batch_size == 4
    with pytest.raises(AttributeError):
        _ = managed.no_such_thing
    assert copy.copy(managed).total == 3


def test_a_total_that_nobody_knows() -> None:
    """A loader without a length has no total, and `len` says so."""
    managed = ManagedLoader(iter([(torch.zeros(2), 0)]))
    assert managed.total is None
    with pytest.raises(TypeError, match="known when"):
        len(managed)
    assert len(ManagedLoader(iter([]), total=7)) == 7


def test_a_second_iteration_is_a_second_pass() -> None:
    """A function may go through it twice; the counts are those of the second pass."""
    managed = ManagedLoader(_loader())
    first, second = [len(list(managed)) for _ in range(2)]
    assert first == second == 3 and managed.samples == 10


def test_it_ends_between_batches_when_somebody_says_why() -> None:
    """The reason stands in the error, with how far it came, and no further batch is read."""
    reasons = iter([None, None, "the user pressed cancel"])
    managed = ManagedLoader(_loader(), should_stop=lambda: next(reasons))
    with pytest.raises(EvaluationCancelled, match="after 2 of 3 batches: the user pressed cancel"):
        list(managed)
    assert managed.batches == 2


def test_it_ends_before_the_first_batch() -> None:
    """What was cancelled before it began reads nothing."""
    with pytest.raises(EvaluationCancelled, match="after 0 of 3"):
        next(iter(ManagedLoader(_loader(), should_stop=lambda: "no")))


def test_it_ends_when_its_time_is_over() -> None:
    """After the deadline there is no further batch; the error says what to do."""
    clock = iter([0.0, 1.0, 2.5])
    managed = ManagedLoader(_loader(), deadline=2.0, now=lambda: next(clock))
    with pytest.raises(EvaluationTimeout, match=r"after 2 of 3 batches: allow it more time"):
        list(managed)


def test_both_are_evaluation_errors() -> None:
    """Whoever catches EvaluationError catches them."""
    assert issubclass(EvaluationCancelled, EvaluationError)
    assert issubclass(EvaluationTimeout, EvaluationError)


@pytest.mark.parametrize("how", ["stopped", "left"])
def test_workers_end_with_it(how: str) -> None:
    """Ended early, or left by `break`, no worker stays behind, even while the error is held."""
    before = set(multiprocessing.active_children())
    stops = iter([None, "enough", "enough"])
    managed = ManagedLoader(
        _loader(num_workers=2), should_stop=lambda: next(stops) if how == "stopped" else None
    )
    caught = None
    batches = iter(managed)
    try:
        next(batches)
        assert set(multiprocessing.active_children()) - before
        if how == "stopped":
            next(batches)
        else:
            batches.close()  # type: ignore[attr-defined]  # a generator
    except EvaluationCancelled as error:
        caught = error
    assert (caught is not None) == (how == "stopped")
    assert not set(multiprocessing.active_children()) - before
