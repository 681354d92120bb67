"""What each call of each writing role saves: a pure function of role and number.

So whoever checks a folder computes what must be in it from two counters. Steps are unique:
call `k` of role `r` saves at step `2 k + r`. Samples of the pool are shared by both roles, new
ones belong to a call. Edits keep to a half of the pool, and arrays to samples that only the role
saves, so that their newest state does not hang on which of two processes was faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tests.crash.board import ROLES

__all__ = [
    "ARRAY_LENGTH",
    "CYCLE",
    "NEW",
    "OWN",
    "OWN_COUNT",
    "POOL",
    "Saved",
    "array_samples",
    "batch",
    "edited",
    "expected_instances",
    "expected_losses",
    "expected_scalars",
    "step_of",
]

POOL = 64
"""Samples "train/0".. that both roles save values of."""
NEW = POOL
"""Stands for the sample that a call added: "new<role>-<k>"."""
OWN = NEW + 1
"""Stands for "own<role>/0", the first of the samples that only one role saves."""
OWN_COUNT = 32
CYCLE = 8
ARRAY_LENGTH = 4

Ints = npt.NDArray[np.int64]
_SIZE = 8
_HALF = POOL // ROLES


def step_of(role: int, k: int | Ints) -> int | Ints:
    """Step of a call."""
    return ROLES * k + role


def batch(k: int, size: int = _SIZE) -> npt.NDArray[np.int32]:
    """Pool samples that call `k` saves losses of (`k % CYCLE` 0 and 6); distinct."""
    return ((k * 7 + np.arange(size)) % POOL).astype(np.int32)


def array_samples(k: int) -> npt.NDArray[np.int32]:
    """Of the role's own samples those whose arrays, then losses call `k` saves (`k % CYCLE` 3)."""
    return ((k // CYCLE * 3 + np.arange(4)) % OWN_COUNT).astype(np.int32)


def edited(role: int, k: int) -> tuple[int, bool]:
    """Sample and new state of the edit in call `k`: each pass over the half turns all around."""
    turn = k // CYCLE
    return (turn * 5 % _HALF) * ROLES + role, turn // _HALF % 2 == 0


@dataclass(frozen=True, slots=True)
class Saved:
    """Rows that calls save, as columns of one length, in no order."""

    call: Ints
    sample: Ints
    """Place in the pool, NEW, or OWN and place among the role's own."""
    annotation: Ints
    """0 for a value of the whole sample."""

    @classmethod
    def of(cls, parts: list[tuple[Ints, Ints, int]]) -> Saved:
        """Calls, their samples [calls, n] and one annotation, several times."""
        call = [np.repeat(calls, samples.shape[1]) for calls, samples, _ in parts]
        return cls(
            np.concatenate(call),
            np.concatenate([samples.ravel() for _, samples, _ in parts]),
            np.concatenate([np.full(len(c), a) for c, (_, _, a) in zip(call, parts, strict=True)]),
        )


def _calls(last: int, *kinds: int) -> Ints:
    every = np.arange(1, last + 1, dtype=np.int64)
    return every[np.isin(every % CYCLE, kinds)]


def expected_losses(last: int) -> Saved:
    """Every row of "loss" in calls 1..`last`; its value is the step."""
    full, added, arrays = _calls(last, 0, 6), _calls(last, 1), _calls(last, 3)
    own = (arrays[:, None] // CYCLE * 3 + np.arange(4)) % OWN_COUNT
    return Saved.of(
        [
            (full, (full[:, None] * 7 + np.arange(_SIZE)) % POOL, 0),
            (added, np.full((len(added), 1), NEW), 0),
            (arrays, OWN + own, 0),
        ]
    )


def expected_instances(last: int) -> Saved:
    """Every row of "iou" in calls 1..`last` (`k % CYCLE` 2): two instances of four samples."""
    calls = _calls(last, 2)
    samples = (calls[:, None] * 7 + np.arange(4)) % POOL
    return Saved.of([(calls, samples, 1), (calls, samples, 2)])


def expected_scalars(last: int) -> Ints:
    """Calls that save a scalar "lr" (`k % CYCLE` 7)."""
    return _calls(last, 7)
