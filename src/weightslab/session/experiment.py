"""The experiment hash, kept up to date with what it is made of."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from weightslab.checkpoints.identity import (
    DiscardDigest,
    architecture_digits,
    experiment_hash,
    hyperparameter_digits,
    plain_hash,
)
from weightslab.hyperparameters.store import Hyperparameters
from weightslab.ledger import Ledger
from weightslab.session.registry import Registry

__all__ = ["Experiment", "leave_marker"]

_LOOK_S = 0.25
_LOOK_S_BY_NAME = 1e-5
"""A hundred times what looking at one name takes: a hundredth of the training thread's time."""


def leave_marker(ledger: Ledger) -> None:
    """Go back to the plain hash, as a process that was killed while it published did not."""
    found = ledger.experiment_hash
    if found is not None and plain_hash(found) != found:
        ledger.edit.set_experiment(plain_hash(found))


class _Counted(NamedTuple):
    """What a discarded sample was called when it went into the digest."""

    own_name: str | None
    sample_id: str


class _Content(NamedTuple):
    """What the hash is made of, as numbers that grow with each change."""

    registered: int
    taken: int
    discarded: int


def _content(registry: Registry, ledger: Ledger | None, found: Hyperparameters | None) -> _Content:
    return _Content(
        registry.version,
        -1 if found is None else found.version,
        -1 if ledger is None else ledger.discarded.version,
    )


class Experiment:
    """Names the state of hyperparameters, architecture and discarded samples."""

    def __init__(self) -> None:
        self.hash: str | None = None
        """The current name; None until there is something to name."""
        self._discards = DiscardDigest()
        self._counted: dict[int, _Counted] = {}
        self._elsewhere: frozenset[str] = frozenset()
        """Ids in the digest that only other processes of the run know."""
        self._content: _Content | None = None
        self._looked_at = float("-inf")
        self._digits = ""
        self._architecture = ""

    def has_seen(
        self, registry: Registry, ledger: Ledger | None, found: Hyperparameters | None
    ) -> bool:
        """Whether all was taken in of which it is known that it changed."""
        return _content(registry, ledger, found) == self._content

    def is_current(
        self, registry: Registry, ledger: Ledger | None, found: Hyperparameters | None
    ) -> bool:
        """Whether nothing is known to have changed: a few comparisons.

        Ids do not say when they are renamed: that is looked at four times a second, less
        often where there are many discarded names to look at.
        """
        pause_s = max(_LOOK_S, _LOOK_S_BY_NAME * len(self._counted))
        is_fresh = time.monotonic() - self._looked_at < pause_s
        return is_fresh and self.has_seen(registry, ledger, found)

    def follow(
        self, registry: Registry, ledger: Ledger | None, found: Hyperparameters | None = None
    ) -> None:
        """Take in what changed since the last call; a change opens a new hash in the ledger."""
        before, content = self._content, _content(registry, ledger, found)
        self._looked_at = time.monotonic()
        renamed = [] if ledger is None else self._renamed(ledger)
        if content == before and not renamed:
            return
        if before is None or content.registered != before.registered:
            # As it was registered: a lazy module that learns its shapes is no other model.
            models = sorted(registry.models.items(), key=lambda item: str(item[0]))
            self._architecture = architecture_digits(models)
        if before is None or content[:2] != before[:2]:
            self._digits = hyperparameter_digits(None if found is None else found.written)
        self._content = content
        if ledger is not None:
            self._follow_discards(ledger, renamed)
        self.hash = experiment_hash(self._digits, self._architecture, self._discards.digits)
        if ledger is not None:
            ledger.edit.set_experiment(self.hash)

    def _renamed(self, ledger: Ledger) -> list[int]:
        """Rows that are in the digest under a name that is no longer theirs."""
        own_name = ledger.ids.own_name
        return [row for row, held in self._counted.items() if own_name(row) != held.own_name]

    def _follow_discards(self, ledger: Ledger, renamed: list[int]) -> None:
        ids = ledger.ids
        discarded = ledger.discarded.of(np.arange(len(ids), dtype=np.int32))
        now = set(np.flatnonzero(discarded).tolist())
        for row in (self._counted.keys() - now).union(renamed):
            self._discards.remove(self._counted.pop(row).sample_id)
        for row in now - self._counted.keys():
            counted = self._counted[row] = _Counted(ids.own_name(row), ids.name(row))
            self._discards.add(counted.sample_id)
        elsewhere = ledger.discarded.elsewhere
        for sample_id in self._elsewhere - elsewhere:
            self._discards.remove(sample_id)
        for sample_id in elsewhere - self._elsewhere:
            self._discards.add(sample_id)
        self._elsewhere = elsewhere
