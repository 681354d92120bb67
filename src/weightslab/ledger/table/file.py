"""The sample table as Parquet: whole snapshots of tags and of latest values.

What happened since a snapshot stands in the journal and in the history.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from weightslab.ledger.columns import arrow, arrow_bools, arrow_strings, column, flags, read_table
from weightslab.ledger.history.segments import read_footer, write_parquet
from weightslab.ledger.ids.file import id_strings
from weightslab.ledger.store import Store
from weightslab.ledger.table.samples import CategoryColumn, Latest

__all__ = ["load_signals", "load_tags", "write_signals", "write_tags"]


def write_tags(store: Store, lsn: int, stream: BinaryIO) -> None:
    """Write origin, discarded and every tag of every row."""
    with store.lock:
        n = len(store.ids)
        samples = store.samples
        discarded = samples.bools(samples.discarded, n)
        tags = {tag: samples.bools(held, n) for tag, held in samples.tags.items()}
        categories = {
            tag: (category.column(n), list(category.categories))
            for tag, category in samples.categories.items()
        }
        footer = {
            "lsn": lsn,
            "tags": list(tags),
            "categories": {tag: names for tag, (_, names) in categories.items()},
            "experiment_hash": store.experiment_hash,
            "launch": store.launch,
        }
    rows = np.arange(n, dtype=np.int64)
    columns: dict[str, pa.Array] = {
        "row": arrow(rows.astype(np.int32), pa.int32()),
        "sample_id": id_strings(store.ids, rows),
        "discarded": arrow_bools(discarded),
    }
    for tag, held in tags.items():
        columns[f"tag:{tag}"] = arrow_bools(held)
    for tag, (codes, names) in categories.items():
        columns[f"tag:{tag}"] = pa.DictionaryArray.from_arrays(
            arrow(codes.astype(np.int32), pa.int32(), codes >= 0), arrow_strings(names)
        ).cast(pa.string())
    write_parquet(pa.table(columns), footer, stream)


def load_tags(store: Store, path: Path) -> int:
    """Take a tags file into the store; gives its log number."""
    footer = read_footer(path)
    table = read_table(path)
    rows = column(table, "row", np.int32)

    def members(name: str) -> npt.NDArray[np.int32]:
        chosen: npt.NDArray[np.int32] = rows[flags(table, name)]
        return chosen

    if len(rows):
        store.samples.set_discarded(members("discarded"), True)
        for tag in footer["tags"]:
            store.samples.set_tag(tag, members(f"tag:{tag}"), True)
    for tag, names in footer["categories"].items():
        category = store.samples.categories[tag] = CategoryColumn(list(names))
        by_name = {name: code for code, name in enumerate(names)}
        values = table.column(f"tag:{tag}").to_pylist()
        category.codes = np.array([-1 if v is None else by_name[v] for v in values], np.int16)
    store.take_hash(footer["experiment_hash"])
    store.launch = footer["launch"]
    lsn: int = footer["lsn"]
    return lsn


def write_signals(store: Store, lsn: int, stream: BinaryIO) -> None:
    """Write the latest value of every signal: a row per sample, then a row per instance."""
    with store.lock:
        n = len(store.ids)
        instances = store.samples.instances.columns()
        whole = {signal: latest.column(n) for signal, latest in store.samples.latest.items()}
    keys = np.unique(np.concatenate([np.zeros(0, np.int64), *(k for k, _ in instances.values())]))
    rows = np.concatenate([np.arange(n, dtype=np.int64), keys >> 32])
    annotations = np.concatenate([np.zeros(n, np.int32), (keys & 0xFFFFFFFF).astype(np.int32)])
    sample_ids = id_strings(store.ids, np.arange(n, dtype=np.int64))
    columns: dict[str, pa.Array] = {
        "row": arrow(rows.astype(np.int32), pa.int32()),
        "sample_id": pa.concat_arrays([sample_ids, sample_ids.take(arrow(keys >> 32, pa.int64()))]),
        "annotation_id": arrow(annotations, pa.int32()),
    }
    for signal in dict.fromkeys([*whole, *instances]):
        values, known = whole[signal] if signal in whole else Latest().column(n)
        low = np.zeros(len(keys))
        has = np.zeros(len(keys), bool)
        if signal in instances:
            held, latest = instances[signal]
            at = np.searchsorted(keys, held)
            low[at] = latest
            has[at] = True
        columns[f"signals//{signal}"] = arrow(
            np.concatenate([values, low]), pa.float64(), np.concatenate([known, has])
        )
    write_parquet(pa.table(columns), {"lsn": lsn, "samples": n}, stream)


def load_signals(store: Store, path: Path) -> int:
    """Take a signals file into the store; gives its log number."""
    footer = read_footer(path)
    table = read_table(path)
    rows = column(table, "row", np.int32)
    annotations = column(table, "annotation_id", np.int32)
    whole = annotations == 0
    for name in table.column_names:
        if not name.startswith("signals//"):
            continue
        known = flags(table, name, valid=True)
        values = column(table, name, np.float64)
        signal = name.removeprefix("signals//")
        held = known & whole
        if held.any():
            store.samples.put(signal, rows[held], values[held])
        held = known & ~whole
        if held.any():
            store.samples.instances.put(signal, rows[held], annotations[held], values[held])
    lsn: int = footer["lsn"]
    return lsn
