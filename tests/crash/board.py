"""What the processes of a round tell each other through mapped memory, which no kill takes back.

Each writing role numbers its calls from 1. It notes a call as begun before it makes it and as
done once it returned: done is what was acknowledged. A death between the two leaves a call
in doubt; the one who started the process notes that before the role goes on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["MOST_DOUBTS", "ROLES", "Board"]

ROLES = 2
"""How many processes write."""
MOST_DOUBTS = 4096

Numbers = npt.NDArray[np.int64]


class Board:
    """The counters of one round, mapped from a file."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        shape = (3 + MOST_DOUBTS, ROLES)
        cells = np.memmap(path, np.int64, mode="w+" if fresh else "r+", shape=shape)
        self.begun: Numbers = cells[0]
        """[ROLES] the last call that each role began."""
        self.done: Numbers = cells[1]
        """[ROLES] the last call of each role that returned."""
        self.looks: Numbers = cells[2, :1]
        """[1] how often a reader found everything right."""
        self._doubt_count: Numbers = cells[2, 1:]
        self._doubts: Numbers = cells[3:]

    def note_death(self, role: int) -> bool:
        """Take up that the process of `role` is gone; gives whether it left a call in doubt."""
        if self.begun[role] == self.done[role]:
            return False
        at = int(self._doubt_count[0])
        self._doubts[at] = (role, self.begun[role])
        self._doubt_count[0] = at + 1
        self.done[role] = self.begun[role]
        return True

    def doubts(self, role: int) -> Numbers:
        """Calls of `role` that may or may not have happened, in order."""
        noted = self._doubts[: int(self._doubt_count[0])]
        return np.array(noted[noted[:, 0] == role, 1])
