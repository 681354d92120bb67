"""Sample ids (strings) and the dense rows that stand for them.

A row is named either on its own ("img_0042") or by its place in a block: the
samples of one origin, "<origin>/<index>". A block is three numbers, so a
million samples are registered without a million strings. Rows that had such a name
before their dataset was known get their place then (`Places`).
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt

from weightslab.errors import InputError
from weightslab.ledger.ids.blocks import Block, Indices, grouped_places, parsed_place
from weightslab.ledger.ids.explicit import ExplicitNames
from weightslab.ledger.ids.origins import OriginSets
from weightslab.ledger.ids.places import Places
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
        self.places = Places()
        """Of rows that a dataset's samples had by hand before the dataset came."""
        self._names = ExplicitNames()
        self._origins = OriginSets()
        self.changed: set[int] = set()
        """Rows renamed or given an origin since they were last published."""

    def __len__(self) -> int:
        return self._count

    # -- finding ---------------------------------------------------------

    def find(self, name: str) -> int | None:
        """The row of a name, or None when nobody has it."""
        with self._lock:
            row = self._names.rows.get(name)
            return self._find_place(name) if row is None else row

    def _find_place(self, name: str) -> int | None:
        parsed = parsed_place(name)
        if parsed is None:
            return None
        origin, index = parsed[0], np.array([parsed[1]], np.int64)
        return next((int(row) for (row,) in self._by_place(origin, index) if row >= 0), None)

    def _by_place(self, origin: str, indices: Indices) -> Iterator[Indices]:
        """Rows of indices of an origin, -1 for none: of each block, then of single places."""
        for block in self._by_origin.get(origin, ()):
            yield block.rows_of(indices)
        if self.places:
            yield self.places.rows_of(origin, indices)

    def find_named(self, name: str) -> int | None:
        """The row that was given this very name; blocks are not looked at."""
        return self._names.rows.get(name)

    def find_all(self, names: Sequence[str], *, under: str | None) -> list[int | None]:
        """Rows of names at once, None where nobody has this very name.

        A name that is also known as "<under>/<name>" means that one.
        """
        with self._lock:
            get = self._names.rows.get
            if under is None or under not in self._names.folders:
                found = [get(name) for name in names]
            else:
                found = [get(f"{under}/{name}", get(name)) for name in names]
            if None in found and (self._by_origin or self.places):
                self._find_rest(names, found)
            return found

    def _find_rest(self, names: Sequence[str], found: list[int | None]) -> None:
        """Fill in the rows of "<origin>/<index>" where `found` has none."""
        missing = [place for place, row in enumerate(found) if row is None]
        for origin, (where, wanted) in grouped_places(names, missing).items():
            for rows in self._by_place(origin, wanted):
                if len(where) == len(found) and rows.min() >= 0:
                    found[:] = rows.tolist()
                    return
                for place, row in zip(where, rows.tolist(), strict=True):
                    if row >= 0:
                        found[place] = row

    def name(self, row: int) -> str:
        """The id of a row."""
        with self._lock:
            named = self._names.of.get(row)
            if named is None:
                named = self.places.name(row)
            if named is not None:
                return named
            if not 0 <= row < self._count:
                raise InputError(f"row {row} does not exist: this ledger has {self._count} samples")
            block = self._block_of(row)
            return f"{block.origin}/{block.index_at(row)}"

    def names(self, rows: Rows) -> list[str]:
        """The ids of rows, in order."""
        with self._lock:
            return [self.name(row) for row in rows.tolist()]

    def index_of(self, row: int) -> int | None:
        """Dataset index that a row stands for; None for a row that only has a name."""
        with self._lock:
            place = self._place_of(row)
            return None if place is None else place[1]

    def _place_of(self, row: int) -> tuple[str, int] | None:
        block = self._block_of(row)
        if block.origin is None:
            return self.places.of(row)
        return block.origin, block.index_at(row)

    def _block_of(self, row: int) -> Block:
        return self._blocks[bisect.bisect_right(self._starts, row) - 1]

    def blocks(self) -> list[Block]:
        """Every block, in row order."""
        with self._lock:
            return list(self._blocks)

    def own_name(self, row: int) -> str | None:
        """The explicit name of a row; None when it goes by its place."""
        return self._names.of.get(row)

    def named_rows(self) -> dict[int, str]:
        """The name of every row that does not go by its block."""
        with self._lock:
            return {**self.places.names(), **self._names.of}

    def single_places(self) -> dict[int, str]:
        """The place of every row that has one outside of a block, as a name."""
        with self._lock:
            return self.places.names()

    def registered(self) -> set[str]:
        """Origins of which some sample is known by its place."""
        with self._lock:
            return {*self._by_origin, *self.places.origins()}

    # -- making ----------------------------------------------------------

    def block(self, origin: str, indices: range | Indices) -> Rows:
        """Rows of the samples `indices` of `origin`, made where they are missing. int32 [n].

        A row that somebody made as "<origin>/<index>" is that sample's.
        """
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
        if known or origin in self._names.folders or origin in self.places.origins():
            return self._block_indices(origin, np.arange(wanted.start, wanted.stop, dtype=np.int64))
        return self._append_block(origin, len(wanted), wanted.start, None)

    def _block_indices(self, origin: str, wanted: Indices) -> Rows:
        rows = np.full(len(wanted), -1, np.int64)
        for found in self._by_place(origin, wanted):
            rows = np.where(rows < 0, found, rows)
        rows[rows < 0] = self._named_places(origin, wanted[rows < 0])
        missing = wanted[rows < 0]
        if len(missing):
            dense = int(missing[-1]) - int(missing[0]) + 1 == len(missing)
            made = self._append_block(
                origin, len(missing), int(missing[0]), None if dense else missing
            )
            rows[rows < 0] = made
        return rows.astype(np.int32)

    def _named_places(self, origin: str, wanted: Indices) -> Indices:
        """Rows that have the names of places that nobody holds; they hold them from now on.

        The sample of another dataset that says such an id keeps it: that place is then called
        "<origin>/<origin>/<index>".
        """
        rows = np.full(len(wanted), -1, np.int64)
        claimed: list[int] = []
        for at, name in self._names.places(origin, wanted):
            rows[at] = row = self._names.rows[name]
            place = self._place_of(row)
            if place is None:
                claimed.append(at)
            elif place[0] != origin:
                rows[at] = int(self.add([f"{origin}/{name}"], origin)[0])
        if claimed:
            mine = rows[claimed].astype(np.int32)
            indices = wanted[claimed]
            op = {"op": "place", "origin": origin, "rows": mine.tolist()}
            self._log(op, indices.tobytes())
            self._apply_place(origin, mine, indices)
            self.add_origin(mine, origin)
        return rows

    def _apply_place(self, origin: str, rows: Rows, indices: Indices) -> None:
        for row, index in zip(rows.tolist(), indices.tolist(), strict=True):
            self.places.put(origin, index, row)
            if self._names.of.get(row) == f"{origin}/{index}":
                self._names.drop(row)
            self.changed.add(row)

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
        self._origins.grow(self._count)
        if block.origin is not None:
            self._by_origin.setdefault(block.origin, []).append(block)
            self._origins.begin(block.start, self._count, block.origin)

    def add(self, names: Sequence[str], origin: str | None) -> Rows:
        """Rows of `names`, made where they are missing and given `origin`. int32 [len(names)]."""
        with self._lock:
            rows = [self.find(name) for name in names]
            fresh = list(dict.fromkeys(n for n, r in zip(names, rows, strict=True) if r is None))
            if fresh:
                self._log({"op": "names", "start": self._count, "names": fresh}, b"")
                self._apply_names(self._count, fresh)
                rows = list(map(self.find, names))
            array = np.array(rows, np.int32).reshape(len(names))
            if origin is not None:
                self.add_origin(array, origin)
            return array

    def _apply_names(self, start: int, names: Sequence[str]) -> None:
        self._apply_block(Block(start, len(names), None))
        for offset, name in enumerate(names):
            self._names.put(start + offset, name)

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
            self._names.put(row, name)
            self.changed.add(row)

    def unname(self, rows: Rows) -> None:
        """Let rows go by "<origin>/<index>" again; rows made by name keep it."""
        with self._lock:
            named = [row for row in rows.tolist() if row in self._names.of]
            named = [row for row in named if self.index_of(row) is not None]
            if named:
                self._log({"op": "unname", "rows": named}, b"")
                self._apply_unname(named)

    def _apply_unname(self, rows: Sequence[int]) -> None:
        for row in rows:
            self._names.drop(row)
            self.changed.add(row)

    # -- origins ---------------------------------------------------------

    def add_origin(self, rows: Rows, origin: str) -> None:
        """Put rows into an origin (a sample may be in several)."""
        with self._lock:
            lacking = self._origins.lacking(rows, origin)
            if len(lacking):
                self._log({"op": "origin", "origin": origin}, lacking.tobytes())
                self._origins.put(lacking, origin)
                self.changed.update(lacking.tolist())

    def unseen(self, rows: Rows) -> Rows:
        """Those of `rows` that belong to no origin yet."""
        with self._lock:
            return self._origins.unseen(rows)

    def leave(self, rows: Rows) -> None:
        """Take rows out of every origin: nobody is behind them, and no table shows them."""
        with self._lock:
            self._log({"op": "leave"}, rows.tobytes())
            self._apply_leave(rows)

    def _apply_leave(self, rows: Rows) -> None:
        self._origins.clear(rows)
        self.changed.update(rows.tolist())

    def origins_of(self, row: int) -> tuple[str, ...]:
        """Every origin of a row, the first one first; empty while nobody has seen it."""
        with self._lock:
            return self._origins.of(row)

    def origin_codes(self) -> tuple[npt.NDArray[np.int32], list[tuple[str, ...]]]:
        """Code of each row, int32 [rows], and the set of origins behind each code."""
        with self._lock:
            return self._origins.codes(self._count)

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
            self._origins.put(rows, "lost")

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
        elif kind == "place":
            self._apply_place(op["origin"], rows, np.frombuffer(blob, np.int64))
        elif kind == "origin":
            self._origins.put(rows, op["origin"])
            self.changed.update(rows.tolist())
        elif kind == "leave":
            self._apply_leave(rows)
        else:
            return False
        return True
