"""The journal: every edit with time, step, launch and actor, and what it replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from weightslab.ledger.columns import arrow, arrow_lists, arrow_strings, read_table
from weightslab.ledger.history.segments import file_options, footer_text, write_parquet
from weightslab.types import Rows

__all__ = ["JournalEntry", "categories_of", "merge_journals", "read_journal", "write_journal"]

_SCHEMA = pa.schema(
    [
        pa.field("entry", pa.int64(), nullable=False),
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("launch", pa.int32(), nullable=False),
        pa.field("actor", pa.string(), nullable=False),
        pa.field("verb", pa.string(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("value", pa.string()),
        pa.field("count", pa.int32(), nullable=False),
        pa.field("samples", pa.list_(pa.int32())),
        pa.field("previous", pa.list_(pa.int32())),
    ]
)


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One edit.

    Verbs: `tag` (name, value "true"/"false"), `category` (name, value or None for
    none), `register` (name, value: the categories as JSON), `discard` (value
    "true"/"false"), `experiment` (value: the new experiment hash), `launch`,
    `hyperparameters` (value: JSON `{dotted key: [before, after]}`; what is not there is
    `{"missing": true}`), `pause` and `resume` (value: the reason), `evaluation` (name: the
    loader; value: tags, state, marker, results and error as JSON). The last four say what
    happened and change nothing in the sample table; a reader passes over verbs that it does
    not know.
    """

    lsn: int
    time_us: int
    """Microseconds since 1970, UTC."""
    step: int
    launch: int
    actor: str
    verb: str
    name: str | None
    value: str | None
    rows: Rows
    """Samples whose state the entry changed, int32 [n]."""
    previous: Rows
    """Their state before: 0 or 1, or a category code; int32 [n]."""

    def head(self) -> dict[str, Any]:
        """The entry without its rows, for the log."""
        return {
            "op": "edit",
            "time": self.time_us,
            "step": self.step,
            "launch": self.launch,
            "actor": self.actor,
            "verb": self.verb,
            "name": self.name,
            "value": self.value,
            "n": len(self.rows),
        }

    @classmethod
    def restore(cls, lsn: int, head: dict[str, Any], blob: bytes) -> JournalEntry:
        """The entry behind a logged `head` and blob."""
        n = head["n"]
        return cls(
            lsn,
            head["time"],
            head["step"],
            head["launch"],
            head["actor"],
            head["verb"],
            head["name"],
            head["value"],
            np.frombuffer(blob, np.int32, n),
            np.frombuffer(blob, np.int32, n, 4 * n),
        )


def write_journal(entries: Sequence[JournalEntry], stream: BinaryIO) -> None:
    """Write entries as Parquet."""

    def numbers(values: list[int], kind: pa.DataType) -> pa.Array:
        dtype = np.int64 if kind == pa.int64() else np.int32
        return arrow(np.array(values, dtype), kind)

    columns = [
        numbers([e.lsn for e in entries], pa.int64()),
        numbers([e.time_us for e in entries], pa.int64()).cast(_SCHEMA.field("time").type),
        numbers([e.step for e in entries], pa.int64()),
        numbers([e.launch for e in entries], pa.int32()),
        arrow_strings([e.actor for e in entries]),
        arrow_strings([e.verb for e in entries]),
        arrow_strings([e.name for e in entries]),
        arrow_strings([e.value for e in entries]),
        numbers([len(e.rows) for e in entries], pa.int32()),
        arrow_lists([e.rows for e in entries]),
        arrow_lists([e.previous for e in entries]),
    ]
    write_parquet(pa.Table.from_arrays(columns, schema=_SCHEMA), {"tier": 0}, stream)


def merge_journals(inputs: Sequence[Path], stream: BinaryIO, *, tier: int) -> int:
    """Write one file with the entries of `inputs`, oldest first; gives their number."""
    rows = 0
    with pq.ParquetWriter(stream, _SCHEMA, **file_options(1)) as writer:
        for path in inputs:
            table = read_table(path)
            writer.write_table(table.cast(_SCHEMA))
            rows += table.num_rows
        writer.add_key_value_metadata(footer_text({"tier": tier}))
    return rows


def read_journal(path: Path) -> Iterator[JournalEntry]:
    """Every entry of a journal file, in order; a row group is in memory at a time."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            yield from _entries(file.read_row_group(group, use_threads=False))


def _entries(table: pa.Table) -> Iterator[JournalEntry]:
    rows = _lists(table.column("samples"))
    previous = _lists(table.column("previous"))
    heads = table.drop_columns(["count", "samples", "previous"])
    heads = heads.set_column(1, "time", heads["time"].cast(pa.int64()))
    for head, own, was in zip(heads.to_pylist(), rows, previous, strict=True):
        yield JournalEntry(
            head["entry"],
            head["time"],
            head["step"],
            head["launch"],
            head["actor"],
            head["verb"],
            head["name"],
            head["value"],
            own,
            was,
        )


def _lists(column: pa.ChunkedArray) -> Iterator[Rows]:
    """Each list of int32 as an array, without an object for each number; a null one is empty."""
    for lists in column.chunks:
        flat = lists.values
        numbers = np.frombuffer(flat.buffers()[1] or b"", np.int32)[flat.offset :]
        offsets = np.frombuffer(
            lists.offsets.buffers()[1], np.int32, len(lists) + 1, 4 * lists.offsets.offset
        )
        for start, stop in pairwise(offsets.tolist()):
            yield numbers[start:stop]


def categories_of(value: str | None) -> list[str]:
    """Categories of a `register` entry."""
    names: list[str] = json.loads(value or "[]")
    return names
