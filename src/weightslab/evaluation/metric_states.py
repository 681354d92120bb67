"""torchmetrics objects in an evaluation: an empty state for it, and the training's back after.

torchmetrics is never imported here: an object that is one has loaded it.
"""

from __future__ import annotations

import copy
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["is_torchmetric", "kept_metrics"]

_CONTAINERS = (list, dict, set, deque)
_EMPTY = {"_update_count": 0, "_computed": None, "_forward_cache": None}


def is_torchmetric(obj: object) -> bool:
    """Whether `obj` is a torchmetrics `Metric` or `MetricCollection`."""
    loaded = sys.modules.get("torchmetrics")
    return loaded is not None and isinstance(obj, (loaded.Metric, loaded.MetricCollection))


@contextmanager
def kept_metrics(objects: Iterable[object]) -> Iterator[None]:
    """Let every metric among `objects` begin anew within, and go on afterwards where it was.

    What it has gathered comes back as the very same tensors and lists, which nobody
    within could reach.
    """
    metrics = [one for one in objects if is_torchmetric(one)]
    kept = [(metric, dict(vars(metric))) for metric in metrics]
    try:
        for metric in metrics:
            _begin_anew(metric)
        yield
    finally:
        for metric, attributes in kept:
            held = vars(metric)
            held.clear()
            held.update(attributes)


def _begin_anew(metric: Any) -> None:
    held = vars(metric)
    for name, value in list(held.items()):
        # Those of the metric's author, and the groups of a collection; not nn.Module's own.
        if type(value) in _CONTAINERS and (not name.startswith("_") or name == "_groups"):
            held[name] = copy.deepcopy(value) if name == "_groups" else copy.copy(value)
    for name, default in held.get("_defaults", {}).items():
        if isinstance(default, list):
            held[name] = []
        else:
            device = getattr(held.get(name), "device", default.device)
            held[name] = default.detach().clone().to(device)
    for name, value in _EMPTY.items():
        if name in held:
            held[name] = value
