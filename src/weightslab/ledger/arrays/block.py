"""Arrays of any dtype and shape side by side, as they lie in one row group of a file.

Mostly all are of one kind (dtype and shape), and then nothing here goes array by array.

Shapes: n arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from weightslab.ledger.columns import arrow, arrow_lists, arrow_strings

__all__ = ["Block"]

ArrayKind = tuple[str, tuple[int, ...]]
"""numpy's name of a dtype, byte order included, and a shape."""

_SHAPE = pa.list_(pa.field("element", pa.int32(), nullable=False))


@dataclass(frozen=True, slots=True)
class Block:
    """n arrays."""

    kinds: tuple[ArrayKind, ...]
    codes: npt.NDArray[np.int32]
    """[n] the kind of each."""
    offsets: npt.NDArray[np.int64]
    """[n + 1] where the bytes of each begin."""
    data: memoryview

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Bytes of each; int64 [n]."""
        return np.diff(self.offsets)

    @classmethod
    def of_values(cls, values: npt.NDArray[Any]) -> Block:
        """Arrays of one kind: values [n, *item]."""
        values = np.ascontiguousarray(values)
        n = len(values)
        width = values.nbytes // max(1, n)
        kind = (values.dtype.str, values.shape[1:])
        data = memoryview(values.tobytes())
        return cls((kind,), np.zeros(n, np.int32), np.arange(n + 1) * width, data)

    @classmethod
    def of_arrays(cls, arrays: Sequence[npt.NDArray[Any]]) -> Block:
        """Arrays of any kinds."""
        places: dict[ArrayKind, int] = {}
        codes = [places.setdefault((a.dtype.str, a.shape), len(places)) for a in arrays]
        offsets = np.zeros(len(arrays) + 1, np.int64)
        np.cumsum([array.nbytes for array in arrays], out=offsets[1:])
        data = memoryview(b"".join([array.tobytes() for array in arrays]))
        return cls(tuple(places), np.array(codes, np.int32), offsets, data)

    def array(self, at: int) -> npt.NDArray[Any]:
        """One array, over the block's bytes."""
        dtype, shape = self.kinds[self.codes[at]]
        return np.ndarray(shape, np.dtype(dtype), self.data, int(self.offsets[at]))

    def values(self) -> npt.NDArray[Any] | None:
        """All arrays as one [n, *item], over the block's bytes; None where kinds differ."""
        if len(self.kinds) != 1:
            return None
        dtype, shape = self.kinds[0]
        return np.ndarray((len(self), *shape), np.dtype(dtype), self.data, int(self.offsets[0]))

    def by_kind(self) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]:
        """Places [k] and arrays [k, *item] of each kind."""
        whole = self.values()
        if whole is not None:
            yield np.arange(len(self)), whole
            return
        for code, (dtype, shape) in enumerate(self.kinds):
            places = np.flatnonzero(self.codes == code)
            stacked = np.empty((len(places), *shape), dtype)
            for at, place in enumerate(places.tolist()):
                stacked[at] = self.array(place)
            yield places, stacked

    def columns(self) -> list[pa.Array]:
        """The columns dtype, shape, size_bytes and data."""
        codes = arrow(self.codes, pa.int32())
        shapes = arrow_lists([np.array(shape, np.int32) for _, shape in self.kinds]).cast(_SHAPE)
        offsets = pa.py_buffer((self.offsets - self.offsets[0]).astype(np.int32))
        data = pa.py_buffer(self.data[int(self.offsets[0]) :])
        return [
            arrow_strings([dtype for dtype, _ in self.kinds]).take(codes),
            shapes.take(codes),
            arrow(self.sizes.astype(np.int32), pa.int32()),
            pa.Array.from_buffers(pa.binary(), len(self), [None, offsets, data]),
        ]

    @classmethod
    def of_table(cls, table: pa.Table) -> Block:
        """The block behind the columns of a row group."""
        dtypes, shapes, data = (_whole(table, name) for name in ("dtype", "shape", "data"))
        encoded = dtypes.dictionary_encode()
        names = encoded.dictionary.to_pylist()
        codes = np.frombuffer(encoded.indices.buffers()[1], np.int32, len(table))
        kinds: dict[ArrayKind, int] = {}
        common = _common_shape(shapes)
        if common is not None and len(names) == 1:
            kinds[names[0], common] = 0
        else:
            found = zip(codes.tolist(), shapes.to_pylist(), strict=True)
            codes = np.array(
                [kinds.setdefault((names[c], tuple(s)), len(kinds)) for c, s in found], np.int32
            )
        _, offsets, values = data.buffers()
        ends = np.frombuffer(offsets, np.int32, len(data) + 1, 4 * data.offset).astype(np.int64)
        # Where no array has an element there is no buffer.
        return cls(tuple(kinds), codes, ends, memoryview(values or b""))


def _whole(table: pa.Table, name: str) -> pa.Array:
    chunked = table.column(name)
    return chunked.chunk(0) if chunked.num_chunks == 1 else pa.concat_arrays(chunked.chunks)


def _common_shape(shapes: pa.Array) -> tuple[int, ...] | None:
    """The shape that all have; None where they differ."""
    ends = np.frombuffer(shapes.offsets.buffers()[1], np.int32, len(shapes) + 1, 4 * shapes.offset)
    sizes = np.diff(ends)
    first = shapes[0].as_py()
    if (sizes != len(first)).any():
        return None
    if first:
        flat = np.frombuffer(shapes.values.buffers()[1], np.int32)[ends[0] : ends[-1]]
        if (flat.reshape(-1, len(first)) != np.array(first, np.int32)).any():
            return None
    return tuple(first)
