"""`trainctl stop`: end a sweep as Ctrl-C does, or one run."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import time
from pathlib import Path
from typing import Annotated

import typer

from trainctl.cli import terminal
from trainctl.cli.place import ROOT, find_run, shown
from trainctl.errors import RunDirError
from trainctl.launch import registry
from trainctl.launch.registry import Launcher, send_signal
from trainctl.rundir.finding import find_runs
from trainctl.rundir.lock import is_locked, is_open_in
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import (
    ALIVE,
    Status,
    boot_id,
    is_of_this_user,
    note_stop,
    process_started,
    read_status,
    state_of,
)

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
    """Stop a sweep: no job starts any more, and those that run are let finish (a second stop, or --now, ends them).

    Stop a run: all of its processes are told to end (SIGTERM), and killed if they do not. Its launcher goes on.
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
    """Return the directory that is meant, as a path or below outputs/; None if it is a run dir or does not exist."""
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
    """Signal one launcher, say what that means, and return the exit code."""
    if not launcher.is_here:
        return terminal.complain(
            f"the launcher of {directory} is process {launcher.pid} of {launcher.host}; stop it on that machine"
        )
    running = sum(state_of(run) in ALIVE for run in find_runs(directory))
    jobs = "1 running job" if running == 1 else f"{running} running jobs"
    try:
        was_there = launcher.signal(signal.SIGTERM if now else signal.SIGINT)
    except PermissionError as error:
        raise RunDirError(f"the launcher of {directory} (process {launcher.pid}) belongs to another user") from error
    if not was_there:
        terminal.print_line(f"the launcher of {directory} (process {launcher.pid}) has just ended")
    elif now:
        terminal.print_line(f"process {launcher.pid} ends its {jobs}; the same command resumes the sweep")
    else:
        again = f"`trainctl stop --now {shlex.quote(str(directory))}`"
        terminal.print_line(f"process {launcher.pid} starts no more jobs and lets its {jobs} finish; {again} ends them")
    return 0


def _stop_run(run: RunDir, grace_s: float) -> int:
    """End a run, wait for that, and return the exit code."""
    status, state = read_status(run), state_of(run)
    if state not in ALIVE or status is None or status.pid is None:
        return terminal.complain(f"{shown(run)} is not running ({state}); nothing was stopped")
    pid = status.pid
    if status.engine is not None:
        return _have_stopped(run, status, grace_s)
    is_here = status.host == socket.gethostname() and status.boot_id == boot_id()
    if not is_here or process_started(pid) != status.pid_started:
        return terminal.complain(f"{shown(run)} is process {pid} of {status.host}, which is not here; stop it there")
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
    """Whether a process ignores Ctrl-C, as one does that a shell without job control has started with `&`."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
        ignored = next(line for line in text.splitlines() if line.startswith("SigIgn:"))
        return bool(int(ignored.split()[1], 16) >> (signal.SIGINT - 1) & 1)
    except (OSError, StopIteration, ValueError, IndexError):
        return False


def _has_group(status: Status) -> bool:
    """Whether the run is a job of a slot launcher, so that it leads a process group of its own."""
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
    """Wait until the attempt has ended, at most so long; say whether it has."""
    deadline = time.monotonic() + seconds
    while is_locked(run.lock):
        latest = read_status(run)
        if latest is not None and latest.attempt != status.attempt:
            return True  # another attempt has begun since
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
