"""Names that rows were given one by one, both ways."""

from __future__ import annotations

import numpy as np

from weightslab.ledger.ids.blocks import Indices, grouped_places

__all__ = ["ExplicitNames"]


class ExplicitNames:
    """Name by row and row by name. Guarded by the ledger's lock."""

    def __init__(self) -> None:
        self.of: dict[int, str] = {}
        self.rows: dict[str, int] = {}
        self.folders: set[str] = set()
        """What stands before a slash in some name: where "<origin>/<name>" may hide."""

    def put(self, row: int, name: str) -> None:
        """Give a row a name; its former one is free."""
        self.drop(row)
        self.of[row] = name
        self.rows[name] = row
        slash = name.find("/")
        while slash >= 0:
            self.folders.add(name[:slash])
            slash = name.find("/", slash + 1)

    def drop(self, row: int) -> None:
        """Let a row have no name of its own."""
        former = self.of.pop(row, None)
        if former is not None and self.rows.get(former) == row:
            del self.rows[former]

    def places(self, origin: str, wanted: Indices) -> list[tuple[int, str]]:
        """Where in `wanted` (sorted) stands an index whose place is a name, and that name.

        As long as the shorter of `wanted` and the names.
        """
        if origin not in self.folders:
            return []
        if len(wanted) <= len(self.rows):
            names = (f"{origin}/{index}" for index in wanted.tolist())
            return [(at, name) for at, name in enumerate(names) if name in self.rows]
        under = [name for name in self.rows if name.startswith(f"{origin}/")]
        _, indices = grouped_places(under, range(len(under))).get(origin, ((), wanted[:0]))
        found = np.intersect1d(wanted, indices, return_indices=True)[1]
        return [(at, f"{origin}/{wanted[at]}") for at in found.tolist()]
