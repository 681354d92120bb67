"""Sample ids (strings) and the dense rows that stand for them.

A row is named either on its own ("img_0042") or by its place in a block: the
samples of one origin, "<origin>/<index>". A block is three numbers, so a
million samples are registered without a million strings.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.errors import InputError
from weightslab.ledger.ids.blocks import Block, Indices, grouped_places, parsed_place
from weightslab.types import Rows

__all__ = ["IdStore"]

Log = Callable[[dict[str, Any], bytes], None]


class IdStore:
    """Finds, makes and names rows. Every change is logged before it is visible.

    Threads: all methods hold the ledger's lock, which is reentrant.
    """

    def __init__(self, lock: RLock, log: Log) -> None:
        self._lock = lock
        self._log = log
        self._count = 0
        self._blocks: list[Block] = []
        self._starts: list[int] = []
        self._by_origin: dict[str, list[Block]] = {}
        self._named: dict[int, str] = {}
        self._rows: dict[str, int] = {}
        self._folders: set[str] = set()
        """What stands before a slash in explicit names: where "<origin>/<name>" may hide."""
        self._origin_sets: list[tuple[str, ...]] = [()]
        self._set_codes: dict[tuple[str, ...], int] = {(): 0}
        self._codes = np.zeros(0, np.int32)
        self.changed: set[int] = set()
        """Rows renamed or given an origin since they were last published."""

    def __len__(self) -> int:
        return self._count

    # -- finding ---------------------------------------------------------

    def find(self, name: str) -> int | None:
        """The row of a name, or None when nobody has it."""
        with self._lock:
            row = self._rows.get(name)
            return self._find_in_blocks(name) if row is None else row

    def _find_in_blocks(self, name: str) -> int | None:
        parsed = parsed_place(name)
        if parsed is None:
            return None
        index = np.array([parsed[1]], np.int64)
        for block in self._by_origin.get(parsed[0], ()):
            found = int(block.rows_of(index)[0])
            if found >= 0:
                return found
        return None

    def in_block(self, name: str) -> int | None:
        """The row whose place in a block the name says, also when it has another name."""
        with self._lock:
            return self._find_in_blocks(name)

    def find_named(self, name: str) -> int | None:
        """The row that was given this very name; blocks are not looked at."""
        return self._rows.get(name)

    def find_all(self, names: Sequence[str], *, under: str | None) -> list[int | None]:
        """Rows of names at once, None where nobody has this very name.

        A name that is also known as "<under>/<name>" means that one.
        """
        with self._lock:
            get = self._rows.get
            if under is None or under not in self._folders:
                found = [get(name) for name in names]
            else:
                found = [get(f"{under}/{name}", get(name)) for name in names]
            if None in found and self._by_origin:
                self._find_rest(names, found)
            return found

    def _find_rest(self, names: Sequence[str], found: list[int | None]) -> None:
        """Fill in the rows of "<origin>/<index>" where `found` has none, block by block."""
        missing = [place for place, row in enumerate(found) if row is None]
        for origin, (where, wanted) in grouped_places(names, missing).items():
            for block in self._by_origin.get(origin, ()):
                rows = block.rows_of(wanted)
                if len(where) == len(found) and rows.min() >= 0:
                    found[:] = rows.tolist()
                    return
                for place, row in zip(where, rows.tolist(), strict=True):
                    if row >= 0:
                        found[place] = row

    def name(self, row: int) -> str:
        """The id of a row."""
        with self._lock:
            named = self._named.get(row)
            if named is not None:
                return named
            if not 0 <= row < self._count:
                raise InputError(f"row {row} does not exist: this ledger has {self._count} samples")
            block = self._blocks[bisect.bisect_right(self._starts, row) - 1]
            return f"{block.origin}/{block.index_at(row)}"

    def names(self, rows: Rows) -> list[str]:
        """The ids of rows, in order."""
        with self._lock:
            return [self.name(row) for row in rows.tolist()]

    def index_of(self, row: int) -> int | None:
        """Dataset index that a row was made for; None for a row made by name alone."""
        with self._lock:
            block = self._blocks[bisect.bisect_right(self._starts, row) - 1]
            return None if block.origin is None else block.index_at(row)

    def blocks(self) -> list[Block]:
        """Every block, in row order."""
        with self._lock:
            return list(self._blocks)

    def own_name(self, row: int) -> str | None:
        """The explicit name of a row; None when it goes by its block."""
        return self._named.get(row)

    def named_rows(self) -> dict[int, str]:
        """Copy of every explicit name by row."""
        with self._lock:
            return dict(self._named)

    # -- making ----------------------------------------------------------

    def block(self, origin: str, indices: range | Indices) -> Rows:
        """Rows of the samples `indices` of `origin`, made where they are missing. int32 [n]."""
        with self._lock:
            if isinstance(indices, range) and indices.step == 1:
                rows = self._block_range(origin, indices)
            else:
                wanted, inverse = np.unique(
                    np.asarray(indices, dtype=np.int64), return_inverse=True
                )
                rows = self._block_indices(origin, wanted)[inverse]
            return rows

    def _block_range(self, origin: str, wanted: range) -> Rows:
        known = self._by_origin.get(origin, [])
        for block in known:
            if (
                block.indices is None
                and block.first <= wanted.start
                and wanted.stop <= block.first + block.count
            ):
                start = block.start + wanted.start - block.first
                return np.arange(start, start + len(wanted), dtype=np.int32)
        if known:
            return self._block_indices(origin, np.arange(wanted.start, wanted.stop, dtype=np.int64))
        return self._append_block(origin, len(wanted), wanted.start, None)

    def _block_indices(self, origin: str, wanted: Indices) -> Rows:
        rows = np.full(len(wanted), -1, np.int64)
        for block in self._by_origin.get(origin, []):
            found = block.rows_of(wanted)
            rows = np.where(rows < 0, found, rows)
        missing = wanted[rows < 0]
        if len(missing):
            dense = int(missing[-1]) - int(missing[0]) + 1 == len(missing)
            made = self._append_block(
                origin, len(missing), int(missing[0]), None if dense else missing
            )
            rows[rows < 0] = made
        return rows.astype(np.int32)

    def _append_block(
        self, origin: str | None, count: int, first: int, indices: Indices | None
    ) -> Rows:
        start = self._count
        if count:
            op = {"op": "block", "start": start, "count": count, "origin": origin, "first": first}
            blob = b"" if indices is None else indices.tobytes()
            self._log(op, blob)
            self._apply_block(Block(start, count, origin, first, indices))
        return np.arange(start, start + count, dtype=np.int32)

    def _apply_block(self, block: Block) -> None:
        self._blocks.append(block)
        self._starts.append(block.start)
        self._count = block.start + block.count
        if self._count > len(self._codes):
            grown = np.zeros(max(self._count, 2 * len(self._codes), 1024), np.int32)
            grown[: len(self._codes)] = self._codes
            self._codes = grown
        if block.origin is not None:
            self._by_origin.setdefault(block.origin, []).append(block)
            self._codes[block.start : self._count] = self._set_code((block.origin,))

    def add(self, names: Sequence[str], origin: str | None) -> Rows:
        """Rows of `names`, made where they are missing and given `origin`. int32 [len(names)]."""
        with self._lock:
            rows = [self.find(name) for name in names]
            fresh = list(
                dict.fromkeys(name for name, row in zip(names, rows, strict=True) if row is None)
            )
            if fresh:
                self._log({"op": "names", "start": self._count, "names": fresh}, b"")
                self._apply_names(self._count, fresh)
                rows = [self._rows[n] if r is None else r for n, r in zip(names, rows, strict=True)]
            array = np.array(rows, np.int32).reshape(len(names))
            if origin is not None:
                self.add_origin(array, origin)
            return array

    def _apply_names(self, start: int, names: Sequence[str]) -> None:
        self._apply_block(Block(start, len(names), None))
        for offset, name in enumerate(names):
            self._named[start + offset] = name
            self._rows[name] = start + offset
            self._note_folders(name)

    def _note_folders(self, name: str) -> None:
        slash = name.find("/")
        while slash >= 0:
            self._folders.add(name[:slash])
            slash = name.find("/", slash + 1)

    # -- naming ----------------------------------------------------------

    def rename(self, rows: Rows, names: Sequence[str]) -> None:
        """Give rows their own names.

        Raises:
            InputError: a name belongs to another row; nothing was renamed.
        """
        with self._lock:
            pairs = list(zip(rows.tolist(), names, strict=True))
            taken: dict[str, int] = {}
            for row, name in pairs:
                holder = taken.setdefault(name, row)
                if holder == row:
                    holder = row if (held := self.find(name)) is None else held
                if holder != row:
                    raise InputError(
                        f"the id {name!r} already belongs to sample {self.name(holder)!r}: "
                        f"an id names one sample"
                    )
            self._log({"op": "rename", "rows": rows.tolist(), "names": list(names)}, b"")
            self._apply_rename(pairs)

    def _apply_rename(self, pairs: Sequence[tuple[int, str]]) -> None:
        for row, name in pairs:
            former = self._named.get(row)
            if former is not None and self._rows.get(former) == row:
                del self._rows[former]
            self._named[row] = name
            self._rows[name] = row
            self._note_folders(name)
            self.changed.add(row)

    def unname(self, rows: Rows) -> None:
        """Let rows go by "<origin>/<index>" again; rows made by name keep it."""
        with self._lock:
            named = [row for row in rows.tolist() if row in self._named]
            named = [row for row in named if self.index_of(row) is not None]
            if named:
                self._log({"op": "unname", "rows": named}, b"")
                self._apply_unname(named)

    def _apply_unname(self, rows: Sequence[int]) -> None:
        for row in rows:
            former = self._named.pop(row, None)
            if former is not None and self._rows.get(former) == row:
                del self._rows[former]
            self.changed.add(row)

    # -- origins ---------------------------------------------------------

    def _set_code(self, origins: tuple[str, ...]) -> int:
        code = self._set_codes.get(origins)
        if code is None:
            code = self._set_codes[origins] = len(self._origin_sets)
            self._origin_sets.append(origins)
        return code

    def add_origin(self, rows: Rows, origin: str) -> None:
        """Put rows into an origin (a sample may be in several)."""
        with self._lock:
            lacking = self._lacking(rows, origin)
            if len(lacking):
                self._log({"op": "origin", "origin": origin}, lacking.tobytes())
                self._apply_origin(lacking, origin)
                self.changed.update(lacking.tolist())

    def _lacking(self, rows: Rows, origin: str) -> Rows:
        codes = self._codes[rows]
        holding = [code for code, names in enumerate(self._origin_sets) if origin in names]
        if len(holding) == 1 and (codes == holding[0]).all():
            return rows[:0]
        return rows[~np.isin(codes, holding)]

    def _apply_origin(self, rows: Rows, origin: str) -> None:
        codes = self._codes[rows]
        for code in np.unique(codes).tolist():
            names = self._origin_sets[code]
            if origin not in names:
                self._codes[rows[codes == code]] = self._set_code((*names, origin))

    def unseen(self, rows: Rows) -> Rows:
        """Those of `rows` that belong to no origin yet."""
        with self._lock:
            lacking: Rows = rows[self._codes[rows] == 0]
            return lacking

    def leave(self, rows: Rows) -> None:
        """Take rows out of every origin: nobody is behind them, and no table shows them."""
        with self._lock:
            self._log({"op": "leave"}, rows.tobytes())
            self._apply_leave(rows)

    def _apply_leave(self, rows: Rows) -> None:
        self._codes[rows] = 0
        self.changed.update(rows.tolist())

    def placeholders(self, origin: str) -> dict[str, int]:
        """Rows without an origin that were edited as "<origin>/..." before anybody saw them."""
        with self._lock:
            if origin not in self._folders:
                return {}
            prefix = f"{origin}/"
            return {
                name: row
                for name, row in self._rows.items()
                if name.startswith(prefix) and self._codes[row] == 0
            }

    def origins_of(self, row: int) -> tuple[str, ...]:
        """Every origin of a row, the first one first; empty while nobody has seen it."""
        with self._lock:
            return self._origin_sets[int(self._codes[row])]

    def origin_codes(self) -> tuple[npt.NDArray[np.int32], list[tuple[str, ...]]]:
        """Code of each row, int32 [rows], and the set of origins behind each code."""
        with self._lock:
            return self._codes[: self._count].copy(), list(self._origin_sets)

    # -- recovery --------------------------------------------------------

    def fill(self, count: int) -> None:
        """Have at least `count` rows: those whose ids are lost are called "lost/<row>".

        So that no new sample is ever given the values of one whose id a disk has lost. Their
        origin is "lost", so that tables show them.
        """
        if count > self._count:
            rows = np.arange(self._count, count, dtype=np.int32)
            self.changed.update(rows.tolist())
            self._apply_names(self._count, [f"lost/{row}" for row in rows.tolist()])
            self._apply_origin(rows, "lost")

    def replay(self, op: dict[str, Any], blob: bytes) -> bool:
        """Apply one logged change; False when `op` is none of ours."""
        kind = op["op"]
        listed = blob if kind in ("origin", "leave") else b""
        rows = np.frombuffer(listed, np.int32) if listed else np.array(op.get("rows", ()), np.int32)
        self.fill(max(op.get("start", 0), int(rows.max(initial=-1)) + 1))  # a disk lost those
        if kind == "block":
            if op["start"] == self._count:
                indices = np.frombuffer(blob, np.int64).copy() if blob else None
                self._apply_block(
                    Block(op["start"], op["count"], op["origin"], op["first"], indices)
                )
        elif kind == "names":
            if op["start"] == self._count:
                self._apply_names(op["start"], op["names"])
        elif kind == "rename":
            self._apply_rename(list(zip(op["rows"], op["names"], strict=True)))
        elif kind == "unname":
            self._apply_unname(op["rows"])
        elif kind == "origin":
            self._apply_origin(rows, op["origin"])
            self.changed.update(rows.tolist())
        elif kind == "leave":
            self._apply_leave(rows)
        else:
            return False
        return True
