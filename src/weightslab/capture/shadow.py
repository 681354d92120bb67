"""A watched DataLoader: a shadow of the user's, of the same class, that says whose batch it is.

The shadow is a shallow copy whose class is a real subclass of the user's class.
What it shows is what the user's loader shows: the same dataset, collate function
and samplers, so that whoever rebuilds a loader from its attributes gets a plain
one. Only while an iterator is made do tracked stand-ins take their place, on a
passing copy (`_stand_in`), so that the user's own code runs as it always did and
no random number is drawn earlier or later.

What passes between a `Session` and this room:

    watch_loader(session, obj, name=...)       the verb calls; the shadow comes back, and stands
                                               in session.registry.loaders under its name
    registry.register_source(source)           the loader's Source waits there; the session calls
                                               source.attach() when its ledger opens, else the
                                               first iteration does
    session.safe_point()                       called before each batch of a training loader
    session.batches.enter(batch_ids | None, key, leaves)
                                               called with each batch, on the consumer's thread
    session.batches.leave(key)                 called at the end of an iteration
"""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data.dataloader import _BaseDataLoaderIter
from torch.utils.data.datapipes.datapipe import IterDataPipe, MapDataPipe

from weightslab.capture.batch_size import Sizing
from weightslab.capture.discard import filtered_sampler, remaining, slices_a_sampler
from weightslab.capture.feed import Feed, Relay
from weightslab.capture.source import Source
from weightslab.capture.streams import TrackedStream
from weightslab.capture.tracking import TrackedCollate, TrackedMap, TrackedSingles

__all__ = ["plain_loader", "shadow", "source_of"]


def shadow(loader: DataLoader[Any], source: Source) -> DataLoader[Any]:
    """A watched copy of `loader`; the user's own stays as it is."""
    made = copy.copy(loader)
    made.__dict__.update(_iterator=None, weightslab=source)
    made.__class__ = _watched_class(type(loader))  # type: ignore[arg-type]  # a class is hashable
    source.sizing = Sizing(made, is_training=source.options.is_training)
    return made


def plain_loader(loader: DataLoader[Any]) -> DataLoader[Any]:
    """The loader without us: of the user's class, with the user's attributes."""
    if source_of(loader) is None:
        return loader
    plain: DataLoader[Any] = object.__new__(type(loader).__mro__[1])
    plain.__dict__.update(loader.__dict__)
    plain.__dict__["_iterator"] = None
    for ours in ("weightslab", "_weightslab_feed", "_weightslab_skipped"):
        plain.__dict__.pop(ours, None)
    return plain


def source_of(loader: object) -> Source | None:
    """The source of a watched loader, None for anything else."""
    source = getattr(loader, "weightslab", None)
    return source if isinstance(source, Source) else None


def _is_ours(loader: Any) -> bool:
    """Whether this process is the one that watches: not a worker, not a forked child."""
    watching: int = loader.weightslab.session.process_id
    return get_worker_info() is None and os.getpid() == watching


def _itself(loader: DataLoader[Any]) -> DataLoader[Any]:
    """What the pickle of a watched loader holds."""
    return loader


@functools.cache
def _watched_class(cls: type[DataLoader[Any]]) -> type[DataLoader[Any]]:
    """The subclass of `cls` whose instances are watched."""

    class Watched(cls):  # type: ignore[misc, valid-type]  # the base is known at run time
        def __iter__(self) -> Iterator[Any]:
            return _iterate(self, super().__iter__)

        def _get_iterator(self) -> Any:
            return _make_iterator(self, cls)

        def __len__(self) -> int:
            return _length(self, super().__len__)

        def __reduce_ex__(self, _: Any) -> Any:
            # A copy, a pickle or another process has no session behind it: it is plain.
            return (_itself, (plain_loader(self),))

    Watched.__name__ = cls.__name__
    Watched.__qualname__ = cls.__qualname__
    Watched.__module__ = cls.__module__
    Watched.__doc__ = cls.__doc__
    return Watched


@functools.cache
def _watched_iterator_class(cls: type[Any]) -> type[Any]:
    """The subclass of a loader's iterator class whose instances hand plain batches on."""
    advance = cls.__next__

    class WatchedIterator(cls):  # type: ignore[misc]  # the base is known at run time
        def __next__(self) -> Any:
            feed: Feed = self.weightslab_feed
            feed.before()
            try:
                carried = advance(self)
            except BaseException:
                feed.end()
                raise
            return feed.after(carried)

    WatchedIterator.__name__ = cls.__name__
    WatchedIterator.__qualname__ = cls.__qualname__
    WatchedIterator.__module__ = cls.__module__
    return WatchedIterator


def _iterate(loader: Any, iterate: Any) -> Iterator[Any]:
    """`iter(loader)`. No generator: the user's iterator is made now, as it always was."""
    if not _is_ours(loader):
        result: Iterator[Any] = iterate()
        return result
    source: Source = loader.weightslab
    if source.options.is_training:
        source.session.training.begin_epoch()
    live = loader.persistent_workers and loader.__dict__.get("_iterator") is not None
    source.begin(workers_live=bool(live and loader.num_workers))
    if source.sizing is not None:
        source.sizing.take()
    _renew_workers(loader, source)
    made = iterate()
    feed = getattr(made, "weightslab_feed", None)
    if isinstance(made, _BaseDataLoaderIter) and isinstance(feed, Feed):
        feed.direct = True
        feed.open(made)
        return made
    return Relay(made, loader)


def _renew_workers(loader: Any, source: Source) -> None:
    """Let persistent workers go on with the batches of now.

    Those of a stream start anew when they skip what they should not.
    """
    live = loader.__dict__.get("_iterator")
    if live is None or not loader.num_workers or not loader.persistent_workers:
        return
    now, batches = loader.batch_sampler, getattr(live, "_index_sampler", None)
    if now is not None and getattr(batches, "batch_size", None) != getattr(now, "batch_size", None):
        live._index_sampler = _drawn(loader, source)  # noqa: SLF001  # its next epoch draws from there
    if source.streams and loader.__dict__.get("_weightslab_skipped") != source.skipped_names:
        loader.__dict__["_iterator"] = None


def _make_iterator(loader: Any, cls: type[DataLoader[Any]]) -> Any:
    """The iterator of `cls` over the tracked stand-ins."""
    if not _is_ours(loader):
        return cls._get_iterator(loader)  # what a subclass overrides, it calls
    source: Source = loader.weightslab
    stand_in, replaced = _stand_in(loader, source, cls)
    made = cls._get_iterator(stand_in)
    # What the loader's class noted on itself meanwhile (a stateful loader does) is kept.
    for name, value in stand_in.__dict__.items():
        if name not in replaced and loader.__dict__.get(name) is not value:
            loader.__dict__[name] = value
    feed = Feed(source)
    loader.__dict__["_weightslab_feed"] = feed
    loader.__dict__["_weightslab_skipped"] = set(source.skipped_names)
    if isinstance(made, _BaseDataLoaderIter):
        made.__class__ = _watched_iterator_class(type(made))  # type: ignore[arg-type]  # the same
        made.weightslab_feed = feed  # type: ignore[attr-defined]
    return made


def _stand_in(loader: Any, source: Source, cls: type[Any]) -> tuple[Any, dict[str, Any]]:
    """A copy of `loader` over the tracked dataset, and what differs from it."""
    replaced: dict[str, Any] = {"collate_fn": TrackedCollate(loader.collate_fn)}
    dataset, id_fn = loader.dataset, source.options.id_fn
    batched = loader.batch_sampler is not None
    if isinstance(dataset, (IterDataPipe, MapDataPipe)):
        # torch takes the graph of a data pipe apart by pickling it: leave it alone.
        replaced = {}
    elif source.streams:
        replaced["dataset"] = TrackedStream(
            dataset,
            id_fn,
            source.skipped_names,
            fields=source.options.ids is not False,
            integers=source.options.ids is True,
        )
    else:
        replaced["dataset"] = (TrackedMap if batched else TrackedSingles)(dataset, id_fn)
        replaced["batch_sampler" if batched else "sampler"] = _drawn(loader, source)
    stand_in = object.__new__(cls)
    stand_in.__dict__.update(loader.__dict__)
    stand_in.__dict__.update(replaced)
    return stand_in, replaced


def _drawn(loader: Any, source: Source) -> Any:
    """What the keys of an epoch are drawn from: of a training loader without those discarded."""
    drawn = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    filters = (
        source.options.is_training
        and source.options.on_discard == "shrink"
        and not source.streams
        and not isinstance(loader.dataset, MapDataPipe)
    )
    return filtered_sampler(drawn, source.skips) if filters else drawn


def _length(loader: Any, length: Any) -> int:
    """`len(loader)`: without the discarded samples where that number can be known.

    Asking opens nothing: discards of an earlier launch count from the first
    iteration on, or from whatever opened the ledger.
    """
    source: Source = loader.weightslab
    if source.sizing is not None:
        source.sizing.settle()
    whole: int = length()
    source.refresh()
    if source.streams or source.options.on_discard != "shrink" or not source.skips.positions:
        return whole
    batch_sampler = loader.batch_sampler
    if batch_sampler is None:
        left = remaining(loader.sampler, source.skips)
        return whole if left is None else left
    if not slices_a_sampler(batch_sampler):
        return whole
    left = remaining(batch_sampler.sampler, source.skips)
    if left is None:
        return whole
    size = int(batch_sampler.batch_size)
    return left // size if batch_sampler.drop_last else -(-left // size)
