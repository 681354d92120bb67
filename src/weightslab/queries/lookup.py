"""From whatever a user calls an id to rows.

One canonical form: `1`, `"1"`, `np.int64(1)` and `tensor(1)` are the sample "1".
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np

from weightslab.errors import InputError
from weightslab.ledger.ids.ids import IdStore
from weightslab.types import SampleIds, check_text

__all__ = ["find_rows", "id_texts"]


def id_texts(ids: Any) -> list[str]:
    """Ids of any container (or a single one) as strings.

    Raises:
        InputError: something that is neither a string nor a whole number.
    """
    if isinstance(ids, SampleIds):
        return list(ids)
    if isinstance(ids, str):
        return [_id_text(ids)]
    if hasattr(ids, "detach"):
        ids = ids.detach().cpu().numpy()
    if isinstance(ids, np.ndarray):
        ids = ids.reshape(-1).tolist() if ids.ndim else [ids.item()]
    elif isinstance(ids, (bytes, dict)) or not isinstance(ids, Iterable):
        ids = [ids]
    values = list(ids)
    kinds = set(map(type, values))
    if kinds == {int}:
        return list(map(str, values))
    if kinds == {str} and "" not in values and "".join(values).isascii():
        return values
    return [_id_text(value) for value in values]


def _id_text(value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    elif isinstance(value, uuid.UUID):
        value = str(value)
    if isinstance(value, str):
        if not value:
            raise InputError("an empty string is no sample id: give every sample a name")
        check_text(value, "the sample id")
        return value
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, str):
        return _id_text(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(
            f"{value!r} ({type(value).__name__}) is no sample id: give strings or whole numbers"
        )
    return str(value)


def _find(ids: IdStore, name: str, origin: str | None) -> int | None:
    """Row that `name` means for somebody who works on a batch of `origin`."""
    if origin is not None:
        row = ids.find_named(f"{origin}/{name}")
        if row is not None:
            return row
    row = ids.find(name)
    if row is None and origin is not None:
        # A bare index of a dataset whose samples have no names of their own.
        row = ids.find(f"{origin}/{name}")
        if row is not None and ids.own_name(row) is not None:
            return None
    return row


def find_rows(ids: IdStore, names: list[str], origin: str | None) -> list[int | None]:
    """Row of each name, None where nobody has it.

    `origin` is the split that a bare id means: that of the batch at hand, else the first.
    """
    found = ids.find_all(names, under=origin)
    if None in found:
        return [
            _find(ids, name, origin) if row is None else row
            for name, row in zip(names, found, strict=True)
        ]
    return found
