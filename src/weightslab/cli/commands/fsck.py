"""`weightslab fsck`: is a run folder whole, and if not, what can be done."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weightslab.errors import FolderError

if TYPE_CHECKING:
    from rich.console import Console

    from weightslab.maintenance.repair import Repaired
    from weightslab.maintenance.report import Finding, Report
    from weightslab.maintenance.tree import Tree

__all__ = ["fsck"]

_SHOWN = 20
"""Most lines of one kind."""
_LARGE = 200
"""Files from which on the progress of a check is shown."""


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--repair",
    "mend",
    is_flag=True,
    help="Move what is damaged to _damaged inside the folder, remove what a killed process left "
    "over, turn logs into files, and check again. A living run is left alone.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def fsck(context: click.Context, run_dir: Path, mend: bool, as_json: bool) -> None:
    """Check every file of the run folder RUN_DIR to its last byte.

    Exits with 0 when nothing is wrong, 1 when something is (or is left after --repair), 2 when
    RUN_DIR is no run folder. Without --repair nothing is changed, and the run may be living.
    """
    from weightslab.cli.output import make_console
    from weightslab.maintenance.check import check, open_tree
    from weightslab.maintenance.repair import repair

    console = make_console()
    with contextlib.ExitStack() as bars:

        def on_tree(tree: Tree) -> Callable[[str], None]:
            return bars.enter_context(_files(console, len(tree.entries), quiet=as_json))

        try:
            done = repair(run_dir, on_tree=on_tree) if mend else None
            bars.close()
            tree = open_tree(run_dir)
            report = check(tree, on_file=on_tree(tree)).report
        except FolderError as error:
            raise click.UsageError(str(error)) from error
    failed = bool(report.problems or (done is not None and done.failed))
    if as_json:
        repaired = None if done is None else done.to_dict()
        click.echo(json.dumps({**report.to_dict(), "repair": repaired}, indent=1))
    else:
        if done is not None:
            _tell_repair(console, done)
        _tell(console, report, mended=mend)
    context.exit(int(failed))


@contextmanager
def _files(console: Console, total: int, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Progress over the files of a large folder; none for a small one or beside JSON."""
    from weightslab.cli.output import progress

    if quiet or total < _LARGE:
        yield lambda _: None
        return
    with progress(console, "file", total, every=-(-total // 10)) as advance:
        yield lambda _: advance("")


def _tell_repair(console: Console, done: Repaired) -> None:
    from weightslab.cli.output import say

    for action in done.actions:
        to = f" ({action.text})" if action.text else ""
        say(console, f"{action.verb}: {action.path}{to}")
    for text in done.failed:
        say(console, f"failed: {text}")
    if done.actions or done.failed:
        say(console, "")


def _tell(console: Console, report: Report, *, mended: bool) -> None:
    """Print a report: the folder, its writers, what was found by kind, and the verdict."""
    from weightslab.cli.output import counted, say, size
    from weightslab.maintenance.report import KINDS

    say(console, f"{report.root}: {counted(report.files, 'file')}, {size(report.size_bytes)}")
    for writer in report.writers:
        state = "living, checked while it writes" if writer.is_living else "closed"
        waiting = f", {counted(writer.waiting, 'record')} in the log" if writer.waiting else ""
        say(console, f"writer {writer.name}: {state}, {counted(writer.samples, 'sample')}{waiting}")
    for kind, (heading, *_) in KINDS.items():
        found = report.of(kind)
        if not found:
            continue
        held = sum(finding.size_bytes for finding in found)
        say(console, "")
        say(console, f"{heading} ({len(found)}{f', {size(held)}' if held else ''}):")
        for finding in found[:_SHOWN]:
            say(console, f"  {finding.path}: {finding.text}")
        if len(found) > _SHOWN:
            say(console, f"  ... and {len(found) - _SHOWN} more: --json lists them all")
    say(console, "")
    say(console, _verdict(report, mended=mended))


def _verdict(report: Report, *, mended: bool) -> str:
    from weightslab.cli.output import counted

    if not report.problems:
        return "clean: every file is whole" + _after(report.findings, mended=mended)
    verdict = counted(len(report.problems), "problem")
    if mended:
        return f"{verdict} left: a repair can do nothing about them"
    if not any(finding.mend for finding in report.problems):
        return verdict
    if report.living:
        return f"{verdict}: end the run, then --repair mends what can be mended"
    return f"{verdict}: --repair mends what can be mended, and deletes nothing that holds values"


def _after(findings: list[Finding], *, mended: bool) -> str:
    """What else may be said of a clean folder."""
    if mended or not any(finding.mend for finding in findings):
        return ""
    return "; --repair tidies up what a killed process left"
