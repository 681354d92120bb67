"""Saving: what a training hands over is logged, and kept for whoever looks next.

The training thread waits for every line of this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightslab.errors import UnknownOptionError
from weightslab.ledger.arrays.arrays import FIELDS, SMALL_BYTES, ArrayRecord, records_of
from weightslab.ledger.log.records import (
    ARRAYS,
    CHANGE,
    VALUES,
    Floats,
    encode_change,
    encode_values,
)
from weightslab.ledger.options import LedgerOptions
from weightslab.ledger.store import Store
from weightslab.ledger.writer import Writer
from weightslab.notices import Notices
from weightslab.types import Rows

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Saver"]


class Saver:
    """Logs values and arrays with `writer`, and hands them to `store`.

    Args:
        root: the run folder, for what is said.
        check: raises where nothing may be written.
        launch: opens the launch; called before the first value.
        wait_for_room: waits a bounded time for waiting rows to be written; whether it helped.
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        options: LedgerOptions,
        notices: Notices,
        *,
        root: Path,
        check: Callable[[], None],
        launch: Callable[[], None],
        wait_for_room: Callable[[], bool],
    ) -> None:
        self._store = store
        self._writer = writer
        self._options = options
        self._notices = notices
        self._root = root
        self._check = check
        self._launch = launch
        self._wait_for_room = wait_for_room
        self.launched = False
        """Whether this process has saved a value."""

    def values(
        self,
        signals: Mapping[str, Floats],
        rows: Rows | None,
        annotations: Rows | None,
        step: int,
        log: bool,
    ) -> None:
        """Save a column of values for each signal; `rows` None: scalars of the curve."""
        self._check()
        store = self._store
        if store.tail_rows > self._options.most_waiting_rows and not self._wait_for_room():
            n = len(signals) * (1 if rows is None else len(rows))
            self._notices.warn_once(
                "dropped",
                f"{self._root} takes no more values and memory for waiting ones is full: "
                f"new values are dropped and counted until the disk works again",
                count=n,
            )
            return
        if not self.launched:
            self.launched = True
            self._launch()
        # The training thread waits for this: it logs the values and leaves the rest to
        # whoever drains. Each call spared here is a microsecond or two on cold caches.
        with store.lock:
            known = store.codes
            try:
                codes = tuple([known[name] for name in signals])
            except KeyError:
                codes = tuple([self._code(name) for name in signals])
            columns = tuple(signals.values())
            payload = encode_values(step, codes, columns, rows, annotations, on_curve=log)
            lsn = self._writer.log(VALUES, payload)
            store.take_values(lsn, payload, len(codes) * (1 if rows is None else len(rows)))

    def _code(self, name: str) -> int:
        code = self._store.codes.get(name)
        if code is None:
            code = len(self._store.signals)
            change = encode_change({"op": "signal", "code": code, "name": name})
            self._writer.log(CHANGE, change)
            self._store.take_signal(code, name)
        return code

    def arrays(
        self,
        name: str,
        rows: Rows,
        values: npt.NDArray[Any] | Sequence[Any],
        annotations: Rows | None,
    ) -> None:
        """Keep the latest array of each row; see `Ledger.append_arrays`."""
        self._check()
        if name not in FIELDS:
            raise UnknownOptionError("array field", name, FIELDS)
        for record in records_of(name, rows, values, annotations):
            if record.values.nbytes > SMALL_BYTES * max(1, len(record.rows)):
                self._large(record)
                continue
            if self._store.pending.array_bytes > self._options.most_waiting_array_bytes:
                self._notices.warn_once(
                    "dropped arrays",
                    f"{self._root} takes no more targets and predictions: new ones are dropped "
                    f"and counted until the disk works again",
                    count=len(record.rows),
                )
                continue
            head, blob = record.head(), record.blob()
            with self._store.lock:
                lsn = self._writer.log(ARRAYS, encode_change(head, blob))
                # The copy: what the caller gave may change before it is in a file.
                self._store.take_arrays(lsn, ArrayRecord.restore(head, blob))
                self._store.large.forget(record, lsn)

    def _large(self, record: ArrayRecord) -> None:
        left_out = self._store.large.take(record, self._writer.next_lsn - 1)
        if left_out:
            self._notices.warn_once(
                "large arrays",
                f"{record.field} of {record.values[0].nbytes} bytes a sample come faster than "
                f"{self._options.array_rate_bytes_s / 1e6:g} MB/s or beyond "
                f"{self._options.array_budget_bytes / 1e9:g} GB: some are left out, or the oldest "
                f"go, and are counted",
                count=left_out,
            )
