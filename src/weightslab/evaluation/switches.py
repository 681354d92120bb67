"""Torch's switches: what any code may flip for a whole thread or process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

__all__ = ["kept_switches"]

_Switch = tuple[Callable[[], Any], Callable[[Any], object]]
"""How one is read, and how it is written."""


@contextmanager
def kept_switches() -> Iterator[None]:
    """Every switch is afterwards as it was.

    The cache of autocast is neither read nor filled within: what is cast without a graph
    must not come back to training, which holds its own casts in it.
    """
    kept = [(read, write, read()) for read, write in _SWITCHES]
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        for read, write, before in kept:
            if read() != before:
                write(before)


def _set_default_device(device: torch.device) -> None:
    # None, not "cpu": a default device is a mode that every call then passes through.
    torch.set_default_device(None if device.type == "cpu" else device)


def _attribute(of: object, name: str) -> _Switch:
    return partial(getattr, of, name), partial(setattr, of, name)


def _autocast(device: str) -> list[_Switch]:
    return [
        (partial(torch.is_autocast_enabled, device), partial(torch.set_autocast_enabled, device)),
        (partial(torch.get_autocast_dtype, device), partial(torch.set_autocast_dtype, device)),
    ]


_SWITCHES: list[_Switch] = [
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    *_autocast("cpu"),
    *_autocast("cuda"),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, _set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    *(_attribute(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic")),
]
