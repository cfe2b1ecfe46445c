"""`trainctl undo`: take an edit of a running run back."""

from __future__ import annotations

from typing import Annotated

import typer

from trainctl.cli.place import RunArgument
from trainctl.cli.request import AtOption, NoteOption, NoWaitOption, WaitOption, running, tell
from trainctl.rundir.inbox import file_request


def undo(
    run: RunArgument,
    seq: Annotated[
        int | None,
        typer.Argument(min=1, help="The edit's number, as `trainctl log` shows it; the last one if not given."),
    ] = None,
    at: AtOption = None,
    note: NoteOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also if its keys were changed again since, or it is undone already.")
    ] = False,
    wait: WaitOption = 10.0,
    no_wait: NoWaitOption = False,
) -> None:
    """Give the keys of an edit the values that they had before it. That is an edit too, and can be undone."""
    found = running(run)
    request = file_request(found, {}, via="cli", note=note, at=at, force=force, undo=True if seq is None else seq)
    raise typer.Exit(tell(found, request, wait_s=None if no_wait else wait, at=at, shows_values=True))
