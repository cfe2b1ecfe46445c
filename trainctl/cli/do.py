"""`trainctl do` asks a training loop for something, also to stop; `trainctl stop` ends processes of a run or sweep."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from trainctl.cli import terminal
from trainctl.cli.place import ROOT, RunArgument, find_run, shown
from trainctl.cli.request import REFUSAL_S, parse_pairs
from trainctl.cli.terminal import Column, print_grid
from trainctl.config import yaml
from trainctl.errors import RunDirError
from trainctl.launch import registry
from trainctl.launch.registry import Launcher, send_signal
from trainctl.rundir.events import LOOKS, wait_for_answer
from trainctl.rundir.inbox import file_request
from trainctl.rundir.lock import is_locked, is_open_in
from trainctl.rundir.paths import RunDir, find_runs
from trainctl.rundir.status import (
    ALIVE,
    OVER,
    Status,
    boot_id,
    is_of_this_user,
    note_stop,
    process_started,
    read_status,
    state_of,
)
from trainctl.rundir.summary import read_record


def do(
    run: RunArgument,
    action: Annotated[str | None, typer.Argument(help="The action's name; without it all actions are listed.")] = None,
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Its arguments.")] = None,
    at: Annotated[int | None, typer.Option(min=1, metavar="STEP", help="Do it at this step, not at the next.")] = None,
    note: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for the answer, and for the loop.")
    ] = 10.0,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="File the request and end.")] = False,
) -> None:
    """Ask a running run for an action at its next step: pause, resume, checkpoint, evaluate, stop, or one it declares.

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
    answer = wait_for_answer(run, request, wait_s if at is None else min(wait_s, REFUSAL_S))
    if answer is not None and answer.state == "applied" and answer.action in LOOKS:
        terminal.print_line(f"asked at step {answer.step}")
        return _report_loop(run, request, wait_s)
    if answer is not None and answer.state == "applied":
        terminal.print_line(f"done at step {answer.step}")
        return 0
    if answer is not None:
        return terminal.complain(f"rejected: {answer.reason}")
    state = state_of(run)
    if state not in ALIVE and (at is None or state in OVER):
        return terminal.complain(f"{shown(run)} has ended ({state}) without an answer; it was not done")
    if at is not None:
        terminal.print_line(f"waits for step {at:,}; `trainctl log` will tell what became of it")
        return 0
    return terminal.complain(
        f"no answer from {shown(run)} within {wait_s:g} s; the request is in its inbox and is done at its next step, "
        "or rejected when it ends (`trainctl log` will tell)"
    )


def _report_loop(run: RunDir, request: str, wait_s: float) -> int:
    """Wait until the training loop has done the action, print that, and return the exit code."""
    answer = wait_for_answer(run, request, wait_s, lambda event: bool(event.settled))
    if answer is not None and answer.done is not None:
        terminal.print_line(f"done at step {answer.done}")
        return 0
    reason = answer.reason if answer is not None else "its answer can no longer be read"
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


_POLL_S = 0.05
_AGENT_S = 40.0  # how long an agent on another node may take to see a file there, and the end of a run to be seen here
_KILL_S = 5.0  # how long the kernel may take for a process that was killed


def stop(
    place: Annotated[str, typer.Argument(metavar="SWEEP_OR_RUN", help="A sweep dir, a run dir, or a name of one.")],
    now: Annotated[bool, typer.Option("--now", help="A sweep: end its running jobs too.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="A sweep: wait until its launcher has ended.")] = False,
    grace: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="A run: how long it may take before it is killed.")
    ] = 10.0,
) -> None:
    """Stop a sweep: no more jobs start, and running ones may finish (a second stop, or --now, ends them).

    Wherever its launcher and its jobs run: a launcher on another machine that shares the disk is asked by a file.

    Stop a run: all of its processes get SIGTERM, and are killed if they do not end. Its launcher goes on.
    A run on Slurm or Ray is ended by the agent on its node, from wherever this is said.
    `trainctl do RUN stop` asks its training loop to end by itself instead.
    """
    directory = _sweep_dir(place)
    if directory is None:
        raise typer.Exit(_stop_run(find_run(place), grace))
    launchers = registry.find(directory)
    if not launchers:
        raise typer.Exit(terminal.complain(_nothing_works_in(directory)))
    codes = [_stop_launcher(launcher, directory, now) for launcher in launchers]
    while wait and not any(codes) and {each.pid for each in registry.find(directory)} & {one.pid for one in launchers}:
        time.sleep(_POLL_S)
    raise typer.Exit(max(codes))


def _sweep_dir(place: str) -> Path | None:
    """Return a sweep dir given as a path or below outputs/; None if it is a run dir or does not exist."""
    for path in (Path(place), ROOT / place):
        if place and path.is_dir() and not RunDir.at(path).is_run():
            return path
        if path.exists():
            return None
    return None


def _nothing_works_in(directory: Path) -> str:
    running = [run for run in find_runs(directory) if state_of(run) in ALIVE]
    hint = (
        f"; it has running runs, each of which can be stopped: {', '.join(map(shown, running[:10]))}" if running else ""
    )
    return f"no launcher works in {directory}, so there is nothing to stop{hint}"


def _stop_launcher(launcher: Launcher, directory: Path, now: bool) -> int:
    """Signal one launcher, say what happens, and return the exit code."""
    running = sum(state_of(run) in ALIVE for run in find_runs(directory))
    jobs = "1 running job" if running == 1 else f"{running} running jobs"
    process = f"process {launcher.pid}" if launcher.is_here else f"process {launcher.pid} of {launcher.host}"
    number = signal.SIGTERM if now else signal.SIGINT
    try:
        was_there = launcher.signal(number) if launcher.is_here else _ask(launcher, number)
    except PermissionError as error:
        raise RunDirError(f"the launcher of {directory} ({process}) belongs to another user") from error
    except OSError as error:
        return terminal.complain(f"{process} cannot be asked to stop: {error.strerror or error}")
    if was_there is None:
        return terminal.complain(f"{process} was asked to stop, and has not answered within {_AGENT_S:g} s")
    if not was_there:
        terminal.print_line(f"the launcher of {directory} ({process}) has just ended")
    elif now:
        terminal.print_line(f"{process} ends its {jobs}; the same command resumes the sweep")
    else:
        again = f"`trainctl stop --now {shlex.quote(str(directory))}`"
        terminal.print_line(f"{process} starts no more jobs and lets its {jobs} finish; {again} ends them")
    return 0


def _ask(launcher: Launcher, number: signal.Signals) -> bool | None:
    """Ask a launcher on another machine; return whether it was there, or None if it does not answer."""
    launcher.ask(number)
    deadline = time.monotonic() + _AGENT_S
    while launcher.is_asked:
        if launcher not in registry.find(launcher.path.parents[2]):
            return False
        if time.monotonic() >= deadline:
            return None
        time.sleep(_POLL_S)
    return True


def _stop_run(run: RunDir, grace_s: float) -> int:
    """End a run, wait until it has ended, and return the exit code."""
    status, state = read_status(run), state_of(run)
    if state not in ALIVE or status is None or status.pid is None:
        return terminal.complain(f"{shown(run)} is not running ({state}); nothing was stopped")
    pid = status.pid
    if status.engine is not None:
        return _have_stopped(run, status, grace_s)
    is_here = status.host == socket.gethostname() and status.boot_id == boot_id()
    if not is_here or process_started(pid) != status.pid_started:
        return terminal.complain(
            f"{shown(run)} is process {pid} of {status.host}, which does not run here; stop it there"
        )
    if not is_open_in(pid, run.lock):
        return terminal.complain(
            f"status.yaml of {shown(run)} names process {pid}, which does not hold its run.lock; nothing was stopped"
        )
    if not is_of_this_user(pid):
        return terminal.complain(f"{shown(run)} belongs to another user (process {pid}); nothing was stopped")
    with contextlib.suppress(OSError):  # a full disk must not keep a run running
        note_stop(run, status)
    try:
        # what no launcher started shares its process group with what a person has started beside it
        for number in (
            (signal.SIGTERM,) if _has_group(status) or _ignores_sigint(pid) else (signal.SIGINT, signal.SIGTERM)
        ):
            _signal(status, number)
            if _is_over(run, status, grace_s):
                terminal.print_line(f"{shown(run)} was stopped (process {pid})")
                return 0
        _signal(status, signal.SIGKILL)
    except PermissionError:
        return terminal.complain(f"{shown(run)} belongs to another user (process {pid}); nothing was stopped")
    if not _is_over(run, status, _KILL_S):
        return terminal.complain(f"{shown(run)} (process {pid}) was killed, but the kernel has not ended it yet")
    terminal.print_line(f"{shown(run)} did not end within {grace_s:g} s and was killed (process {pid})")
    return 0


def _have_stopped(run: RunDir, status: Status, grace_s: float) -> int:
    """Have the agent beside a run end it, wait for that, and return the exit code."""
    what = f"{shown(run)} (process {status.pid} of {status.host}, {status.engine})"
    try:
        note_stop(run, status, grace_s)
    except OSError as error:
        return terminal.complain(f"{what} cannot be asked to stop: {error.strerror or error}")
    if not _is_over(run, status, grace_s + _AGENT_S):
        return terminal.complain(f"{what} was asked to stop, and has not ended within {grace_s + _AGENT_S:g} s")
    terminal.print_line(f"{what} was stopped")
    return 0


def _ignores_sigint(pid: int) -> bool:
    """Whether a process ignores Ctrl-C, as if started with `&` by a shell without job control."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
        ignored = next(line for line in text.splitlines() if line.startswith("SigIgn:"))
        return bool(int(ignored.split()[1], 16) >> (signal.SIGINT - 1) & 1)
    except (OSError, StopIteration, ValueError, IndexError):
        return False


def _has_group(status: Status) -> bool:
    """Whether the run is a job of a slot launcher, which leads its own process group."""
    try:
        return status.slot is not None and status.pid is not None and os.getpgid(status.pid) == status.pid
    except ProcessLookupError:
        return False


def _signal(status: Status, number: signal.Signals) -> None:
    assert status.pid is not None
    if _has_group(status) and process_started(status.pid) == status.pid_started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(status.pid, number)
    else:
        send_signal(status.pid, status.pid_started, number)


def _is_over(run: RunDir, status: Status, seconds: float) -> bool:
    """Wait until the attempt has ended or the time is over; return whether it has ended."""
    deadline = time.monotonic() + seconds
    while is_locked(run.lock):
        latest = read_status(run)
        if latest is not None and latest.attempt != status.attempt:
            return True  # another attempt has begun since
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
