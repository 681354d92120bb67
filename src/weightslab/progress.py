"""How far long work is: numbers for whoever asks, and a bar where somebody watches."""

from __future__ import annotations

import contextlib
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

__all__ = ["Progress"]

REDRAW_S = 0.1


class Progress:
    """Work in `total` pieces, of which `done` are done; a context manager.

    Within the block a bar is drawn on standard error where that is a terminal; anywhere
    else nothing is written, and the numbers are all there is. No thread is started and no
    stream is replaced. A terminal that goes away, or cannot show the bar, ends the bar and
    not the work. One thread advances; any thread may read.

    Example:
        >>> from weightslab.progress import Progress
        >>> with Progress("scoring train", total=128) as progress:
        ...     progress.advance(64)
        >>> progress.done, progress.total
        (64, 128)
    """

    def __init__(self, label: str, total: int | None, *, to: TextIO | None = None) -> None:
        self.label = label
        self.total = total
        """None where nobody knows."""
        self.done = 0
        self._to = to
        self._bar: Bar | None = None
        self._task: Any = None
        self._drawn_at_s = 0.0

    def advance(self, pieces: int = 1) -> None:
        """So many more are done."""
        self.done += pieces
        now_s = time.monotonic()
        if self._bar is not None and now_s - self._drawn_at_s >= REDRAW_S:
            self._drawn_at_s = now_s
            self._draw()

    def __enter__(self) -> Self:
        stream = sys.stderr if self._to is None else self._to
        try:
            if stream is not None and stream.isatty():
                self._bar = _bar(stream)
                self._task = self._bar.add_task(self.label, total=self.total)
                self._bar.start()
        except Exception:  # noqa: BLE001  # no terminal may end the work
            self._bar = None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._draw()
        bar, self._bar = self._bar, None
        if bar is not None:
            with contextlib.suppress(Exception):  # the terminal has gone, and so has the bar
                bar.stop()

    def _draw(self) -> None:
        if self._bar is None:
            return
        try:
            self._bar.update(self._task, completed=self.done, refresh=True)
        except Exception:  # noqa: BLE001  # no terminal may end the work
            self._bar = None


def _bar(stream: TextIO) -> Bar:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(file=stream, force_jupyter=False),
        # A thread that draws would be copied into forked workers, and a stream that is
        # replaced is not the user's any more.
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
