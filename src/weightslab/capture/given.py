"""The ids that a batch gives to its samples, as plain strings or integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

__all__ = ["given_ids"]


def given_ids(value: Any) -> list[Any] | None:
    """Ids of a batch as a list of strings or of integers, None when they are neither."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return _one_kind(value.tolist()) if value.ndim == 1 else None
    if isinstance(value, (list, tuple)):
        return _one_kind(value) or _one_kind([_item(one) for one in value])
    return None


def _one_kind(values: Sequence[Any]) -> list[Any] | None:
    kinds = set(map(type, values))
    if kinds == {int} or (kinds and all(issubclass(kind, str) for kind in kinds)):
        return values if isinstance(values, list) else list(values)
    return None


def _item(value: Any) -> Any:
    """What a 0-d tensor or array holds."""
    holds_one = isinstance(value, (torch.Tensor, np.ndarray, np.generic)) and value.ndim == 0
    return value.item() if holds_one else value
