"""An optimizer's steps count the age of the model; nothing else about it changes."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import torch

from weightslab.errors import InputError

if TYPE_CHECKING:
    from weightslab.session import Session

__all__ = ["watch_optimizer"]

_Watched = tuple["weakref.ref[Session]", int]

_WATCHED: weakref.WeakKeyDictionary[torch.optim.Optimizer, _Watched] = weakref.WeakKeyDictionary()
"""Which session counts which optimizer. A copy is another key, so its steps count nowhere."""


def watch_optimizer(
    session: Session, obj: Any, *, obj_name: str | None = None, name: str | None = None
) -> torch.optim.Optimizer:
    """Count the updates of an optimizer; the same object comes back.

    Steps that a `GradScaler` skips are no updates. Raises `InputError` for
    anything but a torch optimizer (Accelerate's wrapper included).
    """
    if not isinstance(obj, torch.optim.Optimizer):
        raise InputError(
            f"an optimizer is a torch.optim.Optimizer, got {type(obj).__qualname__}: {obj!r:.80}"
        )
    steps = _stepping(obj)
    known = _WATCHED.get(steps)
    if known is None:
        steps.register_step_post_hook(_after_step)
    if known is None or known[0]() is not session:
        _WATCHED[steps] = (weakref.ref(session), session.clock.watch_optimizer())
    session.registry.register("optimizers", obj_name or name or "optimizer", obj)
    return obj


def _stepping(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer that runs the step: Accelerate's wrapper has no hooks of its own."""
    while not hasattr(optimizer, "_optimizer_step_post_hooks"):
        inner = getattr(optimizer, "optimizer", None)
        if not isinstance(inner, torch.optim.Optimizer):
            raise InputError(
                f"{type(optimizer).__qualname__} never called Optimizer.__init__, so its steps "
                f"cannot be counted"
            )
        optimizer = inner
    return optimizer


def _after_step(
    optimizer: torch.optim.Optimizer, _args: tuple[Any, ...], _kwargs: dict[str, Any]
) -> None:
    watched = _WATCHED.get(optimizer)
    if watched is None:
        return
    session = watched[0]()
    if session is None or torch.compiler.is_compiling() or _skipped(optimizer):
        return
    session.clock.advance(watched[1])
    session.evaluations.where.stepped()
    trains = any(_trains(loader) for loader in session.registry.loaders.values())
    if trains and not session.evaluations.where.reads_ahead:
        return  # the training loader does what follows before its next batch
    try:
        session.safe_point()
    except Exception as error:  # noqa: BLE001  # nothing of ours may end a training run
        session.notices.warn_once(
            ("safe point", type(error).__name__),
            f"edits cannot take effect after this optimizer's steps; training goes on: {error}",
        )


def _trains(loader: Any) -> bool:
    source = getattr(loader, "weightslab", None)
    return source is not None and bool(source.options.is_training)


def _skipped(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a fused optimizer found infinite gradients, and so changed nothing.

    Only `GradScaler` leaves `found_inf` there, and only with a fused optimizer;
    reading it waits for the device, which is the price of a true count.
    """
    found: torch.Tensor | None = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found.item())
