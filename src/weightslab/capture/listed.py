"""Items as their dataset returned them, on their way out of a DataLoader's worker.

A loader's own collate function makes a batch of them, and the single samples are gone. What
stands in its place here keeps the items, and what their batch would have said of ids. Runs
in DataLoader workers. Shapes: B items that were fetched together.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import default_collate, get_worker_info

from weightslab.capture.carry import Fetched, FetchedBatch, Origins, id_field
from weightslab.capture.given import given_ids
from weightslab.capture.tracking import joined

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["ListCollate", "Listed"]

Collate = Callable[[Any], Any]


class Listed:
    """The B items of one fetch, and which samples they are.

    `given` are B ids as the loader's batch would have shown them, `absent` counts items that
    are None, `problem` says in words why there are no items, `aside` what could not be told.
    """

    __slots__ = ("_packed", "absent", "aside", "given", "origins", "problem")

    def __init__(
        self,
        items: list[Any],
        origins: Origins,
        given: list[Any] | None = None,
        *,
        absent: int = 0,
        problem: str | None = None,
        aside: str | None = None,
    ) -> None:
        self._packed: list[Any] | bytes = items
        self.origins = origins
        self.given = given
        self.absent = absent
        self.problem = problem
        self.aside = aside

    @property
    def items(self) -> list[Any]:
        """The B items."""
        if isinstance(self._packed, bytes):
            self._packed = pickle.loads(self._packed)  # noqa: S301  # of our own worker
        assert isinstance(self._packed, list)
        return self._packed

    def pack(self) -> None:
        """Make the items ready to leave the process.

        Tensors travel by value: one piece of shared memory for each, as torch has it, uses
        up the file descriptors of a process within a few batches of single items.
        """
        target = io.BytesIO()
        try:
            _Packer(target, protocol=5).dump(self._packed)
        except Exception as error:  # noqa: BLE001  # in the queue's thread it would hang the loader
            self._packed = []
            self.problem = (
                f"its items cannot leave a worker ({type(error).__name__}: {error}): give "
                f"the dataset itself, or a loader with num_workers=0"
            )
            return
        self._packed = target.getvalue()


class ListCollate:
    """Stands in for a loader's collate function.

    Args:
        collate: that function.
        one_by_one: the loader makes no batches (`batch_size=None`).
        fields: whether ids in the batch may name its samples at all.
    """

    def __init__(self, collate: Collate, *, one_by_one: bool, fields: bool) -> None:
        self.collate = collate
        self.one_by_one = one_by_one
        self.fields = fields

    def __call__(self, fetched: Any) -> Listed:
        """What was fetched together, as a list."""
        listed = self._listed(fetched)
        if get_worker_info() is not None and listed.problem is None:
            listed.pack()
        return listed

    def _listed(self, fetched: Any) -> Listed:
        if type(fetched) is FetchedBatch:
            items, origins = fetched.data, fetched.origins
        elif type(fetched) is Fetched:
            items, origins = [fetched.data], fetched.origins
        else:
            items, origins = [one.data for one in fetched], joined(fetched)
        if origins.problem is not None:
            return Listed([], origins, problem=origins.problem)
        if type(fetched) is not FetchedBatch and len(items) < len(origins):
            problem = f"its items are whole batches ({len(origins)} ids in {len(items)}): give "
            return Listed([], origins, problem=f"{problem}a dataset that yields single samples")
        if not isinstance(items, (list, tuple)) or len(items) != len(origins):
            came = len(items) if isinstance(items, (list, tuple)) else f"a {type(items).__name__}"
            return Listed(
                [], origins, problem=f"it gave {came} for {len(origins)} samples, not one item each"
            )
        kept = [place for place, item in enumerate(items) if item is not None]
        absent = len(items) - len(kept)
        if absent:
            items, origins = [items[place] for place in kept], origins.at(kept)
        given, aside = self._given(items) if self.fields and origins.names is None else (None, None)
        return Listed(list(items), origins, given, absent=absent, aside=aside)

    def _given(self, items: Any) -> tuple[list[Any] | None, str | None]:
        """The ids that a batch of `items` would show, and why they cannot be told."""
        if self.one_by_one:
            # Such a loader's batch is one item, and names it by a field of one entry.
            each = [given_ids(id_field(item)) for item in items]
            return [one[0] for one in each if one and len(one) == 1], None
        if self.collate is default_collate:
            return given_ids([id_field(item) for item in items]), None
        try:
            batch = self.collate([_shallow(item) for item in items])
        except Exception as error:  # noqa: BLE001  # the items are there; only their names are not
            return None, f"{type(error).__name__}: {error}"
        return given_ids(id_field(batch)), None


def _shallow(item: Any) -> Any:
    """A copy that a collate function may take fields out of."""
    return copy.copy(item) if isinstance(item, (list, MutableMapping)) else item


class _Packer(pickle.Pickler):
    """Pickles plain tensors as their own bytes, and not the whole storage that they look at."""

    def reducer_override(self, obj: Any) -> Any:
        """How `obj` is pickled: ours for plain tensors, the usual way for anything else."""
        if (
            type(obj) is not torch.Tensor
            or obj.layout is not torch.strided
            or obj.device.type != "cpu"
            or obj.requires_grad
            or obj.is_quantized
        ):
            return NotImplemented
        plain = obj.resolve_conj().resolve_neg()
        content = plain.contiguous().reshape(-1).view(torch.uint8).numpy()
        return _tensor, (content, obj.dtype, tuple(obj.shape))


def _tensor(
    content: npt.NDArray[np.uint8], dtype: torch.dtype, shape: tuple[int, ...]
) -> torch.Tensor:
    return torch.from_numpy(content).view(dtype).reshape(shape)
