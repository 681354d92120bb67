"""One pass, driven by hand as the controller does, and trainings that it must not change."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from weightslab.evaluation.isolation import isolated
from weightslab.evaluation.managed_loader import ManagedLoader
from weightslab.evaluation.runner import run_pass
from weightslab.session import Session, current

__all__ = ["Kept", "evaluate", "rng_states", "seed_all"]


class Kept:
    """Takes what an evaluation records, as the buffer does."""

    def __init__(self) -> None:
        self.rows: dict[str, list[int]] = {}
        self.values: dict[str, list[float]] = {}
        self.curve: dict[str, list[float]] = {}

    def samples(self, signals: Any, rows: Any, *, step: int, log: bool) -> None:
        for name, values in signals.items():
            self.rows.setdefault(name, []).extend(rows.tolist())
            self.values.setdefault(name, []).extend(values.tolist())

    def instances(self, signals: Any, rows: Any, annotations: Any, *, step: int, log: bool) -> None:
        self.samples(signals, rows, step=step, log=log)

    def scalars(self, scalars: Any, *, step: int) -> None:
        for name, value in scalars.items():
            self.curve.setdefault(name, []).append(float(value))

    def ids(self, name: str, session: Session | None = None) -> list[str]:
        """Whose values they are, in order."""
        return (session or current()).ledger.ids.names(np.array(self.rows[name], np.int32))


def evaluate(
    loader: Any,
    *,
    tags: Sequence[str] | None = None,
    eval_fn: Callable[[Any], object] | None = None,
    said: Callable[[str, str], None] = lambda key, message: None,
    **managed: Any,
) -> Kept:
    """Evaluate a watched loader with what the current session has watched."""
    session = current()
    kept = Kept()
    models = session.registry.models
    with (
        session.batches.apart(),
        session.recording.diverted(kept),
        isolated(models.values(), session.registry.signals.values()),
    ):
        run_pass(
            ManagedLoader(loader.weightslab.evaluation_loader(tags), **managed),
            model=session.model if models else None,
            signals=session.registry.signals,
            eval_fn=eval_fn,
            say=said,
        )
    return kept


def seed_all(seed: int = 1) -> None:
    """Every global generator at one place."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


def rng_states() -> list[Any]:
    """Where every global generator is."""
    return [
        torch.get_rng_state().tolist(),
        repr(np.random.get_state()),  # noqa: NPY002
        random.getstate(),
    ]
