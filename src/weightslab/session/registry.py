"""What was given to `watch_or_edit`, by kind and name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from weightslab.errors import UnknownOptionError

__all__ = ["Registry", "Source"]

KINDS = ("models", "optimizers", "loaders", "signals", "loggers")


class Source(Protocol):
    """A dataset behind a watched loader that registers its samples late."""

    def attach(self) -> None:
        """Make the rows of this source's samples. Called once the ledger is open."""


class Registry:
    """Watched objects; a name given again follows the newer object."""

    def __init__(self) -> None:
        self.models: dict[str, Any] = {}
        self.optimizers: dict[str, Any] = {}
        self.loaders: dict[str, Any] = {}
        self.signals: dict[str, Any] = {}
        self.loggers: dict[str, Any] = {}
        self.hyperparameters: Any = None
        self.version = 0
        """Grows whenever something that enters the experiment hash is registered."""
        self.before: Callable[[], None] = lambda: None
        """Called before an object that edits reach joins: edits up to now were not for it."""
        self._unattached: list[Source] = []
        self._attaching = 0

    def register(self, kind: str, name: str, obj: Any) -> None:
        """Keep `obj` under its kind ("models", "loaders", ...) and name."""
        if kind not in KINDS:
            raise UnknownOptionError("kind of object", kind, KINDS)
        if kind in ("optimizers", "loaders"):
            self.before()
        getattr(self, kind)[name] = obj
        if kind == "models":
            self.version += 1

    def register_hyperparameters(self, handle: Any) -> None:
        """Keep the hyperparameters of this experiment."""
        self.hyperparameters = handle
        self.version += 1

    def let_go(self) -> None:
        """Hold no loader any more: one that nobody else holds ends its workers at once.

        Left to the cyclic garbage collector, a session that is gone would keep the workers
        alive, and block for seconds on each of them wherever that happens to run.
        """
        self.loaders = {}

    def register_source(self, source: Source) -> None:
        """Let `source` attach as soon as somebody needs the ledger."""
        self._unattached.append(source)

    @property
    def attached(self) -> bool:
        """Whether nobody waits, and nobody's rows are being made."""
        return not self._unattached and not self._attaching

    def attach_sources(self) -> None:
        """Attach what waits. For whoever holds the session's lock."""
        self._attaching += 1
        try:
            while self._unattached:
                self._unattached.pop(0).attach()
        finally:
            self._attaching -= 1
