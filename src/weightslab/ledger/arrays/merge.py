"""Several files of arrays as one: of each (field, row, annotation) the newest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from weightslab.ledger.arrays.block import Block
from weightslab.ledger.arrays.file import ArrayFile, ArraysWriter, Cursor, newest, runs

__all__ = ["merge_arrays"]

Alive = Mapping[str, npt.NDArray[np.bool_]]
"""Field -> which of a file's entries are to be kept."""


def merge_arrays(
    files: Sequence[ArrayFile | Path],
    stream: BinaryIO,
    *,
    alive: Sequence[Alive] | None = None,
    tier: int = 0,
) -> int:
    """Write what `files` (oldest first) hold together as one file; gives its number of arrays.

    Of an entry's copies the one that was saved last is kept, of equally old ones that of the
    last file. Memory: the keys of all, and one row group of each file. The result stands for
    the highest log number of the files.

    Args:
        alive: per file, which of its entries are considered at all; None: all.
        tier: how often what it holds was merged.

    Raises:
        OSError: a file that is gone or damaged.
    """
    opened = [file if isinstance(file, ArrayFile) else ArrayFile(file) for file in files]
    with ExitStack() as stack, ArraysWriter(stream) as writer:
        cursors = [stack.enter_context(Cursor(file)) for file in opened]
        for field in sorted({field for file in opened for field in file.fields}):
            keys, lsns, sizes, places, sources = [], [], [], [], []
            for number, file in enumerate(opened):
                index = file.fields.get(field)
                if index is None:
                    continue
                kept = (
                    np.arange(len(index.keys))
                    if alive is None
                    else np.flatnonzero(alive[number][field])
                )
                keys.append(index.keys[kept])
                lsns.append(index.lsns[kept])
                sizes.append(index.sizes[kept])
                places.append(index.start + kept)
                sources.append(np.full(len(kept), number, np.int32))
            all_keys, all_lsns = np.concatenate(keys), np.concatenate(lsns)
            source, place = np.concatenate(sources), np.concatenate(places)
            chosen = newest(all_keys, all_lsns)
            for run in runs(np.concatenate(sizes)[chosen]):
                some = chosen[run]
                block = _gather(cursors, source[some], place[some])
                writer.write(field, all_keys[some], all_lsns[some], block)
        writer.finish(max(file.lsn for file in opened), tier=tier)
        return writer.written


def _gather(
    cursors: Sequence[Cursor], source: npt.NDArray[np.int32], place: npt.NDArray[np.int64]
) -> Block:
    """The entries at `place` of the files `source`; of each file in rising order."""
    found: list[tuple[npt.NDArray[np.int64], Block, npt.NDArray[np.int64]]] = []
    for number in np.unique(source).tolist():
        at = np.flatnonzero(source == number)
        done = 0
        for block, inside in cursors[number].blocks(place[at]):
            found.append((at[done : done + len(inside)], block, inside))
            done += len(inside)
    if len({kind for _, block, _ in found for kind in block.kinds}) == 1:
        (dtype, shape) = found[0][1].kinds[0]
        whole = np.empty((len(source), *shape), dtype)
        for at, block, inside in found:
            values = block.values()
            if values is not None:
                whole[at] = values[inside]
        return Block.of_values(whole)
    arrays = {
        target: block.array(origin)
        for at, block, inside in found
        for target, origin in zip(at.tolist(), inside.tolist(), strict=True)
    }
    return Block.of_arrays([arrays[target] for target in range(len(source))])
