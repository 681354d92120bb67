"""State that torch keeps by thread: an evaluation on another thread works as training does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

__all__ = ["Ambient"]

_AUTOCAST = ("cpu", "cuda")


@dataclass(frozen=True, slots=True)
class Ambient:
    """Autocast, default device, CUDA device and grad mode of one thread at one moment."""

    grad: bool
    autocast: tuple[tuple[str, torch.dtype], ...]
    """Device types that autocast is enabled for, and to which type."""
    autocast_cache: bool
    device: torch.device
    cuda_device: int | None
    """None while CUDA was not used."""

    @classmethod
    def here(cls) -> Ambient:
        """That of the calling thread. A few microseconds; draws no random number."""
        return cls(
            grad=torch.is_grad_enabled(),
            autocast=tuple(
                (kind, torch.get_autocast_dtype(kind))
                for kind in _AUTOCAST
                if torch.is_autocast_enabled(kind)
            ),
            autocast_cache=torch.is_autocast_cache_enabled(),
            device=torch.get_default_device(),
            cuda_device=torch.cuda.current_device() if torch.cuda.is_initialized() else None,  # type: ignore[no-untyped-call]  # torch's
        )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the calling thread work like that within."""
        with ExitStack() as stack:
            if self.cuda_device is not None:
                stack.enter_context(torch.cuda.device(self.cuda_device))
            if self.device != torch.get_default_device():
                stack.enter_context(self.device)
            for kind, dtype in self.autocast:
                stack.enter_context(
                    torch.autocast(kind, dtype=dtype, cache_enabled=self.autocast_cache)
                )
            stack.enter_context(torch.set_grad_enabled(self.grad))
            yield
