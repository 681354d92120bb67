"""Small targets and predictions as Parquet: raw bytes with dtype and shape."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from weightslab.ledger.arrays import ArrayRecord
from weightslab.ledger.columns import (
    arrow,
    arrow_binaries,
    arrow_lists,
    arrow_strings,
    read_table,
)
from weightslab.ledger.segments import read_footer, write_parquet

__all__ = ["load_arrays", "write_arrays"]


def write_arrays(records: list[ArrayRecord], lsn: int, stream: BinaryIO) -> None:
    """Write the newest array of every (field, row, annotation) among `records`."""
    newest: dict[tuple[str, int, int], tuple[ArrayRecord, int]] = {}
    for record in records:
        annotations = record.annotations
        for at, row in enumerate(record.rows.tolist()):
            annotation = 0 if annotations is None else int(annotations[at])
            newest[record.field, row, annotation] = (record, at)
    keys = list(newest)
    values = [record.values[at] for record, at in newest.values()]
    columns = {
        "row": arrow(np.array([row for _, row, _ in keys], np.int32), pa.int32()),
        "annotation_id": arrow(np.array([a for _, _, a in keys], np.int32), pa.int32()),
        "field": arrow_strings([field for field, _, _ in keys]),
        "dtype": arrow_strings([value.dtype.str for value in values]),
        "shape": arrow_lists([np.array(value.shape, np.int32) for value in values]),
        "data": arrow_binaries([value.tobytes() for value in values]),
    }
    write_parquet(pa.table(columns), {"lsn": lsn}, stream)


def load_arrays(path: Path) -> tuple[int, list[ArrayRecord]]:
    """Records of an arrays file, and its log number."""
    lsn: int = read_footer(path)["lsn"]
    groups: dict[tuple[str, str, tuple[int, ...], bool], list[tuple[int, int, bytes]]] = {}
    for entry in read_table(path).to_pylist():
        key = (entry["field"], entry["dtype"], tuple(entry["shape"]), entry["annotation_id"] > 0)
        groups.setdefault(key, []).append((entry["row"], entry["annotation_id"], entry["data"]))
    records = []
    for (field, dtype, shape, instances), entries in groups.items():
        flat = np.frombuffer(b"".join(data for _, _, data in entries), np.dtype(dtype))
        records.append(
            ArrayRecord(
                field,
                np.array([row for row, _, _ in entries], np.int32),
                np.array([a for _, a, _ in entries], np.int32) if instances else None,
                flat.reshape((len(entries), *shape)),
            )
        )
    return lsn, records
