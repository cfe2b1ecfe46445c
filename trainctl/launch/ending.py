"""What is written down for a job that could not do so itself."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from trainctl.run.attempt import take_lock
from trainctl.run.rundir import RunDir
from trainctl.run.status import read_status, write_status

_TAIL_BYTES = 4096
_TAIL_LINES = 8


def describe_exit(status: int) -> str:
    """Say how a process ended, from its wait status.

    >>> describe_exit(9), describe_exit(3 << 8)
    ('was killed by SIGKILL (9)', 'exited with code 3 without an answer')
    """
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"was killed by {signal.Signals(number).name} ({number})"
    return f"exited with code {os.waitstatus_to_exitcode(status)} without an answer"


def record_death(run: RunDir, pid: int | None, status: int, reason: str, *, ended_by_us: bool) -> str:
    """Write into `status.yaml` how a run ended that left "running" there, and return the last lines of its log.

    A run that was ended on request is `interrupted`, any other `failed`. Left alone when another process has taken the run
    over meanwhile, or when the disk takes no more: then the free lock alone tells that it does not run.
    """
    try:
        lock = take_lock(run)
    except OSError:
        return last_lines(run.log)
    try:
        written = read_status(run)
        if written is not None and written.state == "running" and written.pid == pid:
            killed_by = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None
            exit_code = None if killed_by else os.waitstatus_to_exitcode(status)
            state = "interrupted" if ended_by_us else "failed"
            write_status(run, written.end(state, exit_code=exit_code, signal=killed_by, reason=reason))
    except OSError:
        return last_lines(run.log)
    finally:
        lock.release()
    return last_lines(run.log)


def last_lines(path: Path) -> str:
    """Return the last lines of a text file; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_TAIL_LINES:])
