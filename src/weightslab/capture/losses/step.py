"""What one step of a trainer computed of its samples, recorded when the step returns.

Shapes: B samples in a batch.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from weightslab.capture.call import step_in
from weightslab.capture.loss import loss_source, owner_axis, per_owner, unreduced
from weightslab.capture.losses.mode import LossMode

if TYPE_CHECKING:
    import torch

    from weightslab.capture.transfer import Array, Values
    from weightslab.session import Session
    from weightslab.session.batches import OpenIteration

__all__ = ["Scope", "StepCapture"]


class Scope:
    """One step under way."""

    def __init__(self) -> None:
        self.returned: Any = None
        """What the step returned: to be set by whoever called it."""


class StepCapture:
    """Records the losses of the steps that it is held around.

    Args:
        session: whose samples these are.
        signals: what is kept of a classification, out of loss, margin, probability, prediction.
        handwritten: whether losses without a loss function of torch are looked for as well.
        strict: whether what cannot be captured is an error.
    """

    def __init__(
        self,
        session: Session,
        *,
        signals: frozenset[str],
        handwritten: bool = True,
        strict: bool = False,
    ) -> None:
        self._session = session
        self._signals = signals
        self._handwritten = handwritten
        self._strict = strict

    @contextmanager
    def around(self, prefix: str) -> Iterator[Scope]:
        """Record the losses within, for the batches at hand, as `<prefix>/loss`."""
        scope = Scope()
        found: list[tuple[str, OpenIteration, Values, Array | None]] = []

        def seen(func: Callable[..., Any], args: Any, kwargs: Any, result: torch.Tensor) -> None:
            try:
                iteration = self._session.batches.of(args, kwargs)
                if iteration is None or iteration.batch is None:
                    return
                loss = unreduced(loss_source(func), args, kwargs, result)
                if loss is None:
                    return
                count = len(iteration.batch)
                tensors = (*args, *kwargs.values())
                rows = loss.elements.shape[0] if loss.elements.ndim else 1
                axis = owner_axis(rows, count, tensors, certain=False)
                if axis is not None:
                    found.append((func.__name__, iteration, *per_owner(loss, count, axis)))
            except Exception:  # noqa: BLE001  # recording never ends a training run
                self._session.notices.warn_once(
                    (prefix, "failed"), f"a loss is not recorded: {traceback.format_exc()}"
                )

        with LossMode(seen):
            yield scope
        for name, iteration, values, kept in found:
            signal = f"{prefix}/{'loss' if len(found) == 1 else name}"
            assert iteration.batch is not None
            rows = iteration.batch.rows if kept is None else iteration.batch.rows[kept]
            step = step_in(self._session, signal, iteration)
            self._session.recording.samples({signal: values}, rows, step=step)
