"""`trainctl sync`: what a tracker has not got of a run yet."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from trainctl.cli import terminal
from trainctl.cli.place import RunArgument, find_run, shown
from trainctl.errors import SettingError
from trainctl.track.sync import sync as send
from trainctl.track.sync import trackers_of


def sync(
    name: RunArgument,
    to: Annotated[
        list[str] | None,
        typer.Option(help="mlflow, tensorboard or wandb; by default those of the run's trainctl.track. Repeatable."),
    ] = None,
) -> None:
    """Send to trackers what they have not got of a run: after a kill, or when a server was away."""
    run = find_run(name)
    names = to or (trackers_of(run) if os.path.lexists(run.changelog) else [])
    if not names:
        raise SettingError(f"{shown(run)} names no tracker in trainctl.track; say which with --to mlflow, say")
    has_failed = False
    for one in send(run, names):
        if one.problem is not None:
            has_failed = True
            terminal.complain(f"{one.tracker} has not got all of {shown(run)}: {one.problem}")
            continue
        what = (
            f"{one.sent.records} records, {one.sent.changes} edits" if any((one.sent.records, one.sent.changes)) else ""
        )
        where = f" ({one.address})" if one.address else ""
        terminal.print_line(f"{one.tracker}: {what or 'has everything already'}{where}")
    if has_failed:
        raise typer.Exit(1)
