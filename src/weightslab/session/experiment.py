"""The experiment hash, kept up to date with what it is made of."""

from __future__ import annotations

import time

import numpy as np

from weightslab.checkpoints.identity import (
    DiscardDigest,
    architecture_digits,
    experiment_hash,
    hyperparameter_digits,
)
from weightslab.hyperparameters.store import plain_hyperparameters
from weightslab.ledger import Ledger
from weightslab.session.registry import Registry

__all__ = ["Experiment"]

_LOOK_S = 0.25


class Experiment:
    """Names the state of hyperparameters, architecture and discarded samples."""

    def __init__(self) -> None:
        self.hash: str | None = None
        """The current name; None until there is something to name."""
        self._discards = DiscardDigest()
        self._discarded = np.zeros(0, np.bool_)
        self._content: tuple[int, int] | None = None
        self._looked_at = float("-inf")
        self._digits = ""
        self._architecture = ""

    def is_current(self, registry: Registry, ledger: Ledger | None) -> bool:
        """Whether nothing is known to have changed: a few comparisons.

        The handle of the hyperparameters does not say when somebody writes to it: it is
        looked at four times a second.
        """
        content = (registry.version, -1 if ledger is None else ledger.discarded.version)
        return content == self._content and time.monotonic() - self._looked_at < _LOOK_S

    def follow(self, registry: Registry, ledger: Ledger | None) -> None:
        """Take in what changed since the last call; a change opens a new hash in the ledger."""
        content = (registry.version, -1 if ledger is None else ledger.discarded.version)
        self._looked_at = time.monotonic()
        digits = hyperparameter_digits(plain_hyperparameters(registry.hyperparameters))
        if content == self._content and digits == self._digits:
            return
        if self._content is None or content[0] != self._content[0]:
            # As it was registered: a lazy module that learns its shapes is no other model.
            models = sorted(registry.models.items(), key=lambda item: str(item[0]))
            self._architecture = architecture_digits(models)
        self._content, self._digits = content, digits
        if ledger is not None:
            self._follow_discards(ledger)
        self.hash = experiment_hash(digits, self._architecture, self._discards.digits)
        if ledger is not None:
            ledger.edit.set_experiment(self.hash)

    def _follow_discards(self, ledger: Ledger) -> None:
        rows = np.arange(len(ledger.ids), dtype=np.int32)
        now = ledger.discarded.of(rows)
        before = np.zeros(len(now), np.bool_)
        before[: len(self._discarded)] = self._discarded
        for row in np.flatnonzero(now & ~before).tolist():
            self._discards.add(ledger.ids.name(row))
        for row in np.flatnonzero(before & ~now).tolist():
            self._discards.remove(ledger.ids.name(row))
        self._discarded = now
