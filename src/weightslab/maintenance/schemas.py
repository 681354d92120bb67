"""Which columns a Parquet file of the ledger has, by what it holds."""

from __future__ import annotations

import pyarrow as pa

from weightslab.ledger.history.segments import Chunk

__all__ = ["complaint"]

_ROWS = pa.list_(pa.int32())
_ARRAYS = {
    "row": pa.int32(),
    "annotation_id": pa.int32(),
    "field": pa.string(),
    "dtype": pa.string(),
    "shape": _ROWS,
    "size_bytes": pa.int32(),
    "lsn": pa.int64(),
    "data": pa.binary(),
}
_FIXED: dict[str, dict[str, pa.DataType]] = {
    "arrays": _ARRAYS,
    "packs": _ARRAYS,
    "ids": {
        "row": pa.int32(),
        "sample_id": pa.string(),
        "origin": pa.string(),
        "index": pa.int64(),
        "named": pa.bool_(),
        "origin_set": pa.int32(),
    },
    "journal": {
        "entry": pa.int64(),
        "time": pa.timestamp("us", tz="UTC"),
        "step": pa.int64(),
        "launch": pa.int32(),
        "actor": pa.string(),
        "verb": pa.string(),
        "name": pa.string(),
        "value": pa.string(),
        "count": pa.int32(),
        "samples": _ROWS,
        "previous": _ROWS,
    },
    "tags": {"row": pa.int32(), "sample_id": pa.string(), "discarded": pa.bool_()},
    "signals": {"row": pa.int32(), "sample_id": pa.string(), "annotation_id": pa.int32()},
}
_OPTIONAL: dict[str, dict[str, pa.DataType]] = {"ids": {"place": pa.string()}}
"""Columns that are there where there is something to say in them."""

_NAMED: dict[str, tuple[str, tuple[pa.DataType, ...]]] = {
    "tags": ("tag:", (pa.bool_(), pa.string())),
    "signals": ("signals//", (pa.float64(),)),
}
"""Columns that are there once for each tag or signal: their prefix and types."""

_HISTORY = ("sample", "instance", "global")


def complaint(content: str, schema: pa.Schema) -> str | None:
    """What is wrong with the columns of a file that holds `content`; None when nothing is."""
    if content in _HISTORY:
        columns = Chunk.empty(content).columns
        expected = {name: pa.from_numpy_dtype(c.dtype) for name, c in columns.items()}
        nullable = [name for name in schema.names if schema.field(name).nullable]
        if nullable:
            return f"column {nullable[0]!r} may hold nulls"
    elif content in _FIXED:
        expected = _FIXED[content]
    else:
        return None
    prefix, types = _NAMED.get(content, ("", ()))
    names = schema.names
    optional = _OPTIONAL.get(content, {})
    expected = {**expected, **{name: optional[name] for name in names if name in optional}}
    if len(set(names)) < len(names):
        return "two columns have one name"
    for name, kind in expected.items():
        if name not in names:
            return f"column {name!r} is missing"
        if not _same(schema.field(name).type, kind):
            return f"column {name!r} is {schema.field(name).type}, expected {kind}"
    for name in names:
        if name in expected:
            continue
        if not prefix or not name.startswith(prefix):
            return f"column {name!r} is none of the ledger's"
        if schema.field(name).type not in types:
            return f"column {name!r} is {schema.field(name).type}, expected {types[0]}"
    return None


def _same(found: pa.DataType, expected: pa.DataType) -> bool:
    # The name of a list's items differs between versions of pyarrow.
    if pa.types.is_list(found) and pa.types.is_list(expected):
        return bool(found.value_type == expected.value_type)
    return bool(found == expected)
