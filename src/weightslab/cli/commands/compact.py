"""`weightslab compact`: many small files of a run become few large ones."""

from __future__ import annotations

import warnings
from pathlib import Path

import click

from weightslab.errors import FolderError, WeightsLabWarning

__all__ = ["compact"]


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--archive",
    is_flag=True,
    help="One file of each signal, experiment and writer, sorted by sample and compressed harder; "
    "curves beyond a million points stay a few.",
)
@click.pass_context
def compact(context: click.Context, run_dir: Path, archive: bool) -> None:
    """Merge the files of the run folder RUN_DIR.

    A living run merges its files by itself; this is for runs that are over, and for archives.
    Nothing is lost when it is interrupted. Exits with 1 when something could not be merged.
    """
    from weightslab.cli.output import counted, make_console, say, size
    from weightslab.maintenance.compact import compact as merge

    console = make_console()

    def merged(path: Path) -> None:
        if console.is_terminal:
            say(console, f"merged {path.relative_to(run_dir)}")

    try:
        with warnings.catch_warnings():
            # Said below, with everything else.
            warnings.simplefilter("ignore", WeightsLabWarning)
            done = merge(run_dir, archive=archive, on_merge=merged)
    except FolderError as error:
        raise click.UsageError(str(error)) from error
    say(
        console,
        f"{counted(done.merges, 'merge')}: {counted(done.files_before, 'file')}, "
        f"{size(done.bytes_before)} before, {counted(done.files, 'file')}, {size(done.bytes)} now",
    )
    for writer in done.living:
        say(console, f"writer {writer} is at work: it merges its files by itself")
    for text in done.notices:
        say(console, text)
    context.exit(int(bool(done.refused)))
