"""What a save does: check everything, then append to the ledger. Nothing half-written.

Shapes: B samples in a batch, N instances.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from weightslab.capture.fold import annotation_numbers, fold_mean, mean_over_rest
from weightslab.capture.transfer import Values, count_items, to_array, to_arrays, to_values
from weightslab.errors import InputError, LengthMismatchError
from weightslab.signals.firing import Firing
from weightslab.types import BatchIds, Rows, SampleIds, check_text

if TYPE_CHECKING:
    from weightslab.session import Session
    from weightslab.session.batches import OpenIteration

__all__ = ["checked_batch_idx", "checked_name", "save_instances", "save_samples"]

_PREFIX = "signals//"
_NOTHING: Mapping[str, Any] = {}
_BATCH_IDX = "batch_idx takes the batch position (a whole number from 0) of each instance"


def checked_name(name: object) -> str:
    """The name that a signal is stored under: without the prefix of its column.

    Raises `InputError` for anything but a non-empty string.
    """
    if not isinstance(name, str):
        raise InputError(f"a signal's name is a string, got {name!r} ({type(name).__name__})")
    return _stored_name(name)


@functools.lru_cache(4096)
def _stored_name(name: str) -> str:
    short = name.removeprefix(_PREFIX)
    if not short.strip():
        raise InputError(f"a signal needs a name, got {name!r}")
    check_text(short, "the signal's name")
    return short


def save_samples(
    session: Session,
    signals: Mapping[str, Any],
    batch_ids: Any,
    *,
    preds_raw: Any = None,
    targets: Any = None,
    preds: Any = None,
    step: int | None = None,
    log: bool = True,
) -> None:
    """Append one value for each sample of each signal; see `weightslab.save_signals`."""
    iteration = _iteration(session, batch_ids, (targets, preds, preds_raw))
    batch = None if iteration is None else iteration.batch
    ids = batch if batch_ids is None else batch_ids
    scalars: dict[str, float] = {}
    folded: dict[str, Values] = {}
    for name, value in _checked_signals(signals).items():
        values = _folded(name, value)
        if values.ndim == 0:
            scalars[name] = float(values)
        else:
            folded[name] = values
    arrays = {"preds_raw": preds_raw, "targets": targets, "preds": preds}
    given = {field: value for field, value in arrays.items() if value is not None}
    if not (scalars or folded or given):
        raise InputError("nothing to save: give at least one signal, targets or predictions")
    explicit = _step_of(session, iteration, step)
    if folded or given:
        if ids is None:
            raise InputError(
                "no ids for these values: pass batch_ids=, or iterate over a watched loader"
            )
        count = count_items(ids, "batch_ids")
        for name, values in folded.items():
            if len(values) != count:
                raise LengthMismatchError(name, len(values), count, expected_of="batch_ids")
        kept = {field: to_arrays(value, count, field) for field, value in given.items()}
        rows = _rows(session, ids, batch, count)
        if count:
            for moment, some in _by_step(session, folded, explicit).items():
                session.recording.samples(some, rows, step=moment, log=log)
            for field, value in kept.items():
                session.recording.arrays(field, rows, value)
    for moment, numbers in _by_step(session, scalars, explicit).items():
        session.recording.scalars(numbers, step=moment)


def save_instances(
    session: Session,
    signals: Mapping[str, Any],
    batch_ids: Any,
    batch_idx: Any,
    *,
    step: int | None = None,
    origin: str | None = None,
    targets: Any = None,
    log: bool = True,
) -> None:
    """Append one value for each instance; see `weightslab.save_instance_signals`."""
    iteration = _iteration(session, batch_ids, (targets, batch_idx))
    batch = None if iteration is None else iteration.batch
    ids = batch if batch_ids is None else batch_ids
    if ids is None:
        raise InputError(
            "no ids for these instances: pass batch_ids=, or iterate over a watched loader"
        )
    if origin == "":
        raise InputError("origin is the name of a split, such as 'train'; got an empty one")
    count = count_items(ids, "batch_ids")
    positions = checked_batch_idx(batch_idx, count)
    flat: dict[str, Values] = {}
    for name, value in _checked_signals(signals).items():
        values = _named(name, value)
        values = values.reshape(1) if values.ndim == 0 else mean_over_rest(values)
        if len(values) != len(positions):
            raise LengthMismatchError(name, len(values), len(positions), expected_of="batch_idx")
        flat[name] = values
    if not flat and targets is None:
        raise InputError("nothing to save: give at least one signal, or targets")
    kept = None if targets is None else to_arrays(targets, len(positions), "targets", "instances")
    explicit = _step_of(session, iteration, step)
    if origin is not None and not isinstance(ids, (BatchIds, SampleIds)):
        # An origin that the caller names speaks for ids that nobody has seen yet.
        batch = BatchIds(SampleIds(np.empty(0, np.int32), lambda _: []), origin)
    rows = _rows(session, ids, batch, count)[positions]
    if not len(positions):
        return
    annotations = annotation_numbers(positions)
    for moment, some in _by_step(session, flat, explicit).items():
        session.recording.instances(some, rows, annotations, step=moment, log=log)
    if kept is not None:
        session.recording.arrays("targets", rows, kept, annotations)


def checked_batch_idx(batch_idx: Any, count: int) -> npt.NDArray[np.int64]:
    """Batch positions of instances, int64 [N], each within 0 and `count` - 1.

    Whole floats are taken as well (some detection batches keep them so). Raises
    `InputError` that names the first value that is out of range or not whole.
    """
    try:
        found = to_array(batch_idx).reshape(-1)
    except InputError as error:
        raise InputError(f"{_BATCH_IDX}: {error}; nothing of this call was written") from error
    if found.dtype.kind not in "iuf" and found.size:
        raise InputError(f"{_BATCH_IDX}, got dtype {found.dtype}; nothing of this call was written")
    with np.errstate(invalid="ignore"):
        positions = found.astype(np.int64)
    wrong = (positions != found) | (positions < 0) | (positions >= count)
    if wrong.any():
        raise InputError(
            f"batch_idx holds {found[wrong.argmax()]!s}, but positions in this batch of "
            f"{count} ids are whole numbers from 0 to {count - 1}; "
            f"nothing of this call was written"
        )
    return positions


def _checked_signals(signals: Any) -> dict[str, Any]:
    if not isinstance(signals, Mapping):
        raise InputError(
            f"signals is a mapping of names to values, such as {{'loss': values}}; "
            f"got {type(signals).__name__}"
        )
    named = {checked_name(name): value for name, value in signals.items()}
    if len(named) != len(signals):
        raise InputError(
            f"two of the names {sorted(signals)} are one signal: the prefix {_PREFIX!r} "
            f"is no part of a name"
        )
    return named


def _step_of(session: Session, iteration: OpenIteration | None, step: Any) -> int | None:
    """The caller's step; else that of the batch where steps are counted by an optimizer.

    Within a signal, that of the values which fired it.
    """
    if step is None and iteration is not None and session.clock.has_optimizer:
        return iteration.step
    if step is None and (firing := Firing.current()) is not None:
        return firing.step
    return _checked_step(step)


def _checked_step(step: Any) -> int | None:
    if step is None:
        return None
    number: int | None = None
    try:
        number = operator.index(step)
    except TypeError:
        if hasattr(step, "item") or isinstance(step, float):  # a step that went through a tensor
            number = int(step) if float(step).is_integer() else None
    if number is None:
        raise InputError(f"step is a whole number, got {step!r} ({type(step).__name__})")
    if not -(2**63) <= number < 2**63:
        raise InputError(f"step is a whole number of at most 64 bits, got {step!r}")
    return number


def _named(name: str, value: Any) -> Values:
    try:
        return to_values(value)
    except InputError as error:
        raise InputError(f"signal {name!r}: {error}; nothing of this call was written") from error


def _folded(name: str, value: Any) -> Values:
    if isinstance(value, torch.Tensor) and value.ndim > 1 and value.numel():
        value = fold_mean(value.detach())  # on its device: only [B] travels
    values = _named(name, value)
    try:
        return mean_over_rest(values)
    except InputError as error:
        raise InputError(f"signal {name!r}: {error}; nothing of this call was written") from error


def _iteration(
    session: Session, batch_ids: Any, arguments: tuple[Any, ...]
) -> OpenIteration | None:
    """The iteration whose batch a save is about."""
    batches = session.batches
    top = batches.top
    if batch_ids is not None:
        return batches.holding(batch_ids) or top
    found = batches.of(arguments, _NOTHING)
    if found is None and top is not None and top.interleaved:
        raise InputError(
            "two watched loaders are open at once, and whose batch these values are of cannot be "
            "told: pass batch_ids=ids"
        )
    return found or top


def _rows(session: Session, ids: Any, batch: BatchIds | None, count: int) -> Rows:
    if isinstance(ids, BatchIds):
        return ids.rows
    rows: Rows = session.resolve(ids, batch=batch)
    if len(rows) != count:
        raise LengthMismatchError("batch_ids", len(rows), count, expected_of="the batch")
    return rows


def _by_step(
    session: Session, values: Mapping[str, Any], explicit: int | None
) -> dict[int, dict[str, Any]]:
    """Signals that stand at one step share a record; without an optimizer each counts its own."""
    clock = session.clock
    if values and (explicit is not None or clock.has_optimizer):
        return {clock.step("", explicit): dict(values)}
    grouped: dict[int, dict[str, Any]] = {}
    for name, value in values.items():
        grouped.setdefault(clock.step(name, explicit), {})[name] = value
    return grouped
