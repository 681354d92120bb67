"""One pass over a loader: by the user's evaluation function, or by the default one.

Shapes: B samples in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from weightslab.errors import EvaluationError, WeightsLabError
from weightslab.evaluation.generators import kept_generators
from weightslab.evaluation.managed_loader import ManagedLoader
from weightslab.evaluation.metric_states import is_torchmetric
from weightslab.evaluation.unpack import rows_of, unpack
from weightslab.types import SampleIds

__all__ = ["Say", "run_pass"]

Say = Callable[[str, str], None]
"""Warns once by key with a message."""

_OUTPUTS = ("logits", "out", "preds", "predictions", "output", "outputs")
"""Where models that return a dict, or an object like one, keep what a loss is about."""


_DRAWING = ("dataset", "collate_fn", "worker_init_fn", "generator", "sampler", "batch_sampler")
"""Parts of a loader that may draw from generators of their own."""


def run_pass(
    managed: ManagedLoader,
    *,
    model: Any,
    signals: Mapping[str, Callable[..., Any]],
    eval_fn: Callable[[ManagedLoader], object] | None = None,
    device: str | torch.device | None = None,
    say: Say,
) -> dict[str, str]:
    """Evaluate every batch of a managed loader, without gradients.

    `eval_fn` is called with the loader, and the model is in eval mode before. Without it
    the default goes on: unpack the batch, move it to the model's device, call the model,
    and each signal as `signal(preds, targets, batch_ids=ids)`; torchmetrics objects
    `update` with each batch, and `compute` after the last. A signal gets what the model
    returns; where it cannot use that and it is a dict or a tuple, its logits (or `out`, or
    the first item).

    Call it within `isolated`, which puts modes, buffers and metrics back. Generators that
    the loader's dataset holds are put back here.

    Args:
        managed: the batches.
        model: what is evaluated; with an `eval_fn` it may be None.
        signals: what is called, by name.
        eval_fn: the user's function; what it returns is not looked at.
        device: where the batch goes; None: to the model's first parameter.
        say: hears of what is left out.

    Returns:
        Signals that were left out, and why.

    Raises:
        EvaluationError: there is no model or no signal, or none of them could be called.
        InputError: the batch cannot be unpacked.
        EvaluationCancelled, EvaluationTimeout: from the loader.
        Exception: whatever the model or the user's function raises.
    """
    loader = managed.loader
    held = [getattr(loader, name, None) for name in _DRAWING]
    with torch.no_grad(), kept_generators(*held):
        if isinstance(model, torch.nn.Module):
            model.eval()
        if eval_fn is not None:
            eval_fn(managed)
            return {}
        return _default_pass(managed, model, signals, device, say)


def _default_pass(
    managed: ManagedLoader,
    model: Any,
    signals: Mapping[str, Callable[..., Any]],
    device: str | torch.device | None,
    say: Say,
) -> dict[str, str]:
    if model is None:
        raise EvaluationError(
            "there is no model to evaluate: wl.watch_or_edit(model, flag='model'), or say how "
            "with @wl.eval_fn"
        )
    if not signals:
        raise EvaluationError(
            "there is no signal to evaluate with: wl.watch_or_edit(criterion, flag='loss', "
            "signal_name='loss'), or say how with @wl.eval_fn"
        )
    # Not through DDP: its forward waits for the other ranks where the model has buffers.
    is_parallel = isinstance(model, torch.nn.parallel.DistributedDataParallel)
    call = model.module if is_parallel else model
    where = _device_of(model) if device is None else torch.device(device)
    going = calls = [_SignalCall(name, signal, say) for name, signal in signals.items()]
    for batch in managed:
        inputs, targets, ids = unpack(batch)
        if where is not None:
            inputs, targets = _moved(inputs, where), _moved(targets, where)
        if type(ids) is not SampleIds and not _are_ids(ids, targets):
            ids = None  # the third item is something else: the loader knows whose batch it is
        preds = call(inputs)
        for signal in going:
            signal.take(preds, targets, ids)
            if signal.is_out:
                going = [one for one in going if not one.is_out]
        if not going:
            break
    for signal in going:
        signal.finish()
    left_out = {signal.name: signal.why for signal in calls if signal.why}
    if calls and not going:
        reasons = "; ".join(f"{name!r}: {why}" for name, why in left_out.items())
        raise EvaluationError(
            f"no signal can be called as signal(preds, targets, batch_ids=ids) ({reasons}): say "
            f"how to evaluate with @wl.eval_fn"
        )
    return left_out


def _are_ids(ids: Any, targets: Any) -> bool:
    """Whether there is one for each target, as far as that can be told."""
    if ids is None:
        return False
    named, wanted = rows_of(ids), rows_of(targets)
    return named is not None and (wanted is None or named == wanted)


class _SignalCall:
    """One signal through the pass: left out when it cannot be called in this way."""

    def __init__(self, name: str, signal: Callable[..., Any], say: Say) -> None:
        self.name = name
        self.why = ""
        """What it raised first."""
        self.is_out = False
        self._signal = signal
        self._gathers = is_torchmetric(signal)
        self._call: Callable[..., Any] = signal.update if self._gathers else signal  # type: ignore[attr-defined]
        self._say = say
        self._worked = False
        self._takes_main = False
        """Whether it takes the logits of what the model returned, and not all of it."""

    def take(self, preds: Any, targets: Any, ids: Any) -> None:
        """Call it for one batch."""
        try:
            self._call_with(preds, targets, ids)
            self._worked = True
        except Exception as error:  # noqa: BLE001  # one signal must not cost the others theirs
            self._fail(error)

    def _call_with(self, preds: Any, targets: Any, ids: Any) -> None:
        if type(preds) is torch.Tensor:
            self._call(preds, targets, batch_ids=ids)
            return
        main = _main_output(preds)
        if not self._takes_main:
            try:
                self._call(preds, targets, batch_ids=ids)
                return
            except Exception:
                if main is None or self._worked:
                    raise
        self._call(main, targets, batch_ids=ids)
        self._takes_main = True

    def finish(self) -> None:
        """The last batch has passed: let a metric say what it gathered."""
        if not self._gathers or not self._worked:
            return
        try:
            self._signal.compute()  # type: ignore[attr-defined]
        except Exception as error:  # noqa: BLE001  # as above
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        reason = (
            str(error)
            if isinstance(error, WeightsLabError)
            else (f"{type(error).__name__}: {error}")
        )
        self.why = self.why or reason
        self.is_out = not self._worked
        self._say(
            f"signal {self.name}",
            f"the signal {self.name!r} "
            + (
                f"is left out of the evaluation: it cannot be called as "
                f"signal(preds, targets, batch_ids=ids) ({reason}). Say how to evaluate with "
                f"@wl.eval_fn"
                if self.is_out
                else f"has no value for some batches of the evaluation: {reason}"
            ),
        )


def _main_output(preds: Any) -> Any:
    """What of a model's dict, object or tuple a loss is about; None where that cannot be told."""
    for name in _OUTPUTS:
        found = preds.get(name) if isinstance(preds, Mapping) else getattr(preds, name, None)
        if isinstance(found, torch.Tensor):
            return found
    if isinstance(preds, Mapping):
        tensors = [value for value in preds.values() if isinstance(value, torch.Tensor)]
        return tensors[0] if len(tensors) == 1 else None
    if isinstance(preds, tuple) and preds and isinstance(preds[0], torch.Tensor):
        return preds[0]
    return None


def _device_of(model: Any) -> torch.device | None:
    """Where the first parameter or buffer of a model is; None for what has none."""
    if not isinstance(model, torch.nn.Module):
        return None
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            return tensor.device
    return None


def _moved(value: Any, device: torch.device) -> Any:
    """What is made of tensors, with each of them on the device; what is there already is the same.

    A batch of another kind that knows how to move (`to`) does it itself.
    """
    if isinstance(value, torch.Tensor):
        return value if value.device == device else value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, tuple):
        items = [_moved(item, device) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, list):
        return [_moved(item, device) for item in value]
    if hasattr(value, "to") and not isinstance(value, torch.nn.Module):
        return value.to(device)
    return value
