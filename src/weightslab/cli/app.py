"""The `weightslab` command: finds the command that was asked for and reports errors in one line."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from weightslab._version import __version__
from weightslab.errors import WeightsLabError

__all__ = ["app", "main"]

_COMMANDS = {
    "compact": (
        "weightslab.cli.commands.compact:compact",
        "Merge the files of a run folder, or make an archive of it.",
    ),
    "copy": (
        "weightslab.cli.commands.copy:copy",
        "Copy a run folder to another folder or to S3, or back.",
    ),
    "fsck": (
        "weightslab.cli.commands.fsck:fsck",
        "Check every file of a run folder, and mend what can be mended.",
    ),
    "demo": (
        "weightslab.cli.commands.demo:demo",
        "Train a small network on digits with planted label errors, and find them.",
    ),
}
"""Command -> where it lives and its line of help, so that `--help` loads no command."""

_INTERRUPTED = 130  # what a shell reports for a process that SIGINT ended


class _LazyGroup(click.Group):
    """Loads a command when it runs; an unknown one is answered with the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][1]) for name in self.list_commands(ctx)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            raise click.UsageError(_unknown_command(args[0]), ctx)
        return super().resolve_command(ctx, args)


def _unknown_command(given: str) -> str:
    near = difflib.get_close_matches(given, _COMMANDS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"no command {given!r}: {hint}known commands: {', '.join(sorted(_COMMANDS))}"


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="weightslab")
def app() -> None:
    """WeightsLab: see, while a PyTorch model trains, what every sample does."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    try:
        code = app.main(args, prog_name="weightslab", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(_INTERRUPTED)
    except WeightsLabError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output (head, less) went away: nothing is left to say.
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    # Without standalone mode click returns the code of --help and --version instead of exiting.
    sys.exit(code if isinstance(code, int) else 0)
