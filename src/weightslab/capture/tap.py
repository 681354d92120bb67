"""One call of a watched loss or metric: whose values are these, and where do they go.

The result itself is never touched. What cannot be attributed to samples goes to
the curve, and the reason is said once with the line that changes it. Only what
the caller got wrong in words (`batch_ids=` of another length) raises.

Shapes: B samples in a batch, N instances.
"""

from __future__ import annotations

import threading
import traceback
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from weightslab.capture.fold import annotation_numbers, fold_mean, mean_over_rest
from weightslab.capture.loss import (
    LossSource,
    Unreduced,
    owner_axis,
    per_owner,
    plain_rows,
    unreduced,
)
from weightslab.capture.recorder import checked_batch_idx
from weightslab.capture.transfer import Array, Values, count_items, to_arrays, to_values
from weightslab.errors import InputError, LengthMismatchError, WeightsLabError
from weightslab.types import BatchIds, Rows

if TYPE_CHECKING:
    from weightslab.session import Session

__all__ = ["KEYWORDS", "SignalSpec", "Tap", "observable"]

KEYWORDS = frozenset({"batch_ids", "batch_idx", "preds", "targets"})
"""Keywords of a watched call that are ours, unless the watched function declares them."""

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class SignalSpec:
    """How the results of a watched callable are kept."""

    name: str
    per_sample: bool = False
    per_instance: bool = False
    log: bool = True


def observable(result: object) -> bool:
    """Whether a result may be read now: not in a recompute, a trace or a graph capture."""
    if torch.compiler.is_compiling() or torch._C._current_graph_task_id() != -1:  # noqa: SLF001
        return False
    if isinstance(result, torch.Tensor) and result.device.type != "cpu":
        if result.device.type == "meta":
            return False
        if result.is_cuda and torch.cuda.is_current_stream_capturing():
            return False
    return True


class Tap:
    """Records what one watched callable returns.

    Belongs to a session, which it does not keep alive. A copy or a pickle of it
    still takes our keywords off a call, and records nothing.
    """

    def __init__(
        self, session: Session | None, spec: SignalSpec, declared: frozenset[str] = frozenset()
    ) -> None:
        self.spec = spec
        self.declared = declared
        """Those of `KEYWORDS` that the watched function has itself: used, and passed on."""
        self._session = None if session is None else weakref.ref(session)
        self._call = threading.local()

    def __reduce__(self) -> tuple[type[Tap], tuple[None, SignalSpec, frozenset[str]]]:
        return (type(self), (None, self.spec, self.declared))

    def take(self, kwargs: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, Any] | None]:
        """Split a call's keywords: ours, and those to call with (None: all of them)."""
        if not kwargs or KEYWORDS.isdisjoint(kwargs):
            return _NOTHING, None
        ours = {name: kwargs[name] for name in KEYWORDS & kwargs.keys()}
        given = {name: value for name, value in ours.items() if value is not None}
        if self.declared >= ours.keys():
            return given, None
        return given, {
            name: value
            for name, value in kwargs.items()
            if name not in KEYWORDS or name in self.declared
        }

    def remember(self, given: Mapping[str, Any]) -> None:
        """Hold the keywords of the call under way in this thread."""
        self._call.given = given

    def remembered(self) -> Mapping[str, Any]:
        """The keywords of the call under way in this thread; they are forgotten."""
        given: Mapping[str, Any] = self._call.__dict__.pop("given", _NOTHING)
        return given

    def record(
        self,
        source: LossSource | None,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        result: Any,
        given: Mapping[str, Any],
        *,
        scalar_is_fine: bool = False,
        curve_only: bool = False,
    ) -> None:
        """Append what `result` says of the samples of its batch.

        Raises only `InputError` for keywords of this call that cannot be used.
        """
        session = None if self._session is None else self._session()
        if session is None or not observable(result):
            return
        try:
            if not curve_only and self._keep_plain(session, result, given):
                return
            call = _Call(session, self.spec, source, args, kwargs, given, scalar_is_fine)
            if curve_only:
                call.keep_curve(self.spec.name, result)
            else:
                call.keep(self.spec.name, result)
        except WeightsLabError as error:
            if given and isinstance(error, InputError):
                raise
            session.notices.warn_once(
                (self.spec.name, "unusable"),
                f"signal {self.spec.name!r} was not recorded: {error}",
            )
        except Exception as error:  # noqa: BLE001  # recording never ends a training run
            session.notices.warn_once(
                (self.spec.name, type(error).__name__),
                f"signal {self.spec.name!r} was not recorded; training goes on. "
                f"{traceback.format_exc()}",
            )

    def _keep_plain(self, session: Session, result: Any, given: Mapping[str, Any]) -> bool:
        """Record the common case on a short way: the batch's losses, or their mean. Whether it did.

        A cross entropy's mean is unfolded from its graph. On cold caches each call that
        this spares is worth a microsecond or two of every training step.
        """
        batch = session.batches.current
        if batch is None or type(result) is not torch.Tensor or result.dtype is not torch.float32:
            return False
        if given and (len(given) > 1 or given.get("batch_ids") is not batch.ids):
            return False
        if result.device.type != "cpu" or self.spec.per_instance:
            return False
        rows = batch.ids.rows
        values = result if result.ndim else plain_rows(result)
        if values is None or values.ndim != 1 or len(values) != len(rows) or not len(rows):
            return False
        step = session.clock.step(self.spec.name, None)
        columns = {self.spec.name: values.detach().numpy()}
        session.ledger.append_samples(columns, rows, step=step, log=self.spec.log)
        return True


@dataclass(slots=True)
class _Call:
    """One call, from the arguments to the ledger."""

    session: Session
    spec: SignalSpec
    source: LossSource | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    given: Mapping[str, Any]
    scalar_is_fine: bool

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
        ids = self.given.get("batch_ids")
        explicit = ids is not None
        batch = self.session.batches.current
        if not explicit:
            ids = batch
        if ids is None:
            self.keep_curve(name, result)
            if not (self.scalar_is_fine and _is_scalar(result)):
                self._say(name, "no ids", _NO_IDS)
            return
        count = len(ids) if isinstance(ids, BatchIds) else count_items(ids)
        if not count:
            return
        values, kept, found = self._values_of(result, count, certain=explicit)
        if values is None and found is None:
            self.keep_curve(name, result)
            if not self.scalar_is_fine:
                self._say(name, "scalar", _SCALAR)
            self._keep_arrays(ids, batch, count)
            return
        if values is None:
            if explicit:
                raise LengthMismatchError(name, found or 0, count, expected_of="batch_ids")
            self.keep_curve(name, result)
            self._say(name, "length", _LENGTH.format(found=found, count=count))
            return
        arrays = self._arrays(count)
        rows = self._rows(ids, batch)
        own = rows if kept is None else rows[kept]
        if len(own):
            step = self.session.clock.step(name, None)
            self.session.ledger.append_samples({name: values}, own, step=step, log=self.spec.log)
        else:
            self.keep_curve(name, result)
        for field, value in arrays.items():
            self.session.ledger.append_arrays(field, rows, value)

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
        ids = self.given.get("batch_ids")
        explicit = ids is not None
        batch = self.session.batches.current
        if not explicit:
            ids = batch
        batch_idx = self.given.get("batch_idx")
        if batch_idx is None:
            batch_idx = _batch_idx_among((*self.args, *self.kwargs.values()))
        if ids is None or batch_idx is None:
            self.keep_curve(name, result)
            reason = "no ids" if ids is None else "no batch_idx"
            self._say(name, reason, _NO_IDS if ids is None else _NO_BATCH_IDX)
            return
        positions = checked_batch_idx(batch_idx, count_items(ids))
        if not len(positions):
            return
        certain = bool(self.given)
        values, kept, found = self._values_of(result, len(positions), certain=True)
        if values is None:
            if certain and found is not None:
                raise LengthMismatchError(name, found, len(positions), expected_of="batch_idx")
            self.keep_curve(name, result)
            self._say(name, "length", _INSTANCES.format(found=found or 1, count=len(positions)))
            return
        rows = self._rows(ids, batch)[positions]
        annotations = annotation_numbers(positions)
        if kept is not None:
            rows, annotations = rows[kept], annotations[kept]
        step = self.session.clock.step(name, None)
        self.session.ledger.append_instances(
            {name: values}, rows, annotations, step=step, log=self.spec.log
        )

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
            step = self.session.clock.step(name, None)
            number = float(values) if values.ndim == 0 else float(values.mean(dtype=np.float64))
            self.session.ledger.append_scalars({name: number}, step=step)

    def _arrays(self, count: int) -> dict[str, Any]:
        return {
            field: to_arrays(self.given[field], count, f"{field}=")
            for field in ("preds", "targets")
            if field in self.given
        }

    def _keep_arrays(self, ids: Any, batch: BatchIds | None, count: int) -> None:
        arrays = self._arrays(count)
        if arrays:
            rows = self._rows(ids, batch)
            for field, value in arrays.items():
                self.session.ledger.append_arrays(field, rows, value)

    def _rows(self, ids: Any, batch: BatchIds | None) -> Rows:
        if isinstance(ids, BatchIds):
            return ids.rows
        rows: Rows = self.session.resolve(ids, batch=batch)
        return rows

    def _say(self, name: str, reason: str, message: str) -> None:
        self.session.notices.warn_once((name, reason), f"signal {name!r}: {message}")


_NO_IDS = (
    "its values belong to no known samples, so only their mean is kept. Call it with "
    "batch_ids=ids, or iterate over wl.watch_or_edit(loader, flag='data')."
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
