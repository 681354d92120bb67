"""What of a batch are the inputs, the targets and the ids: the heuristic of the default pass.

    tuple or list    [0] inputs, [1] targets, [2] ids
    mapping          the first of each row that is there:
                     inputs    image, input, x, data
                     targets   label, target, y, mask
                     ids       id, sample_id, idx, index

Shapes: B samples in a batch. No tensor is looked into, so no library of tensors is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from weightslab.errors import InputError
from weightslab.types import SampleIds

__all__ = ["IDS", "INPUTS", "TARGETS", "Unpacked", "count_samples", "rows_of", "unpack"]

INPUTS = ("image", "input", "x", "data")
TARGETS = ("label", "target", "y", "mask")
IDS = ("id", "sample_id", "idx", "index")

_PAIR = 2

_WAY_OUT = (
    "say how a batch is evaluated with @wl.eval_fn: `@wl.eval_fn` above `def evaluate(loader): ...`"
)


class Unpacked(NamedTuple):
    """The parts of a batch; `ids` is None where it has none."""

    inputs: Any
    targets: Any
    ids: Any


def unpack(batch: Any) -> Unpacked:
    """The parts of a batch, the very objects that stand in it.

    Raises:
        InputError: no inputs or no targets can be told; it says what there is.
    """
    if isinstance(batch, (tuple, list)):
        if len(batch) < _PAIR:
            raise InputError(
                f"a batch that is a {type(batch).__name__} holds inputs, targets and, if it has "
                f"them, ids; this one has {len(batch)} item{'s' * (len(batch) != 1)}: {_WAY_OUT}"
            )
        return Unpacked(batch[0], batch[1], batch[2] if len(batch) > _PAIR else None)
    if isinstance(batch, Mapping):
        ids = next((batch[key] for key in IDS if key in batch), None)
        return Unpacked(_first(batch, INPUTS, "inputs"), _first(batch, TARGETS, "targets"), ids)
    raise InputError(
        f"a batch is a tuple, a list or a dict of inputs and targets, and this one is a "
        f"{type(batch).__module__}.{type(batch).__qualname__}: {_WAY_OUT}"
    )


def _first(batch: Mapping[Any, Any], keys: Sequence[str], what: str) -> Any:
    for key in keys:
        if key in batch:
            return batch[key]
    there = ", ".join(map(repr, batch)) or "nothing"
    raise InputError(
        f"the {what} of a batch that is a dict stand under {', '.join(keys[:-1])} or {keys[-1]}, "
        f"and this one has {there}: {_WAY_OUT}"
    )


def count_samples(batch: Any) -> int:
    """B of a batch of any kind: by its ids, else its targets, else its inputs; 1 without."""
    if isinstance(batch, (tuple, list)) and len(batch) > _PAIR and type(batch[2]) is SampleIds:
        return len(batch[2])  # ids of ours: nothing else need be asked
    parts: tuple[Any, ...] = (batch,)
    if isinstance(batch, (tuple, list, Mapping)):
        with suppress(InputError):
            parts = tuple(reversed(unpack(batch)))
    for part in parts:
        rows = rows_of(part)
        if rows is not None:
            return rows
    return 1


def rows_of(part: Any) -> int | None:
    """How many samples a part of a batch is about; None where it does not say."""
    shape = getattr(part, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else None
    if isinstance(part, Mapping):
        return rows_of(next(iter(part.values()), None))
    if isinstance(part, tuple):  # several inputs; the samples of a list are its items
        return rows_of(part[0]) if part else None
    return len(part) if hasattr(part, "__len__") and not isinstance(part, (str, bytes)) else None
