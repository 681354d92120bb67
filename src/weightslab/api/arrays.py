"""Targets and predictions as they were saved: numpy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weightslab.errors import UnknownOptionError
from weightslab.export.naming import annotation_numbers
from weightslab.ledger.arrays.arrays import FIELDS
from weightslab.queries.lookup import id_texts
from weightslab.session import current, guard_worker

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["arrays"]


def arrays(
    field: str, *, sample_id: object = None, annotation_id: object = None
) -> dict[tuple[str, int], npt.NDArray[Any]]:
    """The latest targets or predictions of samples and instances, as numpy arrays.

    Up to 4 KiB a sample, dtype, shape and bits are those that were saved; a number for
    each sample is an array without dimensions. Larger ones keep shape, integers, booleans
    and complex numbers; floats come back as float16, or in the narrowest type in which
    none of them becomes infinite. Beyond a rate (16 MB/s) and a size (2 GiB) large ones
    are left out or give way to newer ones, which the status counts: a sample may have none.

    Args:
        field: "targets", "preds" or "preds_raw", as in `save_signals`.
        sample_id: one id or several. None: every sample, which loads all arrays at once.
        annotation_id: one number or several; 0 is the sample itself. None: every one.

    Returns:
        (sample_id, annotation_id) -> array; copies, which are yours. Of several processes
        that saved one, that of the newest value of the sample.

    Raises:
        UnknownOptionError: another field.
        InputError: another argument that cannot be meant.
        WorkerProcessError: called inside a DataLoader worker.

    Example:
        >>> import numpy as np, weightslab as wl
        >>> wl.save_signals({}, ["cat.png"], targets=np.array([[0, 255]], np.uint8), step=3)
        >>> wl.arrays("targets", sample_id="cat.png")
        {('cat.png', 0): array([  0, 255], dtype=uint8)}
    """
    guard_worker("arrays")
    if field not in FIELDS:
        raise UnknownOptionError("field", field, FIELDS)
    ids = None if sample_id is None else id_texts(sample_id)
    annotations = annotation_numbers(annotation_id, "annotation_id")

    from weightslab.queries.latest import latest_arrays

    session = current()
    return latest_arrays(session.settled(), field, ids, annotations, session.home)
