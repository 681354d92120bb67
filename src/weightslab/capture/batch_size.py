"""The batch size of a watched loader, which an edit changes from its next epoch on.

The epoch under way keeps its batches, and `len(loader)` says their number until that epoch
is over (to the end, or left by `break` and forgotten); from then on it says that of the
next. Persistent workers go on. The user's own loader, and its batch sampler, stay as they
are: the watched one gets a batch sampler of its own. An epoch that a `StatefulDataLoader`
resumes is one under way.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

from weightslab.capture.discard import slices_a_sampler
from weightslab.hyperparameters.values import Refusal
from weightslab.session.batches import Key

__all__ = ["Sizing"]


class Sizing:
    """How many samples the batches of one watched loader have."""

    def __init__(self, loader: Any, *, is_training: bool) -> None:
        self.is_training = is_training
        self._loader: Callable[[], Any] = weakref.ref(loader)
        self._wanted: int | None = None
        self._iteration: Key | None = None
        """The iterator of the epoch under way, as far as it is known."""

    @property
    def batch_size(self) -> int | None:
        """Samples in a batch, those of the next epoch; None when the loader does not say."""
        return self.current if self._wanted is None else self._wanted

    @property
    def current(self) -> int | None:
        """Samples in a batch of the epoch under way, or of the next where there is none."""
        loader = self._loader()
        size = getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
        return size if isinstance(size, int) else None

    def resize(self, size: int) -> None:
        """Have batches of `size` samples from the next epoch on.

        Raises:
            Refusal: the loader's batches are not plain slices of a sampler, or none would
                be left.
        """
        loader = self._loader()
        if loader is None:
            raise Refusal("the loader is gone")
        sampler = loader.batch_sampler
        if sampler is None:
            raise Refusal("it has no batches (batch_size=None)")
        if not slices_a_sampler(sampler):
            raise Refusal(f"its {type(sampler).__name__} makes batches in a way of its own")
        if sampler.drop_last and hasattr(sampler.sampler, "__len__"):
            there = len(sampler.sampler)
            if there < size:
                raise Refusal(f"it drops the last batch, and has only {there} samples")
        self._wanted = size
        self.settle()

    def began(self, iterator: Key) -> None:
        """An epoch is under way; `iterator` is what its consumer holds."""
        self._iteration = iterator

    def ended(self, iterator: Key) -> None:
        """An epoch is over."""
        if self._iteration is iterator:
            self._iteration = None

    def settle(self) -> None:
        """Take the size that was asked for, unless an epoch is under way."""
        if self._wanted is None:
            return
        if self._iteration is None or self._iteration() is None:
            self.take()

    def take(self) -> None:
        """Take the size that was asked for: an epoch begins, or none is under way."""
        loader, size = self._loader(), self._wanted
        if loader is None or size is None or _resumes(loader):
            return
        sampler = copy.copy(loader.batch_sampler)
        sampler.batch_size = size
        # A DataLoader lets nobody set these, since its iterators have read them already.
        loader.__dict__["batch_sampler"] = sampler
        if loader.__dict__.get("batch_size") is not None:
            loader.__dict__["batch_size"] = size
        self._wanted = None


def _resumes(loader: Any) -> bool:
    """Whether the next iterator of a `StatefulDataLoader` goes on in an epoch, or is made."""
    held = loader.__dict__
    return held.get("next_iter_state") is not None or bool(held.get("_initial_iter_for_state_dict"))
