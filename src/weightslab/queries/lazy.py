"""History as a lazy frame: read when it is collected, piece by piece, and no more than asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import polars as pl
from polars.io.plugins import register_io_source

from weightslab.errors import FolderError
from weightslab.ledger import Ledger, View
from weightslab.ledger.history.partitions import PartitionKey
from weightslab.ledger.history.segments import Chunk
from weightslab.queries.frames import ids_of_sorted
from weightslab.queries.history import HISTORY_COLUMNS, held_views
from weightslab.queries.names import signal_name

__all__ = ["history_scan"]


def history_scan(
    ledger: Ledger,
    kind: str,
    signals: Sequence[str] | None = None,
    hashes: Sequence[str] | None = None,
    launch: int | None = None,
    *,
    before: Callable[[], object] = lambda: None,
) -> pl.LazyFrame:
    """Every value of samples or instances that fits the filters, as a lazy frame.

    What it gives is what the ledger holds when it is collected. At most a row group of each
    signal is in memory at a time beside the result; columns that nobody asks for, such as
    ids, are not made. `before` is called each time that it is collected, on any thread.
    """
    wanted = None if signals is None else [signal_name(name) for name in signals]

    def source(
        columns: list[str] | None,
        predicate: pl.Expr | None,
        most_rows: int | None,
        _batch_rows: int | None,
    ) -> Iterator[pl.DataFrame]:
        before()
        asked = columns if columns is not None else list(HISTORY_COLUMNS[kind])
        needed = {*asked, *(predicate.meta.root_names() if predicate is not None else ())}
        held = needed | {"launch"} if launch is not None else set(needed)
        if "sample_id" in needed:
            held.add("sample")
        left = most_rows
        for view, key, chunk in _pieces(ledger, kind, wanted, hashes, held):
            frame = _frame(view, key, chunk, kind, needed, launch)
            # Polars counts the rows of the scan: those that the predicate then leaves out too.
            if left is not None:
                frame = frame.head(left)
                left -= len(frame)
            if predicate is not None:
                frame = frame.filter(predicate)
            yield frame.select(asked)
            if left == 0:
                return

    return register_io_source(source, schema=HISTORY_COLUMNS[kind], validate_schema=True)


def _pieces(
    ledger: Ledger,
    kind: str,
    signals: Sequence[str] | None,
    hashes: Sequence[str] | None,
    columns: set[str],
) -> Iterator[tuple[View, PartitionKey, Chunk]]:
    try:
        with held_views(ledger, kind, signals, hashes) as views:
            for view in views:
                history = view.store.history
                for key, chunk in history.scan(
                    kind, signals=signals, hashes=hashes, columns=columns
                ):
                    yield view, key, chunk
    except FileNotFoundError as error:
        raise FolderError(
            f"{error.filename or error} was merged into another file by the process that writes "
            f"it while this frame was collected: collect it again"
        ) from error


def _frame(
    view: View, key: PartitionKey, chunk: Chunk, kind: str, needed: set[str], launch: int | None
) -> pl.DataFrame:
    """The needed columns of a piece, of one launch or of all."""
    if launch is not None:
        chunk = chunk.take(chunk.columns["launch"] == launch)
    columns = [pl.Series("row", next(iter(chunk.columns.values())))]
    columns += [pl.Series(n, c) for n, c in chunk.columns.items() if n != "sample" and n in needed]
    if "sample_id" in needed:
        columns.append(ids_of_sorted(view, chunk.columns["sample"]).alias("sample_id"))
    frame = pl.DataFrame(columns).with_columns(
        pl.lit(key.signal).alias("signal"),
        pl.lit(key.experiment_hash, pl.String).alias("experiment_hash"),
    )
    return frame.select(name for name in HISTORY_COLUMNS[kind] if name in frame.columns)
