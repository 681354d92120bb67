"""`weightslab demo`: train on digits with planted label errors, then show what stands out."""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weightslab.errors import FolderError

if TYPE_CHECKING:
    from rich.console import Console

    from weightslab.demo.digits import Digits
    from weightslab.demo.report import Suspect
    from weightslab.demo.thumbnails import Ink

__all__ = ["demo"]

_SHOWN = 8


def _named(_context: click.Context, _option: click.Parameter, out: str | None) -> Path | None:
    """--out as a path; an empty one (a variable that is not set?) would be this very folder."""
    if out == "":
        raise click.BadParameter("it names no folder; leave it away for a free one")
    if out is not None and out != out.encode(errors="replace").decode():
        raise click.BadParameter(f"{out!r} is no name that UTF-8 can hold")
    return None if out is None else Path(out)


@click.command()
@click.option(
    "--epochs", type=click.IntRange(min=1), default=15, show_default=True, help="Training epochs."
)
@click.option(
    "--out",
    callback=_named,
    metavar="DIR",
    help="Folder of the run. [default: the first free weightslab_runs/demo-<n>]",
)
@click.option(
    "--no-browser",
    is_flag=True,
    expose_value=False,
    help="Never open a browser. This version opens none, with or without it.",
)
def demo(epochs: int, out: Path | None) -> None:
    """Train a small network on 1,797 real digits, 5 % of them under a wrong label, and find those.

    Takes well under a minute on a laptop's CPU. The run folder stays and can be opened later.
    """
    from weightslab.cli.output import make_console, progress
    from weightslab.demo import digits as data

    digits = data.load()
    folder = _free_folder(out)
    console = make_console()
    planted = int(digits.planted.sum())
    console.print(
        f"{len(digits)} digits, {planted} of them under a wrong label. "
        f"Training a small network for {epochs} epoch{'s' * (epochs > 1)} ..."
    )
    started = time.perf_counter()
    from weightslab.demo import report, training

    try:
        with progress(console, "epoch", epochs) as advance:
            training.train(
                digits,
                folder,
                epochs=epochs,
                on_epoch=lambda loss: advance(f"mean loss {loss:.3f}"),
            )
    except KeyboardInterrupt:
        _echo(console, f"Interrupted: what was recorded so far is in {folder}")
        raise
    suspects = report.read(folder, digits)
    took_s = time.perf_counter() - started
    _show(console, digits, suspects)
    found = report.hits(suspects, planted)
    console.print(
        f"\n{found} of the {planted} planted errors are among the {planted} samples with the "
        f"highest mean loss ({took_s:.1f} s)."
    )
    _say_next(console, folder)


def _free_folder(out: Path | None) -> Path:
    """The folder to write to, made if need be.

    Raises:
        FolderError: it is a file, holds a run already or cannot be written.
    """
    if out is None:
        runs = Path("weightslab_runs")
        taken = {path.name for path in runs.iterdir()} if runs.is_dir() else set()
        out = next(runs / f"demo-{n}" for n in range(1, len(taken) + 2) if f"demo-{n}" not in taken)
    if out.exists() and not out.is_dir():
        raise FolderError(f"{out} is a file: --out takes a folder, new or empty")
    if (out / "ledger.json").exists():
        raise FolderError(f"{out} already holds a run: choose another folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(f"cannot make the folder {out}: {error.strerror}") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise FolderError(f"cannot write to {out}: choose another folder with --out")
    return out


def _show(console: Console, digits: Digits, suspects: list[Suspect]) -> None:
    """Print the most suspicious samples with their pictures."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from weightslab.demo.thumbnails import Ink, draw

    ink = _ink(console)
    table = Table(
        title="The samples that the network believes least",
        title_justify="left",
        box=box.ASCII if ink is Ink.ASCII else box.SIMPLE_HEAD,
        show_lines=True,
    )
    for heading in ("sample", "picture", "given", "learned", "mean loss", "planted error"):
        table.add_column(heading, justify="right" if heading == "mean loss" else "left")
    for suspect in suspects[:_SHOWN]:
        table.add_row(
            suspect.sample_id,
            Text.from_ansi(draw(digits.images[suspect.index], ink)),
            str(suspect.given),
            str(suspect.learned),
            f"{suspect.mean_loss:.3f}",
            f"yes, really {digits.true[suspect.index]}" if suspect.planted else "no",
        )
    console.print(table)


def _ink(console: Console) -> Ink:
    """The best ink that `console` shows."""
    from weightslab.demo.thumbnails import Ink

    if not console.encoding.lower().startswith("utf"):
        return Ink.ASCII
    coloured = console.is_terminal and console.color_system in {"256", "truecolor"}
    return Ink.COLOUR if coloured and not console.no_color else Ink.SHADES


def _say_next(console: Console, folder: Path) -> None:
    """Print where the run lies and what opens it, ready to be pasted into a shell."""
    from weightslab.demo.training import LOSS

    script = (
        "\nimport weightslab as wl\n"
        f'with wl.Session({_literal(console, str(folder))}, mode="r"):\n'
        "    print(wl.samples())\n"
        f"    print(wl.history({_literal(console, LOSS)}))"
    )
    _echo(console, f"\nThe run is in {folder}. Look into it:\n")
    _echo(console, f"python -c {shlex.quote(script)}")


def _literal(console: Console, text: str) -> str:
    """`text` as Python writes it, in characters that the console can show."""
    # Of JSON's escapes Python knows all but the pairs that stand for one character.
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted if _shown(console, quoted) == quoted else ascii(text)


def _echo(console: Console, line: str) -> None:
    """Print a line that holds a path: as it is, with no markup, emoji or tabs taken out of it."""
    click.echo(_shown(console, line))


def _shown(console: Console, text: str) -> str:
    return text.encode(console.encoding, "backslashreplace").decode(console.encoding)
