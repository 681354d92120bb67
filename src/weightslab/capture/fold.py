"""Folding kernels: from the elements of a loss to one value for each of its owners.

Shapes: B owners (samples, or instances) of a batch, R rows of a loss (B, or B*T
when tokens were flattened into the batch), T tokens. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from weightslab.capture.transfer import Array, Values
from weightslab.errors import InputError

__all__ = [
    "annotation_numbers",
    "find_owner_axis",
    "fold_mean",
    "group",
    "mean_over_rest",
    "share",
]


def group(elements: torch.Tensor, owners: int, axis: int) -> torch.Tensor:
    """Elements [R, ...] as [B, k]: k elements of each owner.

    `axis` says where the owners stood before rows were flattened: 0 for [B, T],
    1 for [T, B]. R must be a multiple of B.
    """
    if axis == 0:
        return elements.reshape(owners, -1)
    if elements.ndim == 0:
        return elements.reshape(1, 1)
    steps = elements.shape[0] // owners
    return elements.reshape(steps, owners, -1).transpose(0, 1).reshape(owners, -1)


def fold_mean(elements: torch.Tensor) -> torch.Tensor:
    """Fold [B, ...] to [B] by the mean; 16-bit floats and integers are widened first."""
    if elements.ndim <= 1:
        return elements
    if not elements.is_floating_point() or elements.element_size() < 4:
        elements = elements.double() if elements.dtype is torch.int64 else elements.float()
    return elements.flatten(1).mean(1)


def share(
    sums: Values, weights: Values | None, denominator: float | None
) -> tuple[Values, Array | None]:
    """Give each owner its share of the caller's reduced loss.

    `sums` [B] are the sums of the owners' elements, `weights` [B] what each adds to
    the caller's denominator (None: all the same), `denominator` that of the caller
    (None: the caller sums). Returns the shares [B'] and which owners have one
    (None: all): an owner of weight 0, whose every label is ignored, has no loss.
    The mean of the shares is the caller's mean, or their sum the caller's sum.
    """
    kept: Array | None = None
    if weights is not None:
        kept = weights != 0
        if kept.all():
            kept = None
        else:
            sums = sums[kept]
    if denominator is not None:
        sums = sums * sums.dtype.type(len(sums) / denominator) if len(sums) else sums
    return sums, kept


def find_owner_axis(rows: int, owners: int, shapes: Iterable[Sequence[int]]) -> int | None:
    """Where B owners stand among R rows: 0 for [B, T] flattened, 1 for [T, B], None if unknown.

    `shapes` are those that the arguments of the loss have, or had before they
    were flattened.
    """
    if rows == owners:
        return 0
    for shape in shapes:
        for depth in range(2, len(shape) + 1):
            if math.prod(shape[:depth]) == rows:
                if shape[0] == owners:
                    return 0
                if depth == 2 and shape[1] == owners:
                    return 1
    return None


def mean_over_rest(values: Values) -> Values:
    """Fold [B, ...] to [B] by the mean, in numpy; [B] stays as it is."""
    if values.ndim <= 1:
        return values
    if values.size == 0 and len(values):
        raise InputError(f"values of shape {values.shape} hold nothing to fold to one a sample")
    if not len(values):
        return values.reshape(0)
    folded: Values = values.reshape(len(values), -1).mean(axis=1)
    return folded


def annotation_numbers(batch_idx: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Number instances within their sample: int32 [N], 1-based, in order of appearance.

    `batch_idx` [N] is the batch position that each instance belongs to, in any order.
    """
    count = len(batch_idx)
    order = np.argsort(batch_idx, kind="stable")
    ranked = batch_idx[order]
    position = np.arange(count)
    starts = np.empty(count, dtype=bool)
    starts[:1] = True
    np.not_equal(ranked[1:], ranked[:-1], out=starts[1:])
    first = np.maximum.accumulate(np.where(starts, position, 0))
    numbers = np.empty(count, dtype=np.int32)
    numbers[order] = position - first + 1
    return numbers
