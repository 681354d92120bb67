"""How commands speak: a console that suits its output, progress with and without a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Advance", "make_console", "progress"]

_PLAIN_WIDTH = 100  # without a terminal nobody knows the width; files and pipes get this one


class Advance(Protocol):
    """Says that one more piece of the work is done, and what it brought."""

    def __call__(self, note: str) -> None:
        """Count one piece; `note` is one short phrase."""


def make_console() -> Console:
    """A console on standard output; as wide as the terminal, or of a fixed width without one."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PLAIN_WIDTH)
    return console


@contextmanager
def progress(console: Console, what: str, total: int) -> Iterator[Advance]:
    """A bar over `total` pieces on a terminal, one line for each piece elsewhere."""
    if not console.is_terminal:
        done = 0

        def say(note: str) -> None:
            nonlocal done
            done += 1
            console.print(f"{what} {done}/{total}  {note}")

        yield say
        return

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda note: bar.update(task, advance=1, note=note)
