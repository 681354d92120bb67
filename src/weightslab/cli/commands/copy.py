"""`weightslab copy`: a closed run folder to another folder or to S3, or back."""

from __future__ import annotations

import click

__all__ = ["copy"]


@click.command()
@click.argument("source")
@click.argument("target")
def copy(source: str, target: str) -> None:
    """Copy the closed run SOURCE to TARGET, a new or empty place.

    Both are folders, or s3://bucket/path. Credentials, region and endpoint of S3 come from the
    environment (AWS_ACCESS_KEY_ID, ...) or the query of the URI: ?region=..&endpoint_override=..

    A copy that was stopped is no run yet; the same command goes on with it.
    """
    from weightslab.cli.output import counted, make_console, progress, say, size
    from weightslab.maintenance.copy import carry_out, plan_copy

    if not source or not target:
        raise click.UsageError("SOURCE and TARGET name a folder or s3://bucket/path, not nothing")
    plan = plan_copy(source, target)
    console = make_console()
    shown = plan.target.shown
    there = len(plan.files) - len(plan.missing)
    if plan.is_resumed:
        say(
            console,
            f"{shown} holds a copy that did not finish: {counted(there, 'file')} of "
            f"{len(plan.files)} are there, going on with the rest",
        )
    total = len(plan.missing)
    copied = 0
    try:
        with progress(console, "file", total, every=max(1, -(-total // 10))) as advance:

            def on_file(name: str) -> None:
                nonlocal copied
                copied += 1
                advance(size(plan.files[name].size_bytes))

            carry_out(plan, on_file)
    except KeyboardInterrupt:
        say(
            console,
            f"Interrupted: {counted(there + copied, 'file')} of {len(plan.files)} are in {shown}, "
            f"which is no run yet; the same command goes on with it",
        )
        raise
    held = sum(file.size_bytes for file in plan.files.values())
    say(console, f"{counted(len(plan.files), 'file')}, {size(held)}: {shown} is a run now")
