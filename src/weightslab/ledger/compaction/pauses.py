"""Growing pauses between attempts at what fails for now."""

from __future__ import annotations

from collections.abc import Callable, Hashable

__all__ = ["Pauses"]

_FIRST_S = 5.0
_MOST_S = 320.0


class Pauses:
    """What failed is tried again at once, then after a pause that doubles each time.

    `clock` gives seconds from any beginning.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failed: dict[Hashable, tuple[int, float]] = {}
        """How often in a row, and until when it waits."""

    def failed(self, what: Hashable) -> int:
        """It failed once more; gives how often in a row."""
        times = self._failed.get(what, (0, 0.0))[0] + 1
        # 2.0**10 is beyond every pause; larger powers would overflow in the end.
        pause_s = 0.0 if times == 1 else min(_FIRST_S * 2.0 ** min(times - 2, 10), _MOST_S)
        self._failed[what] = (times, self._clock() + pause_s)
        return times

    def passed(self, what: Hashable) -> None:
        """It was done."""
        self._failed.pop(what, None)

    def waits(self, what: Hashable) -> bool:
        """Whether it is not to be tried now."""
        return what in self._failed and self._clock() < self._failed[what][1]
