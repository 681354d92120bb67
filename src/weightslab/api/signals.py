"""Values that a script has computed itself, and signals that are computed from them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

from weightslab.api.arguments import check_count, check_flag, check_origin, check_takes_one
from weightslab.capture.recorder import checked_name, save_instances, save_samples
from weightslab.errors import InputError
from weightslab.session import current, current_or_none, guard_worker
from weightslab.signals.context import SignalContext
from weightslab.signals.definition import Signal
from weightslab.types import SampleIds

__all__ = ["SignalContext", "current_ids", "save_instance_signals", "save_signals", "signal"]

F = TypeVar("F", bound=Callable[..., Any])


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


@overload
def signal(name: F) -> F: ...
@overload
def signal(
    name: str | None = None,
    subscribe_to: str | None = None,
    compute_every_n_steps: int = 1,
    include_history: bool = False,
    include_history_metadata: bool = False,
    log: bool = True,
    *,
    batched: bool = False,
) -> Callable[[F], F]: ...
def signal(
    name: Any = None,
    subscribe_to: str | None = None,
    compute_every_n_steps: int = 1,
    include_history: bool = False,
    include_history_metadata: bool = False,
    log: bool = True,
    *,
    batched: bool = False,
) -> Any:
    """Register a function that computes a signal; a decorator, which gives the function back.

    The function takes a `SignalContext` and returns one number for its sample: a Python or
    numpy number, or a tensor without dimensions. None means no value. What it raises costs
    that value alone, and is counted and said once.

    With `subscribe_to` the signal is **dynamic**: it is computed, on a thread of its own and
    in the order of the values, for each value that is saved of that signal: once a sample,
    once an instance, or once for a plain number of the curve. Its values stand at the step of
    the value that they come from, and fire signals that subscribe to them in turn. Queries
    and exports wait until all is computed; the training does not, and where signals are
    slower for long, batches of values are dropped for them, said and counted. Without it the
    signal is **static**, computed from the sample itself by `compute_signals`.

    A signal belongs to the current session, and to those that are entered within it
    (`with wl.Session(...)`); `wl.reset()` forgets it. A dynamic one is computed beside the
    training: it may read, tag, discard, save values and ask for evaluations, and runs none.

    Args:
        name: name of the signal, with or without the prefix `signals//`; None: that of the
            function. A name that is registered already is replaced.
        subscribe_to: name of the signal whose values fire this one: a watched loss or metric,
            a saved value, or another signal.
        compute_every_n_steps: fire at every n-th distinct step of the subscribed signal only.
        include_history: let `ctx.subscribed_history` hold the sample's earlier values of the
            subscribed signal in this run.
        include_history_metadata: with the step of each, as `model_age`.
        log: also put the mean of the batch on the global curve.
        batched: call the function once for a batch of B: `ctx.sample_ids`,
            `ctx.annotation_ids` (None for whole samples), `ctx.subscribed_value` [B] and
            `ctx.history(last=...)` with `steps` and `values` [B, T], oldest first, of which
            `counts` [B] are there; in a static signal `ctx.data` and `ctx.images`, lists of B.
            It returns [B], a tensor, an array, or a list in which None means no value.

    Raises:
        InputError: an option that cannot be meant, a signal that would fire itself, or a
            function without a name, or that cannot be called with one argument.
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import weightslab as wl
        >>> @wl.signal(subscribe_to="loss")
        ... def half(ctx):
        ...     return 0.5 * ctx.subscribed_value
        >>> wl.save_signals({"loss": [0.5, 2.0]}, ["cat.png", "dog.png"], step=0)
        >>> wl.history("half")["value"].to_list()
        [0.25, 1.0]
    """
    guard_worker("signal")
    if callable(name):
        return signal()(name)
    named = None if name is None else checked_name(name)
    source = None if subscribe_to is None else _source_name(subscribe_to)
    flags = {
        "include_history": check_flag(include_history, "include_history"),
        "include_history_metadata": check_flag(
            include_history_metadata, "include_history_metadata"
        ),
        "log": check_flag(log, "log"),
        "batched": check_flag(batched, "batched"),
    }
    every = check_count(compute_every_n_steps, "compute_every_n_steps")
    if source is None and (every != 1 or flags["include_history"]):
        raise InputError(
            "compute_every_n_steps and include_history are for dynamic signals: name the signal "
            "whose values fire this one, subscribe_to='loss'"
        )
    if flags["include_history_metadata"] and not flags["include_history"]:
        raise InputError(
            "include_history_metadata=True adds steps to a history that is not there: give "
            "include_history=True as well"
        )

    def register(function: F) -> F:
        if not callable(function) or inspect.iscoroutinefunction(function):
            raise InputError(f"wl.signal decorates a function of one context, not {function!r}")
        own = checked_name(_function_name(function)) if named is None else named
        check_takes_one(function, f"the function of signal {own!r}", "a wl.SignalContext")
        session = current()
        session.signals.define(Signal(own, function, source, every=every, **flags))
        if own in session.registry.signals:
            session.signals.say_shared(own)
        return function

    return register


def _source_name(subscribe_to: object) -> str:
    if not isinstance(subscribe_to, str):
        raise InputError(
            f"subscribe_to is the name of one signal, such as the signal_name of a watched loss; "
            f"got {subscribe_to!r:.60} ({type(subscribe_to).__name__})"
        )
    return checked_name(subscribe_to)


def _function_name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        raise InputError(f"{function!r} has no name of its own: @wl.signal(name=...)")
    return name
