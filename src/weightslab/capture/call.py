"""What one call of a watched callable says of its batch: whose values, and which rows they get.

Shapes: B samples in a batch, N instances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from weightslab.capture.fold import annotation_numbers, fold_mean, mean_over_rest
from weightslab.capture.loss import LossSource, Unreduced, owner_axis, per_owner, unreduced
from weightslab.capture.recorder import checked_batch_idx
from weightslab.capture.transfer import Array, Values, count_items, to_arrays, to_values
from weightslab.errors import LengthMismatchError
from weightslab.types import BatchIds, Rows

if TYPE_CHECKING:
    from weightslab.session import Session
    from weightslab.session.batches import OpenIteration

__all__ = ["Call", "SignalSpec", "step_in"]


@dataclass(frozen=True, slots=True)
class SignalSpec:
    """How the results of a watched callable are kept."""

    name: str
    per_sample: bool = False
    per_instance: bool = False
    log: bool = True


def step_in(session: Session, name: str, iteration: OpenIteration | None) -> int:
    """Step of a value of signal `name` that belongs to the batch of an iteration."""
    clock = session.clock
    return clock.step(name, iteration.step if iteration and clock.has_optimizer else None)


@dataclass(slots=True)
class Call:
    """One call, from the arguments to the ledger."""

    session: Session
    spec: SignalSpec
    source: LossSource | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    given: Mapping[str, Any]
    scalar_is_fine: bool
    ids: Any = None
    """Whose values these are: the caller's `batch_ids=`, else those of the batch; None: unknown."""
    iteration: OpenIteration | None = None
    """That of the batch that the call is about, where there is one."""

    def __post_init__(self) -> None:
        batches, ids = self.session.batches, self.given.get("batch_ids")
        if ids is not None:
            self.ids = ids
            self.iteration = batches.holding(ids)
        else:
            self.iteration = batches.of(self.args, self.kwargs)
            self.ids = None if self.iteration is None else self.iteration.batch

    @property
    def explicit(self) -> bool:
        """Whether the caller said whose values these are."""
        return "batch_ids" in self.given

    def keep(self, name: str, result: Any) -> None:
        """Record a result, or each entry of a dict of results under `<name>/<key>`."""
        if not isinstance(result, torch.Tensor) and isinstance(result, Mapping):
            for key, value in result.items():
                self.keep(f"{name}/{key}", value)
        elif self.spec.per_instance:
            self._keep_instances(name, result)
        else:
            self._keep_samples(name, result)

    def _keep_samples(self, name: str, result: Any) -> None:
        if self.ids is None:
            self.keep_curve(name, result)
            if not (self.scalar_is_fine and _is_scalar(result)):
                self._say_no_ids(name)
            return
        count = count_items(self.ids, "batch_ids=")
        if not count:
            return
        values, kept, found = self._values_of(result, count, certain=self.explicit)
        if values is None and found is None:
            self.keep_curve(name, result)
            if not self.scalar_is_fine:
                self._say(name, "scalar", _SCALAR)
            self._append_arrays(self._arrays(count, "ids"))
            return
        if values is None:
            if self.explicit:
                raise LengthMismatchError(name, found or 0, count, expected_of="batch_ids")
            self.keep_curve(name, result)
            self._say(name, "length", _LENGTH.format(found=found, count=count))
            return
        arrays = self._arrays(count, "ids")
        rows = self._rows()
        own = rows if kept is None else rows[kept]
        if len(own):
            step = step_in(self.session, name, self.iteration)
            self.session.recording.samples({name: values}, own, step=step, log=self.spec.log)
        else:
            self.keep_curve(name, result)
        self._append_arrays(arrays)

    def _values_of(
        self, result: Any, count: int, *, certain: bool
    ) -> tuple[Values | None, Array | None, int | None]:
        """Values [B'] with their mask [B], or None and how many were found (None: a scalar)."""
        if not isinstance(result, torch.Tensor):
            values = to_values(result)
            if values.ndim == 0:
                return None, None, None
            values = mean_over_rest(values)
            return (values, None, None) if len(values) == count else (None, None, len(values))
        if result.ndim and result.shape[0] == count:
            return to_values(result if result.ndim == 1 else fold_mean(result.detach())), None, None
        if result.ndim:
            if self.source is None:
                return None, None, int(result.shape[0])
            loss: Unreduced | None = Unreduced(result.detach(), "none", None)
        else:
            loss = unreduced(self.source, self.args, self.kwargs, result)
        if loss is None:
            return None, None, None
        rows = loss.elements.shape[0] if loss.elements.ndim else 1
        tensors = (*self.args, *self.kwargs.values())
        axis = owner_axis(rows, count, tensors, certain=certain or self.source is None)
        if axis is None:
            return None, None, rows
        values, kept = per_owner(loss, count, axis)
        return values, kept, None

    def _keep_instances(self, name: str, result: Any) -> None:
        batch_idx = self.given.get("batch_idx")
        if batch_idx is None:
            batch_idx = _batch_idx_among((*self.args, *self.kwargs.values()))
        if self.ids is None or batch_idx is None:
            self.keep_curve(name, result)
            if self.ids is None:
                self._say_no_ids(name)
            else:
                self._say(name, "no batch_idx", _NO_BATCH_IDX)
            return
        positions = checked_batch_idx(batch_idx, count_items(self.ids, "batch_ids="))
        if not len(positions):
            return
        values, kept, found = self._values_of(result, len(positions), certain=True)
        if values is None:
            if self.given and found is not None:
                raise LengthMismatchError(name, found, len(positions), expected_of="batch_idx")
            self.keep_curve(name, result)
            self._say(name, "length", _INSTANCES.format(found=found or 1, count=len(positions)))
            return
        arrays = self._arrays(len(positions), "instances")
        rows = all_rows = self._rows()[positions]
        annotations = numbers = annotation_numbers(positions)
        if kept is not None:
            rows, annotations = rows[kept], annotations[kept]
        step = step_in(self.session, name, self.iteration)
        self.session.recording.instances(
            {name: values}, rows, annotations, step=step, log=self.spec.log
        )
        for field, value in arrays.items():
            self.session.recording.arrays(field, all_rows, value, numbers)

    def keep_curve(self, name: str, result: Any) -> None:
        """Put the mean of a result, or of each entry of a dict of results, on the curve."""
        if not self.spec.log:
            return
        if isinstance(result, Mapping):
            for key, value in result.items():
                self.keep_curve(f"{name}/{key}", value)
            return
        values = to_values(result)
        if values.size:
            step = step_in(self.session, name, self.iteration)
            number = float(values) if values.ndim == 0 else float(values.mean(dtype=np.float64))
            self.session.recording.scalars({name: number}, step=step)

    def _arrays(self, count: int, of: str) -> dict[str, Any]:
        """The checked `preds=` and `targets=` of `count` ids or instances."""
        return {
            field: to_arrays(self.given[field], count, f"{field}=", of)
            for field in ("preds", "targets")
            if field in self.given
        }

    def _append_arrays(self, arrays: Mapping[str, Any]) -> None:
        for field, value in arrays.items():
            self.session.recording.arrays(field, self._rows(), value)

    def _rows(self) -> Rows:
        ids, iteration = self.ids, self.iteration
        if isinstance(ids, BatchIds):
            return ids.rows
        batch = self.session.batches.current if iteration is None else iteration.batch
        rows: Rows = self.session.resolve(ids, batch=batch)
        return rows

    def _say_no_ids(self, name: str) -> None:
        batches = self.session.batches
        if self.iteration is None and batches.current is not None:
            self._say(name, "several loaders", _SEVERAL)
        else:
            self._say(name, "no ids", _NO_IDS)

    def _say(self, name: str, reason: str, message: str) -> None:
        self.session.notices.warn_once((name, reason), f"signal {name!r}: {message}")


_NO_IDS = (
    "its values belong to no known samples, so only their mean is kept. Call it with "
    "batch_ids=ids, or iterate over wl.watch_or_edit(loader, flag='data')."
)
_SEVERAL = (
    "two watched loaders are open at once, and whose batch its values are of cannot be told, so "
    "only their mean is kept: pass batch_ids=ids."
)
_SCALAR = (
    "it returns one number for the whole batch, so only the curve has it. For one value a "
    "sample let it return a tensor [B] (reduction='none'), or call wl.save_signals."
)
_LENGTH = (
    "it has {found} values but the current batch has {count} ids, so only their mean is kept. "
    "Call it with batch_ids= that has one id for each value."
)
_NO_BATCH_IDX = (
    "no instance can be told its sample, so only the mean is kept. Pass batch_idx= (the batch "
    "position of each instance), or a batch dict that has 'batch_idx'."
)
_INSTANCES = (
    "it has {found} values but batch_idx speaks of {count} instances, so only the mean is kept. "
    "per_instance=True expects a flat tensor with one value for each instance."
)


def _batch_idx_among(arguments: tuple[Any, ...]) -> Any:
    for argument in arguments:
        if isinstance(argument, Mapping) and "batch_idx" in argument:
            return argument["batch_idx"]
    return None


def _is_scalar(result: Any) -> bool:
    return getattr(result, "ndim", 0) == 0
