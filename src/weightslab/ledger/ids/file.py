"""Sample ids as Parquet.

A file holds new rows, and rows whose name, place or origins changed: of a row that stands
in several files, the last one counts. A column "place" stands in those that speak of a row
which was made by name and is a dataset's sample: readers that know none take it by its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from weightslab.ledger.columns import arrow, arrow_bools, arrow_strings, column, flags, read_table
from weightslab.ledger.history.segments import read_footer, write_parquet
from weightslab.ledger.ids.blocks import grouped_places
from weightslab.ledger.ids.ids import IdStore

__all__ = ["id_strings", "load_ids", "write_ids"]


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
            pieces.append(arrow_strings(own or []))
            continue
        index = arrow(block.index_array()[wanted - block.start], pa.int64())
        column = pc.binary_join_element_wise(block.origin, index.cast(pa.string()), "/")
        if own is not None and any(name is not None for name in own):
            column = pc.coalesce(arrow_strings(own), column)
        pieces.append(column)
    return pa.concat_arrays(pieces) if pieces else arrow_strings([])


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
        "row": arrow(rows.astype(np.int32), pa.int32()),
        "sample_id": id_strings(ids, rows),
        "origin": pa.DictionaryArray.from_arrays(
            arrow(row_codes, pa.int32()), arrow_strings(first)
        ).cast(pa.string()),
        "index": arrow(index, pa.int64(), placed),
        "named": arrow_bools(own),
        "origin_set": arrow(row_codes, pa.int32()),
    }
    places = ids.single_places()
    if places and not places.keys().isdisjoint(rows.tolist()):
        columns["place"] = arrow_strings([places.get(row) for row in rows.tolist()])
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
    table = read_table(path)
    rows = column(table, "row", np.int32).astype(np.int64)
    index = column(table, "index", np.int64)
    named = flags(table, "named")
    own = np.flatnonzero(named)
    texts = table.column("sample_id").take(arrow(own, pa.int64())).to_pylist()
    names = dict(zip(rows[own].tolist(), texts, strict=True))
    for entry in footer["blocks"]:
        start, count = entry["start"], entry["count"]
        if start < len(ids):
            continue
        if entry["origin"] is None:
            fresh = [names[row] for row in range(start, start + count)]
            ids.replay({"op": "names", "start": start, "names": fresh}, b"")
            continue
        at = int(np.searchsorted(rows, start))
        blob = b"" if entry["dense"] else index[at : at + count].tobytes()
        ids.replay({**entry, "op": "block"}, blob)
    former = ids.named_rows()
    dropped = [row for row in rows[~named].tolist() if row in former] if former else []
    ids.replay({"op": "unname", "rows": dropped}, b"")
    renamed = {row: name for row, name in names.items() if former.get(row) != name}
    ids.replay({"op": "rename", "rows": list(renamed), "names": list(renamed.values())}, b"")
    if "place" in table.column_names:
        _take_places(ids, rows, table.column("place"))
    codes = column(table, "origin_set", np.int32)
    for code in np.unique(codes).tolist():
        members = rows[codes == code].astype(np.int32)
        origins = footer["origin_sets"][code]
        if not origins:
            ids.replay({"op": "leave"}, members.tobytes())
        for origin in origins:
            ids.replay({"op": "origin", "origin": origin}, members.tobytes())
    # What was filled in for rows that no file names goes into the next one.
    changed = np.fromiter(ids.changed, np.int64, len(ids.changed))
    ids.changed.difference_update(changed[np.isin(changed, rows)].tolist())
    lsn: int = footer["lsn"]
    return lsn


def _take_places(ids: IdStore, rows: npt.NDArray[np.int64], names: pa.ChunkedArray) -> None:
    """Give rows the places that a file says, after their names."""
    told = np.flatnonzero(pc.is_valid(names).to_numpy())
    texts = names.take(arrow(told, pa.int64())).to_pylist()
    for origin, (which, indices) in grouped_places(texts, range(len(texts))).items():
        mine = rows[told[list(which)]].tolist()
        ids.replay({"op": "place", "origin": origin, "rows": mine}, indices.tobytes())
