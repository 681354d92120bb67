"""Whether a training is under way: from what it was last seen to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["Underway"]

_GAPS = 8
_BURST_S = 0.05
_PACE_S = 20.0
_PATIENCE = 3.0


class Underway:
    """Signs of life of a training, and how long none of them means that it is over.

    A loop with slow steps gives signs rarely: it is not over before three of its longest
    recent gaps have passed (gaps up to 20 s count: a longer one was a break; and those from
    50 ms: several values of one step are no pace). Nor is it while somebody holds an
    unfinished iterator of a training loader. Not safe for threads:
    the owner's lock guards it.

    Args:
        quiet_s: shortest silence that means that no training is under way.
        saved_at: when a value was saved last.
    """

    def __init__(self, quiet_s: float, saved_at: Callable[[], float]) -> None:
        self.quiet_s = quiet_s
        self._saved_at = saved_at
        self._signed_at = float("-inf")
        self._gaps: deque[float] = deque(maxlen=_GAPS)
        self._iterations: list[Callable[[], object]] = []

    def sign(self, now: float) -> None:
        """Training was seen: a safe point, a batch, a call of the loop."""
        gap = now - self._signed_at
        if _BURST_S <= gap <= _PACE_S:
            self._gaps.append(gap)
        self._signed_at = now

    def stays(self, now: float) -> None:
        """Training is still where it was seen: it waits, or was held up, which is no pace."""
        self._signed_at = now

    def begin(self, iteration: Callable[[], object]) -> None:
        """An epoch begins; `iteration` gives its iterator while somebody holds that."""
        self._iterations = [held for held in self._iterations if held() is not None]
        self._iterations.append(iteration)

    def end(self, iteration: Callable[[], object]) -> None:
        """An epoch is over."""
        self._iterations = [held for held in self._iterations if held is not iteration]

    def is_quiet(self, now: float) -> bool:
        """Whether no training is under way."""
        if any(held() is not None for held in self._iterations):
            return False
        return now - max(self._signed_at, self._saved_at()) >= self._silence_s

    def is_still(self, now: float) -> bool:
        """Whether no value was saved for so long that nobody is in the middle of a step."""
        return now - self._saved_at() >= self._silence_s

    @property
    def _silence_s(self) -> float:
        return max(self.quiet_s, _PATIENCE * max(self._gaps, default=0.0))
