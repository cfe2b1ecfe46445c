"""`trainctl set`: ask a running run to change some of its keys, and tell what it answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from trainctl.cli import terminal
from trainctl.cli.place import RunArgument, find_run, shown
from trainctl.errors import EditError
from trainctl.run.events import wait_for_answer
from trainctl.run.inbox import file_request
from trainctl.run.rundir import RunDir
from trainctl.run.status import state_of


def set_keys(
    run: RunArgument,
    edits: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="New values, applied at one step.")],
    note: Annotated[str | None, typer.Option(help="Why, for the changelog.")] = None,
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for the answer.")] = 10.0,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="File the request and end.")] = False,
) -> None:
    """Change keys of a running run. All are applied at one step, or none; the exit code is 0 only if they were."""
    values = parse_pairs(edits)
    found = find_run(run)
    state = state_of(found)
    if state != "running":
        raise typer.Exit(terminal.complain(f"{shown(found)} is not running ({state}); nothing was changed"))
    request = file_request(found, values, via="cli", note=note)
    if no_wait:
        terminal.print_line(f"filed as {request}; `trainctl log` will tell what became of it")
        return
    raise typer.Exit(_report(found, request, wait))


def parse_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """Take `key=value` pairs apart at the first `=`.

    Raises:
        EditError: a pair without `=` or without a key, or a key given twice.

    >>> parse_pairs(["optim.lr=2e-4", "name=a=b"])
    {'optim.lr': '2e-4', 'name': 'a=b'}
    """
    values: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.strip():
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE, such as optim.lr=2e-4")
        if key.strip() in values:
            raise EditError(f"{key.strip()} was given twice; nothing was changed")
        values[key.strip()] = value
    return values


def _report(run: RunDir, request: str, wait_s: float) -> int:
    """Wait for the answer, print it, and return the exit code."""
    answer = wait_for_answer(run, request, wait_s)
    if answer is not None and answer.state == "applied":
        terminal.print_line(f"applied at step {answer.step}")
        return 0
    if answer is not None:
        return terminal.complain(f"rejected: {answer.reason}")
    state = state_of(run)
    if state != "running":
        return terminal.complain(f"{shown(run)} has ended ({state}) without an answer; the request was not applied")
    return terminal.complain(
        f"no answer from {shown(run)} within {wait_s:g} s; the request still lies in its inbox and is applied "
        "at its next step, or rejected when it ends (`trainctl log` will tell)"
    )
