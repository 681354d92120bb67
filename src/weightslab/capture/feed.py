"""Hands each batch to the consumer, and tells the session whose samples it holds.

Shapes: B samples in a batch.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch

from weightslab.capture.carry import Carried, is_named_tuple
from weightslab.capture.identify import NoRowsError
from weightslab.capture.silence import PATIENCE_BATCHES, say_silent
from weightslab.capture.source import Source
from weightslab.session.batches import Key, Leaf
from weightslab.types import BatchIds, SampleIds

__all__ = ["Feed", "Relay", "leaves_of", "with_ids"]

PAIR = 2
REMEMBERED = 64
"""Batches that a read-ahead loader class may hold back."""


def with_ids(batch: Any, ids: SampleIds | None) -> Any:
    """A two-item tuple or list with the ids as its third item; anything else as it is."""
    if isinstance(batch, (tuple, list)) and len(batch) == PAIR and not is_named_tuple(batch):
        return [*batch, ids] if isinstance(batch, list) else (*batch, ids)
    return batch


def leaves_of(batch: Any) -> list[Leaf]:
    """Weak references to the tensors that a batch is made of."""
    if isinstance(batch, (list, tuple)):
        return [weakref.ref(part) for part in batch if isinstance(part, torch.Tensor)]
    if isinstance(batch, torch.Tensor):
        return [weakref.ref(batch)]
    if isinstance(batch, Mapping):
        return [weakref.ref(part) for part in batch.values() if isinstance(part, torch.Tensor)]
    return []


def _pause(source: Source) -> None:
    """The session's safe point, before each batch of a training loader.

    A batch of another one is no safe point, yet a sign that the script is at work; one of an
    evaluation's own loader is neither, and one that a signal draws beside the training.
    """
    if source.ledger is not None and not source.session.signals.computes_here:
        try:
            if source.options.is_training:
                source.session.evaluations.where.draws()
                source.session.safe_point()
            elif source.is_registered:
                source.session.evaluations.controller.sign()
        except Exception as error:  # noqa: BLE001  # nothing of ours may end a training run
            _say_failed(source, "edits do not take effect", error)


def _say_failed(source: Source, what: str, error: Exception) -> None:
    source.say(
        f"failed: {what}",
        f"the loader {source.name!r} goes on, but {what}: {type(error).__name__}: {error}",
    )


class Feed:
    """The batches of one iterator of a watched loader.

    `direct` is true when our iterator is what the consumer holds. Where the
    loader's class wraps it in an iterator of its own, that class must see the
    plain batch, and `Relay` speaks to the session.

    Nothing here raises: an error of ours is said once, and the loader goes on.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.session = source.session
        self.direct = False
        self.key: Key | None = None
        """The iterator that the consumer holds."""
        self.drawn = 0
        self.recent: deque[tuple[Any, BatchIds | None]] = deque(maxlen=REMEMBERED)

    def open(self, iterator: Any) -> None:
        """The consumer begins to iterate, and holds `iterator`."""
        self.end()  # workers that live on bring the iterator of the last epoch
        self.key = weakref.ref(iterator)
        if self.source.sizing is not None:
            self.source.sizing.began(self.key)
        if self.source.options.is_training:
            self.session.evaluations.controller.iterates(self.key)

    def before(self) -> None:
        """What comes before a batch is fetched: the safe point, then edits."""
        source = self.source
        if self.direct and not source.is_apart and not source.options.queued:
            _pause(source)
        if not source.options.is_training:
            return
        try:
            source.refresh()
        except Exception as error:  # noqa: BLE001  # nothing of ours may end a training run
            _say_failed(source, "edits do not reach it", error)

    def after(self, carried: Any) -> Any:
        """The user's batch, out of what the loader's machinery brought."""
        if type(carried) is Carried:
            batch, batch_ids = carried.batch, self._identify(carried)
        else:
            batch, batch_ids = carried, None
            self._say_untracked()
        if self.direct:
            return self.deliver(batch, batch_ids)
        self.drawn += 1
        self.recent.append((batch, batch_ids))
        return batch

    def deliver(self, batch: Any, batch_ids: BatchIds | None) -> Any:
        """Make this the consumer's batch."""
        if self.source.options.queued:
            self.source.queue.append(batch_ids)
            return batch
        try:
            self.session.batches.enter(batch_ids, self.key, leaves_of(batch))
            source = self.source
            source.handed_out += 1
            if source.handed_out == PATIENCE_BATCHES and source.options.is_training:
                say_silent(source)
        except Exception as error:  # noqa: BLE001  # a batch may be of a class of the user
            _say_failed(self.source, "a batch of it is not the current one", error)
        if self.source.options.append_ids:
            return with_ids(batch, None if batch_ids is None else batch_ids.ids)
        return batch

    def end(self) -> None:
        """The iteration is over: its batch is in nobody's hands."""
        if self.key is None:
            return
        self.session.batches.leave(self.key)
        self.session.evaluations.controller.iterated(self.key)
        if self.source.sizing is not None:
            self.source.sizing.ended(self.key)

    def _identify(self, carried: Carried) -> BatchIds | None:
        source = self.source
        try:
            rows, given = source.rows_of(carried.origins, carried.batch)
        except NoRowsError as error:
            source.say("no-rows", f"a batch of {source.name!r} is not on record by sample: {error}")
            return None
        except Exception as error:  # noqa: BLE001  # nothing of ours may end a training run
            source.say(
                "failed",
                f"a batch of {source.name!r} is not on record by sample, for an error of ours: "
                f"{type(error).__name__}: {error}",
            )
            return None
        return BatchIds(SampleIds(rows, source.namer), source.name, given)

    def _say_untracked(self) -> None:
        self.source.say(
            "untracked",
            f"the batches of {self.source.name!r} do not say what they hold: its class builds its "
            f"iterator in a way that WeightsLab cannot follow, so they have no ids",
        )


class Relay:
    """What the consumer holds when a loader's class has an iterator of its own.

    That class may read ahead, filter or move batches. A batch gets ids when it is
    one that we handed over, or when the class draws exactly one for each that it
    gives; otherwise it has none, and that is said.
    """

    def __init__(self, inner: Any, loader: Any) -> None:
        self._inner = inner
        self._loader = loader
        self._given = 0
        self._feed: Feed | None = None

    def __iter__(self) -> Relay:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __next__(self) -> Any:
        _pause(self._loader.weightslab)
        feed = self._feed
        try:
            batch = next(self._inner)
        except BaseException:
            if feed is not None:
                feed.end()
            raise
        self._given += 1
        if feed is None:
            # The class may make our iterator as late as with its first batch.
            feed = self._feed = self._loader.__dict__.get("_weightslab_feed")
            if feed is None:
                return batch
            feed.open(self)
        return feed.deliver(batch, self._ids_of(feed, batch))

    def _ids_of(self, feed: Feed, batch: Any) -> BatchIds | None:
        for known, batch_ids in feed.recent:
            if known is batch:
                return batch_ids
        if feed.drawn == self._given and feed.recent:
            return feed.recent[-1][1]
        feed.source.say(
            "reordered",
            f"the class of the loader {feed.source.name!r} gives other batches than it draws, so "
            f"which samples they hold cannot be told, and they have no ids",
        )
        return None
