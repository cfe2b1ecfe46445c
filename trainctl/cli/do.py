"""`trainctl do`: ask a running run to pause, resume, stop, take a checkpoint, or do what its task has declared."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from trainctl.cli import terminal
from trainctl.cli.grid import Column, print_grid
from trainctl.cli.place import RunArgument, find_run, shown
from trainctl.cli.request import parse_pairs
from trainctl.config import yaml
from trainctl.rundir.events import LOOKS, wait_for_answer
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import ALIVE, state_of
from trainctl.rundir.summary import read_record

_REFUSAL_S = 1.0  # how long to wait for a refusal of what is asked for a later step


def do(
    run: RunArgument,
    action: Annotated[str | None, typer.Argument(help="Its name; without one all are listed.")] = None,
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Its arguments.")] = None,
    at: Annotated[int | None, typer.Option(min=1, metavar="STEP", help="Do it at this step, not at the next.")] = None,
    note: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for the answer, and for the loop.")
    ] = 10.0,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="File the request and end.")] = False,
) -> None:
    """Let a running run do something at its next step: pause, resume, checkpoint, evaluate, stop, or what it declares.

    `stop` lets its training loop end by itself; `trainctl stop RUN` ends its processes.
    """
    found = find_run(run)
    if action is None:
        _list(found)
        return
    values = parse_pairs(arguments or [])
    state = state_of(found)
    if state not in ALIVE:
        raise typer.Exit(terminal.complain(f"{shown(found)} is not running ({state}); nothing was done"))
    request = file_request(found, {}, via="cli", note=note, at=at, action=action, arguments=values)
    if no_wait:
        terminal.print_line(f"filed as {request}; `trainctl log` will tell what became of it")
        return
    raise typer.Exit(_report(found, request, wait, at))


def _report(run: RunDir, request: str, wait_s: float, at: int | None) -> int:
    """Wait for the answer, print it, and return the exit code."""
    answer = wait_for_answer(run, request, wait_s if at is None else min(wait_s, _REFUSAL_S))
    if answer is not None and answer.state == "applied" and answer.action in LOOKS:
        terminal.print_line(f"asked at step {answer.step}")
        return _report_loop(run, request, wait_s)
    if answer is not None and answer.state == "applied":
        terminal.print_line(f"done at step {answer.step}")
        return 0
    if answer is not None:
        return terminal.complain(f"rejected: {answer.reason}")
    state = state_of(run)
    if state not in ALIVE:
        return terminal.complain(f"{shown(run)} has ended ({state}) without an answer; it was not done")
    if at is not None:
        terminal.print_line(f"waits for step {at}; `trainctl log` will tell what became of it")
        return 0
    return terminal.complain(
        f"no answer from {shown(run)} within {wait_s:g} s; the request lies in its inbox and is done at its next step, "
        "or rejected when it ends (`trainctl log` will tell)"
    )


def _report_loop(run: RunDir, request: str, wait_s: float) -> int:
    """Wait until the training loop has done what it was asked, print that, and return the exit code."""
    answer = wait_for_answer(run, request, wait_s, lambda event: bool(event.settled))
    if answer is not None and answer.done is not None:
        terminal.print_line(f"done at step {answer.done}")
        return 0
    reason = answer.reason if answer is not None else "its answer cannot be read any more"
    if state_of(run) not in ALIVE or (answer is not None and answer.settled):
        return terminal.complain(f"not done: {reason}")
    return terminal.complain(f"not done within {wait_s:g} s: {reason} (`trainctl log` will tell when it is)")


def _list(run: RunDir) -> None:
    known = read_record(run, "actions").get("actions")
    if not isinstance(known, dict) or not known:
        raise typer.Exit(
            terminal.complain(f"{shown(run)} takes no actions: its task has not called trainctl.live(cfg)")
        )
    rows = [(str(name), record if isinstance(record, dict) else {}) for name, record in known.items()]
    print_grid([
        Column("action", [name for name, _ in rows]),
        Column("arguments", [_arguments(record.get("arguments")) for _, record in rows]),
        Column("what it does", [str(record.get("help") or "") for _, record in rows]),
    ])  # fmt: skip


def _arguments(arguments: Any) -> str:
    """Write the arguments of an action: `n=4 mode=fast|slow text=STR`."""
    if not isinstance(arguments, dict):
        return ""
    return " ".join(f"{name}={_value(record)}" for name, record in arguments.items() if isinstance(record, dict))


def _value(record: dict[str, Any]) -> str:
    if "choices" in record:
        return "|".join(yaml.inline(choice) for choice in record["choices"])
    return yaml.inline(record["default"]) if "default" in record else str(record.get("type")).upper()
