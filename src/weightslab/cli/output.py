"""How commands speak: a console that suits its output, progress with and without a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Advance", "counted", "make_console", "progress", "say", "size"]

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


def say(console: Console, line: str) -> None:
    """Print a line that holds a path: as it is, in characters that the console can show.

    No markup, emoji or tabs are taken out of it, and a name cannot steer the terminal.
    """
    safe = "".join(c if c.isprintable() else _escaped(c) for c in line)
    click.echo(safe.encode(console.encoding, "backslashreplace").decode(console.encoding))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def counted(number: int, what: str) -> str:
    """A number and what it counts: "1 file", "2 files"."""
    return f"{number} {what}{'s' * (number != 1)}"


def size(size_bytes: int) -> str:
    """A size for people: "312 bytes", "4.2 kB"."""
    amount = float(size_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


@contextmanager
def progress(console: Console, what: str, total: int, *, every: int = 1) -> Iterator[Advance]:
    """A bar over `total` pieces on a terminal, one line for each `every`-th piece elsewhere."""
    if not console.is_terminal:
        done = 0

        def say(note: str) -> None:
            nonlocal done
            done += 1
            if done % every == 0 or done == total:
                console.print(f"{what} {done}/{total}  {note}", markup=False)

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
