"""What an evaluation is asked for, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Actor", "Outcome", "Request", "State"]

Actor = Literal["script", "client"]
"""Who asks: code in this process, whose training goes on by itself afterwards, or a client."""

State = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Request:
    """One pass over one loader that somebody wants."""

    id: int
    """Counts from 1 in a session."""
    loader_name: str
    """As the loader is registered, whatever spelling it was asked for by."""
    tags: tuple[str, ...] | None = None
    """Only samples that have one of these tags; None: every sample."""
    by: Actor = "script"
    timeout_s: float | None = None
    """Seconds that the pass may take, from its first batch; None: any time."""
    requested_at: float = 0.0
    """Seconds of the controller's clock."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A request and what became of it until now."""

    request: Request
    state: State
    done: int = 0
    """Batches that are through."""
    total: int | None = None
    """Batches of the whole pass; None where the loader has no length."""
    step: int | None = None
    """Training step that it speaks of; None while it waits."""
    results: Mapping[str, float] = field(default_factory=dict)
    """Mean over the samples, by signal."""
    marker: str | None = None
    """Hash under which the values stand; None where there are none."""
    error: str | None = None
    """Why it failed or was cancelled."""

    def shown(self) -> dict[str, Any]:
        """The outcome as plain values, for the status."""
        return {
            "id": self.request.id,
            "loader": self.request.loader_name,
            "tags": None if self.request.tags is None else list(self.request.tags),
            "by": self.request.by,
            "state": self.state,
            "done": self.done,
            "total": self.total,
            "step": self.step,
            "results": dict(self.results),
            "marker": self.marker,
            "error": self.error,
        }
