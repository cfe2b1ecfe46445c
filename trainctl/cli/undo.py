"""`trainctl undo` and `trainctl cancel`: undo an applied edit, or cancel a waiting request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from trainctl.cli import terminal
from trainctl.cli.place import RunArgument, shown
from trainctl.cli.request import AtOption, NoteOption, NoWaitOption, WaitOption, keys_of_run, running, tell
from trainctl.config import yaml
from trainctl.config.masking import Masking
from trainctl.rundir.edits import read_changelog
from trainctl.rundir.events import Event, read_events, wait_for_answer
from trainctl.rundir.inbox import file_request
from trainctl.rundir.masked import masking_of, texts
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import ALIVE, state_of
from trainctl.rundir.waiting import WaitingRequest, to_cancel, waiting
from trainctl.session.actions import said


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
    """Restore the values that the keys of an edit had before it. The undo is an edit, too, and can be undone."""
    found = running(run)
    request = file_request(found, {}, via="cli", note=note, at=at, force=force, undo=True if seq is None else seq)
    raise typer.Exit(tell(found, request, wait_s=None if no_wait else wait, at=at, shows_values=True))


@dataclass(frozen=True, slots=True)
class Waits:
    """A waiting request as it is shown, with secrets masked.

    Attributes:
        number: for `trainctl cancel`.
        asked: `lr=0.2`, `pause`.
        until: what it waits for: `for step 5,000`.
    """

    number: int
    asked: str
    until: str
    who: str | None
    via: str | None
    t: float | None


def cancel(
    run: RunArgument,
    number: Annotated[int, typer.Argument(min=1, help="The request's number, as `trainctl log` shows it.")],
    note: NoteOption = None,
    wait: WaitOption = 10.0,
) -> None:
    """Cancel a request that waits for its step, its epoch or a checkpoint."""
    found = running(run)
    waits = to_cancel(read_events(found), number)
    (told,) = _told(found, [waits], masking_of(found, read_changelog(found)))
    request = file_request(found, {}, via="cli", note=note, cancel=waits.event.id)
    answer = wait_for_answer(found, request, wait)
    if answer is None:
        raise typer.Exit(
            terminal.complain(
                f"no answer from {shown(found)} within {wait:g} s; the request is cancelled at the run's next step, "
                "unless that comes too late (`trainctl log` will tell)"
            )
        )
    if answer.state == "rejected":
        raise typer.Exit(terminal.complain(f"not cancelled: {answer.reason}"))
    terminal.print_line(f"cancelled at step {answer.step}: {told.asked}, which waited {told.until}")


def what_waits(run: RunDir, events: Sequence[Event], masking: Masking) -> list[Waits]:
    """Return the waiting requests of a run, in order."""
    return _told(run, waiting(events, is_alive=state_of(run) in ALIVE), masking)


def _told(run: RunDir, found: Sequence[WaitingRequest], masking: Masking) -> list[Waits]:
    keys, told = keys_of_run(run), []
    for each in found:
        event = each.event
        asked = ", ".join(f"{key}={_written(masking.value(key, value))}" for key, value in (event.edits or {}).items())
        undo = "undo of the last edit" if event.undo is True else f"undo of edit {event.undo}" if event.undo else ""
        action = "" if event.action is None else said(event.action, event.arguments or {})
        what = str(texts(masking, action or undo)) if action or undo else asked
        told.append(Waits(each.number, what, each.until(keys), event.who, event.via, event.t))
    return told


def _written(value: object) -> str:
    return value if isinstance(value, str) else yaml.inline(value)
