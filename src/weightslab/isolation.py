"""Random numbers that a detour does not use up: work beside the training leaves it as it was.

Whoever reads a dataset or runs a model between two steps draws from the generators that
the training draws from; without this the next batch would be shuffled another way.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["preserved_rng"]


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Restore, on the way out, every global generator to where it was on the way in.

    Those are torch's of the CPU and of every CUDA device, Python's `random` and numpy's
    global one; also when the body raises. CUDA is not started here; where the body starts
    it, its generators go back to their seeds, as if nobody had drawn yet. Generators that
    objects own (a sampler's, a `np.random.Generator`) are theirs.

    Of the process, not of a thread: other threads must not draw meanwhile.
    """
    cpu = torch.random.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if _cuda_has_started() else []
    python = random.getstate()
    numpy = np.random.get_state()  # noqa: NPY002  # the global one is what users draw from
    try:
        yield
    finally:
        np.random.set_state(numpy)  # noqa: NPY002
        random.setstate(python)
        _restore_cuda(devices)
        torch.random.set_rng_state(cpu)


def _restore_cuda(states: list[torch.Tensor]) -> None:
    if not _cuda_has_started():
        return
    for device, generator in enumerate(torch.cuda.default_generators):
        if device < len(states):
            generator.set_state(states[device])
        else:
            generator.manual_seed(generator.initial_seed())


def _cuda_has_started() -> bool:
    started: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch's
    return started
