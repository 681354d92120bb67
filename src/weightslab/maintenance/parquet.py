"""One Parquet file of the ledger, read to the last page.

One row group is read at a time, in batches; nothing of it is kept but a few numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from weightslab.ledger.columns import column
from weightslab.maintenance.schemas import complaint

__all__ = ["DAMAGE", "DamagedFileError", "Inspected", "inspect"]

_BATCH = 1 << 16
_FOOTER = b"weightslab"
_NEEDED: dict[str, tuple[tuple[str, type], ...]] = {
    **dict.fromkeys(
        ("sample", "instance", "global"),
        (("signal", str), ("last", int), ("samples", int), ("tier", int)),
    ),
    "ids": (("origin_sets", list), ("blocks", list)),
    "tags": (("tags", list), ("categories", dict), ("launch", int)),
    "signals": (("samples", int),),
    "arrays": (("fields", dict),),
    "packs": (("fields", dict),),
}
"""What our own metadata must hold beside its log number."""

_BY_ROW = ("tags", "signals", "arrays", "packs")
"""What holds rows of samples in a column `row`, in no order that matters."""

DAMAGE = (
    OSError,
    pa.ArrowException,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    MemoryError,
    OverflowError,
    RecursionError,
)
"""What reading hostile bytes raises."""


class DamagedFileError(Exception):
    """A file is not what it should be; `kind` is one of report.KINDS."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(slots=True)
class Inspected:
    """What one file holds."""

    footer: dict[str, Any] = field(default_factory=dict)
    rows: int = 0
    most: int = 0
    """One more than the highest sample row that it speaks of."""
    runs: list[tuple[int, int]] = field(default_factory=list)
    """Of ids: the rows that it names, as [start, stop) in order."""


def inspect(path: Path, content: str) -> Inspected:
    """Read a whole file and verify each page's checksum.

    Args:
        content: what it holds, as `tree.Entry` says; "" asks for nothing but readable pages.

    Raises:
        DamagedFileError: it is damaged, or not what it should be.
        FileNotFoundError: it is gone.
    """
    try:
        return _inspect(path, content)
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DamagedFileError("unreadable", _short(error)) from error
        raise DamagedFileError("parquet", _short(error)) from error


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."


def _inspect(path: Path, content: str) -> Inspected:
    with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
        found = Inspected(_footer(file.metadata.metadata or {}, content))
        wrong = complaint(content, file.schema_arrow)
        if wrong is not None:
            raise DamagedFileError("schema", wrong)
        former: tuple[int, ...] | None = None
        for group in range(file.num_row_groups):
            batches = file.iter_batches(_BATCH, row_groups=[group], use_threads=False)
            for batch in batches:
                if batch.num_rows:
                    table = pa.Table.from_batches([batch])
                    former = _look(table, content, found, former)
                    found.rows += batch.num_rows
        if found.rows != file.metadata.num_rows:
            raise DamagedFileError(
                "parquet", f"it holds {found.rows} rows and says {file.metadata.num_rows}"
            )
    return found


def _footer(metadata: dict[bytes, bytes], content: str) -> dict[str, Any]:
    raw = metadata.get(_FOOTER)
    if raw is None and content not in _NEEDED:
        return {}
    if raw is None:
        raise DamagedFileError("footer", "our own metadata is missing")
    footer = json.loads(raw)
    if not isinstance(footer, dict):
        raise DamagedFileError("footer", "our own metadata is no table of values")
    needed = (("lsn", int), *_NEEDED[content]) if content in _NEEDED else ()
    for name, kind in needed:
        if not isinstance(footer.get(name), kind):
            raise DamagedFileError(
                "footer", f"our own metadata has no {name!r} of type {kind.__name__}"
            )
    try:
        "".join(_names(content, footer)).encode()
    except (TypeError, UnicodeEncodeError) as error:
        raise DamagedFileError("footer", "our own metadata holds a name that is no text") from error
    return footer


def _names(content: str, footer: dict[str, Any]) -> list[Any]:
    """Names of signals and tags in our own metadata."""
    if content == "tags":
        categories = footer["categories"]
        return [*footer["tags"], *categories, *(n for names in categories.values() for n in names)]
    return [footer["signal"]] if "signal" in footer else []


def _look(
    table: pa.Table, content: str, found: Inspected, former: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    """Take in one batch; `former` and what is given are the keys of the last row so far."""
    if content in ("sample", "instance"):
        names = ("sample",) if content == "sample" else ("sample", "annotation_id")
        keys = [column(table, name, np.int32) for name in names]
        return _sorted(keys, found, former)
    if content == "ids":
        rows = column(table, "row", np.int32).astype(np.int64)
        last = _sorted([rows], found, former, strictly=True)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(rows) != 1) + 1])
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=True):
            _add_run(found.runs, int(rows[start]), int(rows[stop - 1]) + 1)
        return last
    if content == "tags":
        rows = column(table, "row", np.int32)
        if not np.array_equal(rows, np.arange(found.rows, found.rows + len(rows))):
            raise DamagedFileError("order", "its rows are not numbered from 0 without a gap")
    if content == "journal" or content in _BY_ROW:
        values = table.column("samples" if content == "journal" else "row")
        if content == "journal":
            values = pc.list_flatten(values)
            last = pc.max(table.column("entry")).as_py()
            found.footer["lsn"] = max(found.footer.get("lsn", 0), last)
        _note(found, pc.min(values).as_py(), pc.max(values).as_py())
    return None


def _note(found: Inspected, least: int | None, most: int | None) -> None:
    if least is None or most is None:
        return
    if least < 0:
        raise DamagedFileError("order", f"it speaks of row {least}: rows begin at 0")
    found.most = max(found.most, most + 1)


def _sorted(
    keys: list[npt.NDArray[Any]],
    found: Inspected,
    former: tuple[int, ...] | None,
    *,
    strictly: bool = False,
) -> tuple[int, ...]:
    """Check that rows are in order of their keys, also across batches."""
    first = keys[0]
    rises = np.diff(first.astype(np.int64))
    wrong = rises < 0
    if len(keys) > 1:
        wrong |= (rises == 0) & (np.diff(keys[1].astype(np.int64)) < 0)
    begin = tuple(int(key[0]) for key in keys)
    broken = bool(wrong.any()) or (former is not None and begin < former)
    if strictly:
        broken |= bool((rises == 0).any()) or (former is not None and begin == former)
    if broken:
        raise DamagedFileError("order", "its rows are not sorted by sample")
    _note(found, int(first[0]), int(first[-1]))
    return tuple(int(key[-1]) for key in keys)


def _add_run(runs: list[tuple[int, int]], start: int, stop: int) -> None:
    if runs and runs[-1][1] == start:
        start = runs.pop()[0]
    runs.append((start, stop))
