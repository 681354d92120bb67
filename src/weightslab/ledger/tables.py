"""Sample ids, sample columns and small arrays as Parquet, written and read back.

An ids file holds new rows and rows whose name or origins changed: of a row that
stands in several files, the last one counts. The base files of tags and signals
are whole snapshots; what happened since stands in the journal and the history.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from weightslab.ledger.arrays import ArrayRecord
from weightslab.ledger.ids import IdStore
from weightslab.ledger.samples import CategoryColumn, Latest
from weightslab.ledger.segments import read_footer, write_parquet
from weightslab.ledger.store import Store

__all__ = [
    "load_arrays",
    "load_ids",
    "load_signals",
    "load_tags",
    "write_arrays",
    "write_ids",
    "write_signals",
    "write_tags",
]

def _plain(values: npt.NDArray[Any], kind: pa.DataType, known: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """A numpy column as Arrow, null where not `known`, without importing pandas."""
    data = np.ascontiguousarray(values)
    mask = None
    if known is not None:
        mask = pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.Array.from_buffers(kind, len(data), [mask, pa.py_buffer(data)])


def _bools(values: npt.NDArray[np.bool_]) -> pa.Array:
    bits = np.packbits(values, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])


def _numpy(table: pa.Table, name: str, dtype: Any) -> npt.NDArray[Any]:
    column = table.column(name).combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else column.type
    size = np.dtype(dtype).itemsize
    if not len(column):
        return np.zeros(0, dtype)
    return np.frombuffer(column.buffers()[1], dtype, len(column), column.offset * size)


def _read(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:
        return file.read(use_threads=False)


# -- ids ------------------------------------------------------------------


def id_strings(ids: IdStore, rows: npt.NDArray[np.int64]) -> pa.Array:
    """The ids of sorted `rows` as an Arrow string column; blocks are formatted at once."""
    pieces: list[pa.Array] = []
    named = ids.named_rows()
    for block in ids.blocks():
        low, high = np.searchsorted(rows, (block.start, block.start + block.count))
        if low == high:
            continue
        wanted = rows[low:high]
        own = [named.get(row) for row in wanted.tolist()] if named else None
        if block.origin is None or (own is not None and None not in own):
            pieces.append(pa.array(own, pa.string()))
            continue
        index = _plain(block.index_array()[wanted - block.start], pa.int64())
        column = pc.binary_join_element_wise(block.origin, index.cast(pa.string()), "/")
        if own is not None and any(name is not None for name in own):
            column = pc.coalesce(pa.array(own, pa.string()), column)
        pieces.append(column)
    return pa.concat_arrays(pieces) if pieces else pa.array([], pa.string())


def write_ids(
    ids: IdStore, start: int, total: int, changed: set[int], lsn: int, stream: BinaryIO
) -> None:
    """Write the rows `start..total`, and `changed` earlier ones.

    Other threads may go on naming: what they change after `lsn` is in the log
    again, and taking it twice changes nothing.
    """
    earlier = np.array(sorted(r for r in changed if r < start), np.int64)
    rows = np.concatenate([earlier, np.arange(start, total, dtype=np.int64)])
    blocks = [b for b in ids.blocks() if start <= b.start < total]
    codes, sets = ids.origin_codes()
    index = np.zeros(len(rows), np.int64)
    placed = np.zeros(len(rows), bool)
    for block in ids.blocks():
        low, high = np.searchsorted(rows, (block.start, block.start + block.count))
        if block.origin is not None and low < high:
            index[low:high] = block.index_array()[rows[low:high] - block.start]
            placed[low:high] = True
    named = ids.named_rows()
    own = np.zeros(len(rows), bool)
    if named:
        own = np.isin(rows, np.fromiter(named, np.int64, len(named)))
    first = [names[0] if names else None for names in sets]
    row_codes = codes[rows]
    columns = {
        "row": _plain(rows.astype(np.int32), pa.int32()),
        "sample_id": id_strings(ids, rows),
        "origin": pa.DictionaryArray.from_arrays(
            _plain(row_codes, pa.int32()), pa.array(first, pa.string())
        ).cast(pa.string()),
        "index": _plain(index, pa.int64(), placed),
        "named": _bools(own),
        "origin_set": _plain(row_codes, pa.int32()),
    }
    footer = {
        "lsn": lsn,
        "origin_sets": sets,
        "blocks": [
            {
                "start": b.start,
                "count": b.count,
                "origin": b.origin,
                "first": b.first,
                "dense": b.indices is None,
            }
            for b in blocks
        ],
    }
    write_parquet(pa.table(columns), footer, stream)


def load_ids(ids: IdStore, path: Path) -> int:
    """Take an ids file into an empty or earlier store; gives its log number."""
    footer = read_footer(path)
    table = _read(path)
    rows = _numpy(table, "row", np.int32).astype(np.int64)
    index = _numpy(table, "index", np.int64)
    named = np.array(table.column("named").to_pylist(), bool) if len(rows) else np.zeros(0, bool)
    own = np.flatnonzero(named)
    names = dict(
        zip(rows[own].tolist(), table.column("sample_id").take(pa.array(own)).to_pylist(), strict=True)
    )
    for entry in footer["blocks"]:
        start, count = entry["start"], entry["count"]
        if start != len(ids):
            continue
        if entry["origin"] is None:
            ids.replay(
                {"op": "names", "start": start, "names": [names[start + k] for k in range(count)]}, b""
            )
            continue
        at = int(np.searchsorted(rows, start))
        blob = b"" if entry["dense"] else index[at : at + count].tobytes()
        ids.replay({**entry, "op": "block"}, blob)
    former = ids.named_rows()
    dropped = [row for row in rows[~named].tolist() if row in former] if former else []
    ids.replay({"op": "unname", "rows": dropped}, b"")
    fresh = {row: name for row, name in names.items() if former.get(row) != name}
    ids.replay({"op": "rename", "rows": list(fresh), "names": list(fresh.values())}, b"")
    codes = _numpy(table, "origin_set", np.int32)
    for code in np.unique(codes).tolist():
        members = rows[codes == code].astype(np.int32)
        for origin in footer["origin_sets"][code]:
            ids.replay({"op": "origin", "origin": origin}, members.tobytes())
    ids.changed.clear()
    lsn: int = footer["lsn"]
    return lsn


# -- tags and signals ----------------------------------------------------------


def write_tags(store: Store, lsn: int, stream: BinaryIO) -> None:
    """Write origin, discarded and every tag of every row."""
    n = len(store.ids)
    rows = np.arange(n, dtype=np.int64)
    columns: dict[str, pa.Array] = {
        "row": _plain(rows.astype(np.int32), pa.int32()),
        "sample_id": id_strings(store.ids, rows),
        "discarded": _bools(store.samples.bools(store.samples.discarded, n)),
    }
    for tag, column in store.samples.tags.items():
        columns[f"tag:{tag}"] = _bools(store.samples.bools(column, n))
    for tag, category in store.samples.categories.items():
        codes = _codes(category, n)
        columns[f"tag:{tag}"] = pa.DictionaryArray.from_arrays(
            _plain(codes.astype(np.int32), pa.int32(), codes >= 0),
            pa.array(category.categories, pa.string()),
        ).cast(pa.string())
    footer = {
        "lsn": lsn,
        "tags": list(store.samples.tags),
        "categories": {t: c.categories for t, c in store.samples.categories.items()},
        "experiment_hash": store.experiment_hash,
        "launch": store.launch,
    }
    write_parquet(pa.table(columns), footer, stream)


def _codes(column: CategoryColumn, rows: int) -> npt.NDArray[np.int16]:
    codes = np.full(rows, -1, np.int16)
    held = min(rows, len(column.codes))
    codes[:held] = column.codes[:held]
    return codes


def load_tags(store: Store, path: Path) -> int:
    """Take a tags file into the store; gives its log number."""
    footer = read_footer(path)
    table = _read(path)
    rows = _numpy(table, "row", np.int32)

    def members(name: str) -> npt.NDArray[np.int32]:
        chosen: npt.NDArray[np.int32] = rows[np.array(table.column(name).to_pylist(), bool)]
        return chosen

    if len(rows):
        store.samples.set_discarded(members("discarded"), True)
        for tag in footer["tags"]:
            store.samples.set_tag(tag, members(f"tag:{tag}"), True)
    for tag, names in footer["categories"].items():
        column = store.samples.categories[tag] = CategoryColumn(list(names))
        by_name = {name: code for code, name in enumerate(names)}
        values = table.column(f"tag:{tag}").to_pylist()
        column.codes = np.array([-1 if v is None else by_name[v] for v in values], np.int16)
    store.take_hash(footer["experiment_hash"])
    store.launch = footer["launch"]
    lsn: int = footer["lsn"]
    return lsn


def write_signals(store: Store, lsn: int, stream: BinaryIO) -> None:
    """Write the latest value of every signal: a row per sample, then a row per instance."""
    n = len(store.ids)
    instances = store.samples.instances.columns()
    keys = np.unique(np.concatenate([np.zeros(0, np.int64), *(k for k, _ in instances.values())]))
    rows = np.concatenate([np.arange(n, dtype=np.int64), keys >> 32])
    annotations = np.concatenate([np.zeros(n, np.int32), (keys & 0xFFFFFFFF).astype(np.int32)])
    sample_ids = id_strings(store.ids, np.arange(n, dtype=np.int64))
    columns: dict[str, pa.Array] = {
        "row": _plain(rows.astype(np.int32), pa.int32()),
        "sample_id": pa.concat_arrays([sample_ids, sample_ids.take(pa.array((keys >> 32).tolist(), pa.int64()))]),
        "annotation_id": _plain(annotations, pa.int32()),
    }
    for signal in dict.fromkeys([*store.samples.latest, *instances]):
        values, known = store.samples.latest.get(signal, Latest()).column(n)
        low = np.zeros(len(keys))
        has = np.zeros(len(keys), bool)
        if signal in instances:
            held, latest = instances[signal]
            at = np.searchsorted(keys, held)
            low[at] = latest
            has[at] = True
        columns[f"signals//{signal}"] = _plain(
            np.concatenate([values, low]), pa.float64(), np.concatenate([known, has])
        )
    write_parquet(pa.table(columns), {"lsn": lsn, "samples": n}, stream)


def load_signals(store: Store, path: Path) -> int:
    """Take a signals file into the store; gives its log number."""
    footer = read_footer(path)
    table = _read(path)
    rows = _numpy(table, "row", np.int32)
    annotations = _numpy(table, "annotation_id", np.int32)
    whole = annotations == 0
    for name in table.column_names:
        if not name.startswith("signals//"):
            continue
        column = table.column(name).combine_chunks()
        known = np.array(column.is_valid().to_pylist(), bool)
        values = _numpy(table, name, np.float64)
        signal = name.removeprefix("signals//")
        held = known & whole
        if held.any():
            store.samples.put(signal, rows[held], values[held])
        held = known & ~whole
        if held.any():
            store.samples.instances.put(signal, rows[held], annotations[held], values[held])
    lsn: int = footer["lsn"]
    return lsn


# -- arrays ----------------------------------------------------------------------


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
        "row": pa.array([row for _, row, _ in keys], pa.int32()),
        "annotation_id": pa.array([annotation for _, _, annotation in keys], pa.int32()),
        "field": pa.array([field for field, _, _ in keys], pa.string()),
        "dtype": pa.array([value.dtype.str for value in values], pa.string()),
        "shape": pa.array([list(value.shape) for value in values], pa.list_(pa.int32())),
        "data": pa.array([value.tobytes() for value in values], pa.binary()),
    }
    write_parquet(pa.table(columns), {"lsn": lsn}, stream)


def load_arrays(path: Path) -> tuple[int, list[ArrayRecord]]:
    """Records of an arrays file, and its log number."""
    lsn: int = read_footer(path)["lsn"]
    groups: dict[tuple[str, str, tuple[int, ...], bool], list[tuple[int, int, bytes]]] = {}
    for entry in _read(path).to_pylist():
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


