"""From a flag (or an object that speaks for itself) to what watches it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules import loss as losses
from torch.utils.data import DataLoader, Dataset

from weightslab.capture.hyperparameters import OPTIONS as HYPERPARAMETER_OPTIONS
from weightslab.capture.hyperparameters import watch_hyperparameters
from weightslab.capture.loader import OPTIONS, watch_loader
from weightslab.capture.logger import watch_logger
from weightslab.capture.metric import watch_signal
from weightslab.capture.model import watch_model
from weightslab.capture.optimizer import watch_optimizer
from weightslab.capture.options import checked_object_name
from weightslab.errors import InputError, UnknownOptionError
from weightslab.evaluation.metric_states import is_torchmetric

if TYPE_CHECKING:
    from weightslab.session import Session

__all__ = ["FLAGS", "watch"]


def _loader(
    session: Session, obj: Any, *, obj_name: str | None, name: str | None = None,
    loader_name: str | None = None, **options: Any,
) -> Any:  # fmt: skip
    chosen = next((n for n in (loader_name, name, obj_name) if n is not None), None)
    return watch_loader(session, obj, name=chosen, **options)


@dataclass(frozen=True, slots=True)
class _Way:
    """How one kind of object is watched, and the options that it knows."""

    watch: Callable[..., Any]
    options: frozenset[str]


_DATA = _Way(_loader, OPTIONS | {"name", "loader_name"})
_SIGNAL = _Way(
    watch_signal, frozenset({"signal_name", "name", "per_sample", "per_instance", "log"})
)
_HYPERPARAMETERS = _Way(watch_hyperparameters, HYPERPARAMETER_OPTIONS)

_WAYS: dict[str, _Way] = {
    "model": _Way(watch_model, frozenset({"name", "device"})),
    "data": _DATA,
    "dataset": _DATA,
    "dataloader": _DATA,
    "optimizer": _Way(watch_optimizer, frozenset({"name"})),
    "logger": _Way(watch_logger, frozenset({"name", "log_dir"})),
    "loss": _SIGNAL,
    "metric": _SIGNAL,
    "signal": _SIGNAL,
    "hyperparameters": _HYPERPARAMETERS,
    "hp": _HYPERPARAMETERS,
    "params": _HYPERPARAMETERS,
    "parameters": _HYPERPARAMETERS,
}

_NAMES = frozenset({"loader_name", "name", "signal_name"})

FLAGS: tuple[str, ...] = tuple(_WAYS)
"""Every flag that `watch_or_edit` knows, in the order of the seed."""


def watch(
    session: Session, obj: Any, obj_name: str | None, flag: str | None, options: dict[str, Any]
) -> Any:
    """Watch `obj` as what `flag` says; see `weightslab.watch_or_edit`."""
    if obj_name is not None:
        checked_object_name("obj_name", obj_name)
    if flag is None:
        flag = _inferred(obj)
    way = _WAYS.get(str(flag))
    if way is None:
        raise UnknownOptionError("flag", flag, FLAGS)
    for option in options:
        if option not in way.options:
            raise UnknownOptionError(f"option of flag={flag!r}", option, way.options)
    for option in _NAMES & options.keys():
        if options[option] is not None:
            checked_object_name(option, options[option])
    return way.watch(session, obj, obj_name=obj_name, **options)


def _inferred(obj: Any) -> str:
    """The flag of an object that can be only one thing; refuses any other."""
    if isinstance(obj, DataLoader):
        return "data"
    if isinstance(obj, torch.optim.Optimizer):
        return "optimizer"
    if is_torchmetric(obj):
        return "metric"
    if any(kind.__module__ == losses.__name__ for kind in type(obj).__mro__):
        return "loss"
    if isinstance(obj, Dataset):
        return "data"
    omegaconf = sys.modules.get("omegaconf")  # whoever holds a DictConfig has loaded it
    if omegaconf is not None and isinstance(obj, omegaconf.DictConfig):
        return "hyperparameters"
    raise InputError(
        f"what is a {type(obj).__module__}.{type(obj).__qualname__} to you? Say it with flag=, "
        f"one of: {', '.join(FLAGS)}"
    )
