"""What signals' own functions raise: counted by name, said once with its traceback."""

from __future__ import annotations

import traceback
from collections import Counter
from types import TracebackType

from weightslab.notices import Notices

__all__ = ["Failures"]


class Failures:
    """Counts values that were lost because a function raised, or gave back no number."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self.counts: Counter[str] = Counter()
        """By the name of the signal."""
        self.silent = False
        """Whether what fails was given up already: a closed session takes no results."""

    def add(self, name: str, error: BaseException, *, count: int = 1) -> None:
        """A call for `count` values has failed."""
        self.counts[name] += count
        if self.silent:
            return
        self._notices.warn_once(
            ("signal failed", name),
            f"signal {name!r} failed, and those values are missing (counted in wl.status()); "
            f"other samples, other signals and the training go on:\n{_said(error)}",
            count=count,
        )


def _said(error: BaseException) -> str:
    # From the user's function on: the frames that called it are ours.
    trace: TracebackType | None = error.__traceback__
    own = trace.tb_next if trace is not None and trace.tb_next is not None else trace
    return "".join(traceback.format_exception(type(error), error, own)).rstrip()
