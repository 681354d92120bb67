"""A model in the registry: moved where asked, and otherwise exactly as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from weightslab.errors import InputError

if TYPE_CHECKING:
    from weightslab.session import Session

__all__ = ["checked_device", "watch_model"]


def checked_device(device: Any) -> torch.device:
    """The device that is meant; raises `InputError` for what torch does not know."""
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"device={device!r} is no device of torch: {error}") from error


def watch_model(
    session: Session,
    obj: Any,
    *,
    obj_name: str | None = None,
    name: str | None = None,
    device: str | int | torch.device | None = None,
) -> torch.nn.Module:
    """Register a model; the same object comes back, with nothing of ours on it.

    `device` moves its parameters in place. Raises `InputError` for what is no
    `nn.Module`, and for a device that torch cannot use.
    """
    if not isinstance(obj, torch.nn.Module):
        raise InputError(f"a model is an nn.Module, got {type(obj).__qualname__}: {obj!r:.80}")
    if device is not None:
        try:
            obj.to(torch.device(device))
        except (RuntimeError, AssertionError, TypeError) as error:
            raise InputError(f"the model cannot be moved to device={device!r}: {error}") from error
    session.registry.register("models", obj_name or name or "model", obj)
    return obj
