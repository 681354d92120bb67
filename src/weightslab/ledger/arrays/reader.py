"""Arrays of one writer, wherever they are: in memory, in files of small ones, in packs.

A damaged file is reported and left out. FileNotFoundError means that this is another
process's state, whose files were merged meanwhile: look at that process anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.ledger.arrays.arrays import ArrayColumn, Keys, plain, union
from weightslab.ledger.arrays.file import ArrayFile, Cursor
from weightslab.ledger.arrays.table import Instances
from weightslab.ledger.store import Store

__all__ = ["held_keys", "read_arrays", "small_arrays"]

Arrays = dict[int, npt.NDArray[Any]]
"""By key: row << 32 | annotation."""


def small_arrays(store: Store, name: str) -> tuple[ArrayColumn, Instances]:
    """Every small array of a field, as kept: those of samples, and those of instances."""
    whole = ArrayColumn()
    found: Instances = {}
    with ExitStack() as reading:
        with store.lock:
            column = store.arrays.samples.get(name, ArrayColumn()).copy()
            instances = dict(store.arrays.instances.get(name, {}))
            paths = store.arrays.files()
            # Before the lock goes: what is merged meanwhile stays for us.
            reading.enter_context(store.pins.pinned(paths))
        for file in _opened(store, paths):
            with _damage_said(store, file.path):
                for record in file.records(name):
                    if record.annotations is None:
                        whole.put(record.rows, record.values)
                    else:
                        found.update(zip(record.keys.tolist(), record.values, strict=True))
    if not paths:
        return column, instances
    for rows, values in column.parts():
        whole.put(rows, values)
    return whole, found | instances


def held_keys(store: Store, name: str, rows: npt.NDArray[np.int64] | None = None) -> Keys:
    """Keys that have an array, sorted; `rows` (sorted, each once) restricts to those. int64 [n]."""
    with ExitStack() as reading:
        with store.lock:
            own = store.arrays.samples.get(name, ArrayColumn()).rows_known(rows)
            of_instances = _keys(store.arrays.instances.get(name, {}))
            waiting, packs = store.large.look(name)
            paths = store.arrays.files()
            reading.enter_context(store.pins.pinned(paths))
        parts = [f.fields[name].keys for f in _opened(store, paths) if name in f.fields]
    parts += [own << 32, np.sort(of_instances), np.sort(_keys(waiting))]
    parts += [keys for _, keys in packs]
    if rows is not None:
        parts = [_of_rows(part, rows) for part in parts]
    parts = [part for part in parts if len(part)]
    return union(parts) if parts else np.zeros(0, np.int64)


def _keys(arrays: Arrays) -> Keys:
    return np.fromiter(arrays, np.int64, len(arrays))


def _of_rows(keys: Keys, rows: npt.NDArray[np.int64]) -> Keys:
    """Those of the sorted `keys` that belong to `rows`."""
    low, high = np.searchsorted(keys, rows << 32), np.searchsorted(keys, (rows + 1) << 32)
    return np.concatenate([keys[:0], *(keys[a:b] for a, b in zip(low, high, strict=True) if a < b)])


def read_arrays(store: Store, name: str, keys: Keys) -> Arrays:
    """The arrays of `keys` (sorted, each once) of a field, as copies; those that there are."""
    with ExitStack() as reading:
        with store.lock:
            waiting, packs = store.large.look(name)
            small = _in_memory(store, name, keys)
            paths = store.arrays.files()
            reading.enter_context(store.pins.pinned([*paths, *(file.path for file, _ in packs)]))
        # Large ones first: where a small one came later, they were let go.
        found = {key: plain(waiting[key]) for key in keys.tolist() if key in waiting}
        for file, alive in packs:
            with _damage_said(store, file.path):
                _take(file, name, np.intersect1d(keys, alive, assume_unique=True), found)
        found = {**small, **found}
        # The newest file first, and of each only what no later one has.
        for file in reversed(_opened(store, paths)):
            with _damage_said(store, file.path):
                _take(file, name, keys, found)
    return found


def _in_memory(store: Store, name: str, keys: Keys) -> Arrays:
    column = store.arrays.samples.get(name)
    instances = store.arrays.instances.get(name, {})
    found: Arrays = {}
    for key in keys.tolist():
        if key & 0xFFFFFFFF:
            value = instances.get(key)
        else:
            value = None if column is None else column.get(key >> 32)
        if value is not None:
            found[key] = plain(value)
    return found


def _take(file: ArrayFile, name: str, keys: Keys, found: Arrays) -> None:
    """Add what a file has of `keys` and `found` lacks."""
    index = file.fields.get(name)
    if index is None:
        return
    places = zip(keys.tolist(), index.find(keys).tolist(), strict=True)
    wanted = {place: key for key, place in places if place >= 0 and key not in found}
    at = np.fromiter(wanted, np.int64, len(wanted)) + index.start
    with Cursor(file) as cursor:
        for block, inside in cursor.blocks(at):
            for place in inside.tolist():
                # A copy at once: the block has its whole row group in memory.
                key = wanted[place + cursor.first - index.start]
                found[key] = plain(block.array(place))


def _opened(store: Store, paths: Iterable[Path]) -> list[ArrayFile]:
    found = []
    for path in paths:
        with _damage_said(store, path):
            found.append(store.arrays.opened(path))
    return found


@contextmanager
def _damage_said(store: Store, path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        store.history.missed(path, error)
