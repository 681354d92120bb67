"""The origins of rows: a sample may be in several, so a row holds the code of a set of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weightslab.types import Rows

__all__ = ["OriginSets"]


class OriginSets:
    """Which origins each row is in, the first one first. Guarded by the ledger's lock."""

    def __init__(self) -> None:
        self._sets: list[tuple[str, ...]] = [()]
        self._set_codes: dict[tuple[str, ...], int] = {(): 0}
        self._codes = np.zeros(0, np.int32)

    def grow(self, count: int) -> None:
        """Make room for `count` rows; new ones are in no origin."""
        if count > len(self._codes):
            grown = np.zeros(max(count, 2 * len(self._codes), 1024), np.int32)
            grown[: len(self._codes)] = self._codes
            self._codes = grown

    def begin(self, start: int, end: int, origin: str) -> None:
        """Rows that are new and in one origin."""
        self._codes[start:end] = self._code((origin,))

    def _code(self, origins: tuple[str, ...]) -> int:
        code = self._set_codes.get(origins)
        if code is None:
            code = self._set_codes[origins] = len(self._sets)
            self._sets.append(origins)
        return code

    def lacking(self, rows: Rows, origin: str) -> Rows:
        """Those of `rows` that are not in an origin."""
        codes = self._codes[rows]
        holding = [code for code, names in enumerate(self._sets) if origin in names]
        if len(holding) == 1 and (codes == holding[0]).all():
            return rows[:0]
        return rows[~np.isin(codes, holding)]

    def put(self, rows: Rows, origin: str) -> None:
        """Put rows into an origin, beside those that they are in."""
        codes = self._codes[rows]
        for code in np.unique(codes).tolist():
            names = self._sets[code]
            if origin not in names:
                self._codes[rows[codes == code]] = self._code((*names, origin))

    def clear(self, rows: Rows) -> None:
        """Take rows out of every origin."""
        self._codes[rows] = 0

    def unseen(self, rows: Rows) -> Rows:
        """Those of `rows` that are in no origin."""
        lacking: Rows = rows[self._codes[rows] == 0]
        return lacking

    def of(self, row: int) -> tuple[str, ...]:
        """Every origin of a row."""
        return self._sets[int(self._codes[row])]

    def codes(self, count: int) -> tuple[npt.NDArray[np.int32], list[tuple[str, ...]]]:
        """Code of each of `count` rows, and the set of origins behind each code; copies."""
        return self._codes[:count].copy(), list(self._sets)
