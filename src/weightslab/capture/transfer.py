"""From what users hold (tensors, arrays, lists, numbers) to numpy: the one place that copies.

A device tensor is read by a blocking copy; whatever replaces that (a pinned
ring, a side stream) replaces `_host` and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from weightslab.errors import InputError
from weightslab.types import BatchIds

__all__ = ["Array", "Values", "count_items", "to_array", "to_arrays", "to_values"]

Array = npt.NDArray[Any]
Values = npt.NDArray[np.float32] | npt.NDArray[np.float64]
"""What the ledger keeps of a signal: float32, or float64 where 32 bits are not exact."""

_IN_FLOAT32 = frozenset(
    np.dtype(name) for name in ("bool", "int8", "uint8", "int16", "uint16", "float16")
)
_CPU = torch.device("cpu")
_KEPT = frozenset({np.dtype(np.float32), np.dtype(np.float64)})
# numpy has its own kind for these; every other one (bfloat16, the 8-bit floats) is widened.
_NUMPY_KINDS = frozenset(
    {
        torch.float16, torch.float32, torch.float64, torch.bool,
        torch.uint8, torch.uint16, torch.uint32, torch.uint64,
        torch.int8, torch.int16, torch.int32, torch.int64,
        torch.complex64, torch.complex128,
    }
)  # fmt: skip


def _host(tensor: torch.Tensor) -> Array:
    """Read a tensor of any device and dtype; may share memory with it."""
    tensor = tensor.detach()
    if tensor.dtype not in _NUMPY_KINDS:
        tensor = tensor.float()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.device.type != "cpu":
        tensor = tensor.cpu()
    array: Array = (
        tensor.resolve_conj().resolve_neg().numpy() if tensor.is_complex() else (tensor.numpy())
    )
    return array


def to_array(value: Any) -> Array:
    """Read tensors, arrays, numbers and (nested, mixed) lists as they are, keeping the dtype.

    bfloat16 and 8-bit floats become float32. The result may share memory with
    `value`: the ledger copies. Raises `InputError` for ragged lists, text and objects.
    """
    if isinstance(value, torch.Tensor):
        return _host(value)
    if isinstance(value, (list, tuple)) and any(
        isinstance(item, (torch.Tensor, list, tuple)) for item in value
    ):
        value = [to_array(item) for item in value]
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"expected a tensor, an array or numbers of one shape, got {_kind(value)}: {error}"
        ) from error
    if array.dtype.kind not in "biufc":
        raise InputError(f"expected numbers, got {_kind(value)} (numpy dtype {array.dtype})")
    return array


def to_values(value: Any) -> Values:
    """Read a signal's values as float32, or float64 where 32 bits would not be exact.

    Accepts any float, int or bool dtype, on any device, as tensor, array, number
    or list, of any shape; the shape is kept. Raises `InputError` for anything
    else, complex numbers too.
    """
    if type(value) is torch.Tensor and value.dtype is torch.float32 and value.device == _CPU:
        return _host(value) if value.layout is not torch.strided else value.detach().numpy()
    array = to_array(value)
    if array.dtype.kind == "c":
        raise InputError("complex values are no signal: save their real part or their magnitude")
    if array.dtype in _KEPT:
        return array
    if array.dtype in _IN_FLOAT32:
        return array.astype(np.float32)
    return array.astype(np.float64)


def to_arrays(value: Any, count: int, what: str, of: str = "ids") -> Array | Sequence[Array]:
    """Read targets or predictions, one for each of `count`: one array, or a list where ragged.

    Raises `InputError` when they are not `count` or no numbers, naming `what` they are, and
    `of` what there are `count` (ids, instances).
    """
    found = count_items(value, what)
    if found != count:
        raise InputError(
            f"{what} has {found} entries but there are {count} {of}: give one for each; "
            f"nothing of this call was written"
        )
    try:
        if isinstance(value, (list, tuple)):
            parts = [to_array(item) for item in value]
            if len({(part.shape, part.dtype) for part in parts}) == 1:
                return np.stack(parts)
            return parts
        array = to_array(value)
    except InputError as error:
        raise InputError(
            f"{what} takes numbers, a tensor, an array or a list with one entry for each of the "
            f"{count} {of}: {error}; nothing of this call was written"
        ) from error
    return array.reshape(1) if array.ndim == 0 else array


def count_items(value: Any, what: str) -> int:
    """How many samples a container of ids, targets or values speaks of; a single one is 1.

    Raises `InputError` that names `what` for an iterable that does not tell, such as a generator.
    """
    if isinstance(value, BatchIds):
        return len(value)
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return int(value.shape[0]) if value.ndim else 1
    if isinstance(value, (str, bytes)):
        return 1
    if hasattr(value, "__len__"):
        return len(value)
    if hasattr(value, "__iter__") and not hasattr(value, "__array__"):
        raise InputError(
            f"{what} is a {_kind(value)}, which does not say how many it holds: give a list, "
            f"list(...); nothing of this call was written"
        )
    return 1


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
