"""Which batch the training thread is working on, of every loader that it iterates at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from weightslab.types import BatchIds

__all__ = ["CurrentBatch", "Key", "Leaf", "OpenIteration"]

Key: TypeAlias = Callable[[], object]
"""A weak reference to the iterator that the consumer holds; one object for each iterator."""

Leaf: TypeAlias = Callable[[], object]
"""A weak reference to a tensor of a batch."""

REMEMBERED = 8
"""Iterations left by `break` whose batch is still in use that a thread remembers."""


def _by_hand() -> object:
    """Key of a batch that nobody iterates for: it stays until the next one, or None."""
    return _by_hand


class OpenIteration:
    """One iteration that a thread is in, and the batch that it gave last."""

    __slots__ = ("batch", "interleaved", "key", "leaves", "step", "unproven", "used")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.batch: BatchIds | None = None
        """None when the samples of the batch cannot be told."""
        self.step = 0
        """Training updates completed when the thread received the batch."""
        self.leaves: Sequence[Leaf] = ()
        self.used = False
        """Whether a value was recorded for this batch."""
        self.interleaved = False
        """Whether another iteration went on while this one was open (`zip` of two loaders)."""
        self.unproven = False
        """Whether it may turn out to be interleaved: its first batch, where the one of the
        iteration around it has no value yet."""

    @property
    def open(self) -> bool:
        """Whether the consumer still holds the iterator."""
        return self.key() is not None


class CurrentBatch:
    """The batches in the consumer's hands, by thread.

    Ids never cross threads: a thread that did not receive the batch has none,
    rather than those of a batch that was fetched ahead. In a thread the iteration
    that gave a batch last is the current one; when it ends or its iterator is
    dropped (`break`), it is the one around it again.
    """

    def __init__(self, age: Callable[[], int]) -> None:
        self._age = age
        self._local = _Stack()

    def enter(
        self, batch: BatchIds | None, key: Key | None = None, leaves: Sequence[Leaf] = ()
    ) -> None:
        """This thread works on `batch` from now on, which the iterator of `key` gave.

        Without a key the batch is one that somebody hands in, and None ends that.
        """
        stack = self._local.entries
        if key is None:
            key = _by_hand
            if batch is None:
                self.leave(key)
                return
        if stack and stack[-1].key is key:
            entry = stack[-1]
            entry.unproven = False
        else:
            entry = _raised(stack, key)
        entry.batch = batch
        entry.step = self._age()
        entry.leaves = leaves
        entry.used = False

    def leave(self, key: Key) -> None:
        """An iteration is over: the batch of the one around it is current again."""
        stack = self._local.entries
        stack[:] = [entry for entry in stack if entry.key is not key]

    @contextmanager
    def apart(self) -> Iterator[None]:
        """This thread works on batches of its own within, and on those of before afterwards."""
        entries = self._local.entries
        self._local.entries = []
        try:
            yield
        finally:
            self._local.entries = entries

    @property
    def top(self) -> OpenIteration | None:
        """The iteration of this thread that gave a batch last, of those still open."""
        return next((entry for entry in reversed(self._local.entries) if entry.open), None)

    @property
    def current(self) -> BatchIds | None:
        """Ids of this thread's batch; None outside of a watched loader."""
        top = self.top
        return None if top is None else top.batch

    @property
    def step(self) -> int | None:
        """Training updates completed when this thread received its batch.

        A value that is saved after `optimizer.step()` belongs to the batch before it.
        """
        top = self.top
        return None if top is None else top.step

    def of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> OpenIteration | None:
        """The iteration whose batch a call with these arguments is about.

        With one open loader, that one. With several, the one that a tensor among the
        arguments came from; else the current one, unless the loaders take turns: then
        it cannot be told, and there is None, as there is outside of any loader.
        """
        stack = self._local.entries
        if not stack:
            return None
        entry = stack[-1]
        if len(stack) > 1 or not entry.open:
            found = _among(stack, args, kwargs)
            if found is None:
                return None
            entry = found
        entry.used = True
        return entry

    def holding(self, ids: object) -> OpenIteration | None:
        """The iteration whose batch's own ids are this very object."""
        if ids is None:
            return None
        for entry in reversed(self._local.entries):
            batch = entry.batch
            if batch is not None and (batch.ids is ids or batch.given is ids):
                entry.used = True
                return entry
        return None


class _Stack(threading.local):
    """The iterations of a thread, the one that gave a batch last on top.

    Those that were dropped stay for as long as a tensor of their batch is in use: a
    call with it is about them.
    """

    def __init__(self) -> None:
        self.entries: list[OpenIteration] = []


def _raised(stack: list[OpenIteration], key: Key) -> OpenIteration:
    """The entry of `key`, on top of the stack."""
    for at, entry in enumerate(stack):
        if entry.key is key:
            del stack[at]
            turns = [other for other in stack[at:] if other.open]
            if turns:
                for one in (*turns, entry):
                    one.interleaved = True
            break
    else:
        entry = OpenIteration(key)
        around = next((other for other in reversed(stack) if other.open), None)
        entry.unproven = around is not None and not around.used
    _forget_unused(stack)
    stack.append(entry)
    return entry


def _forget_unused(stack: list[OpenIteration]) -> None:
    """Drop entries whose iterator and tensors are gone, and the oldest beyond a bound."""
    dropped = [entry for entry in stack if not entry.open]
    kept = [one for one in dropped if any(leaf() is not None for leaf in one.leaves)]
    stack[:] = [entry for entry in stack if entry.open or entry in kept[-REMEMBERED:]]


def _among(
    stack: list[OpenIteration], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> OpenIteration | None:
    """Which of several iterations a call is about; None when that cannot be told."""
    told = (*args, *kwargs.values())
    giver = _giver(stack, told) or _giver(stack, tuple(_within(told)))
    if giver is not None:
        return giver
    top = stack[-1]
    if not top.open:  # left by `break`: whether its batch is still worked on, nobody says
        return None
    if sum(entry.open for entry in stack) == 1:
        return top
    return None if top.interleaved or top.unproven else top


def _giver(stack: list[OpenIteration], told: Sequence[object]) -> OpenIteration | None:
    """The iteration whose batch one of the objects is a tensor of."""
    known = set(map(id, told))
    for entry in reversed(stack):
        for leaf in entry.leaves:
            tensor = leaf()
            if tensor is not None and id(tensor) in known:
                return entry
    return None


def _within(arguments: Sequence[Any]) -> Iterator[Any]:
    """What arguments hold, and what they are views of."""
    for argument in arguments:
        parts: Any = (argument,)
        if isinstance(argument, Mapping):
            parts = argument.values()
        elif isinstance(argument, (list, tuple)):
            parts = argument
        for part in parts:
            yield part
            yield getattr(part, "_base", None)
