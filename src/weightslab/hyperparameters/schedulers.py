"""The learning rate schedulers of an optimizer, though nobody registered them."""

from __future__ import annotations

import gc
import sys
from typing import Any

__all__ = ["schedulers_of", "unwrapped"]


def unwrapped(optimizer: Any) -> list[Any]:
    """An optimizer and those inside it: Accelerate's wrapper holds the one that steps."""
    chain = [optimizer]
    while hasattr(inner := getattr(chain[-1], "optimizer", None), "param_groups"):
        if any(inner is one for one in chain):
            break
        chain.append(inner)
    return chain


def schedulers_of(optimizer: Any) -> list[Any]:
    """Every torch scheduler that drives `optimizer`, those inside others among them.

    Python's garbage collector is asked, which takes some tens of milliseconds in a large
    process: for an edit, not for a step. It does not see objects after `gc.freeze()`, and a
    scheduler of another library that is no `LRScheduler` is not known for one.
    """
    module = sys.modules.get("torch.optim.lr_scheduler")
    if module is None:
        return []
    chain = unwrapped(optimizer)
    # The class is read off the type: to ask an object may run code of its own.
    return [
        found
        for found in gc.get_objects()
        if module.LRScheduler in type(found).__mro__
        and any(vars(found).get("optimizer") is one for one in chain)
    ]
