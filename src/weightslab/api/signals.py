"""`save_signals` and `save_instance_signals`: values that a script has computed itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weightslab.api.arguments import check_flag, check_origin
from weightslab.capture.recorder import save_instances, save_samples
from weightslab.session import current, current_or_none, guard_worker
from weightslab.types import SampleIds

__all__ = ["current_ids", "save_instance_signals", "save_signals"]


def save_signals(
    signals: Mapping[str, Any],
    batch_ids: Any,
    preds_raw: Any = None,
    targets: Any = None,
    preds: Any = None,
    step: int | None = None,
    log: bool = True,
) -> None:
    """Keep values of a batch, one for each sample.

    The call returns when the rows are safe from a kill of this process. Values are
    copied, detached, from any device; nothing of yours is changed.

    Args:
        signals: name to values: `[B]`, or `[B, ...]` which is folded to `[B]` by the
            mean. Tensors (any float, int or bool dtype), arrays and lists. A 0-d value
            goes to the curve of its name and to no sample. The column of a signal is
            `signals//<name>`, whether or not you write that prefix.
        batch_ids: B ids of any kind (strings, ints, arrays, tensors, what a watched
            loader gave you); `1`, `"1"` and `tensor(1)` are one sample. None: those
            of the current batch of a watched loader. An id twice is two rows.
        preds_raw: raw outputs of the model, `[B, ...]` or a list of B.
        targets: targets as they came, `[B, ...]` or a list of B.
        preds: predictions, `[B, ...]` or a list of B. Of these three the latest of
            each sample is kept.
        step: the step to write. None: updates of the watched optimizer before this
            batch, from 0; without an optimizer one more for each call of a signal.
        log: also put the mean of the batch on the global curve.

    Raises:
        LengthMismatchError: a signal whose length is not that of `batch_ids`.
        InputError: an empty name, text or objects as values, ragged lists, no ids.
        WorkerProcessError: called inside a DataLoader worker.
        After an error nothing of the call is written.

    Example:
        >>> import torch, weightslab as wl
        >>> wl.save_signals({"loss": torch.tensor([0.1, 2.3])}, ["cat.png", "dog.png"], step=0)
    """
    guard_worker("save_signals")
    if log is not True and log is not False:
        log = check_flag(log, "log")
    save_samples(
        current(),
        signals,
        batch_ids,
        preds_raw=preds_raw,
        targets=targets,
        preds=preds,
        step=step,
        log=log,
    )


def save_instance_signals(
    signals: Mapping[str, Any],
    batch_ids: Any,
    batch_idx: Any,
    step: int | None = None,
    origin: str | None = None,
    targets: Any = None,
    log: bool = True,
) -> None:
    """Keep values of the instances of a batch: boxes, masks, whatever a sample has several of.

    An instance lands at `(sample_id, annotation_id)`; annotation ids count from 1 in
    the order in which the instances of a batch position appear.

    Args:
        signals: name to flat values `[N]`, one for each instance of the whole batch;
            `[N, ...]` is folded by the mean.
        batch_ids: ids of the B samples, as for `save_signals`.
        batch_idx: `[N]`, the batch position (0 to B - 1) that each instance belongs to.
        step: as for `save_signals`.
        origin: the split of samples that are not known yet. None: that of the current
            batch, else `train`.
        targets: N targets, one for each instance (boxes, masks); the latest is kept.
        log: also put the mean over the instances on the global curve.

    Raises:
        LengthMismatchError: a signal whose length is not that of `batch_idx`.
        InputError: a batch position outside the batch, an origin that is no name, and
            what `save_signals` refuses.
        WorkerProcessError: called inside a DataLoader worker.
        After an error nothing of the call is written.

    Example:
        >>> import weightslab as wl
        >>> wl.save_instance_signals({"iou": [0.9, 0.4, 0.7]}, ["a", "b"], [0, 0, 1], step=0)
    """
    guard_worker("save_instance_signals")
    check_origin(origin)
    log = check_flag(log, "log")
    save_instances(
        current(),
        signals,
        batch_ids,
        batch_idx,
        step=step,
        origin=origin,
        targets=targets,
        log=log,
    )


def current_ids() -> SampleIds | None:
    """Ids of the batch that this thread took last from a watched loader; None outside of one.

    Example:
        >>> import weightslab as wl
        >>> wl.current_ids() is None
        True
    """
    guard_worker("current_ids")
    session = current_or_none()
    batch = None if session is None else session.batches.current
    return None if batch is None else batch.ids
