"""What is written down for a job that could not do so itself."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from trainctl.launch.verdict import Failure
from trainctl.run.attempt import take_lock
from trainctl.run.rundir import RunDir
from trainctl.run.status import read_status, write_status

_TAIL_BYTES = 4096
_TAIL_LINES = 8


def record_failure(run: RunDir, pid: int | None, status: int, failure: Failure) -> None:
    """Write into `status.yaml` why a run failed, unless the run itself has written something better.

    Left alone when another process has taken the run over meanwhile, or when the disk takes no more: then the free lock
    alone tells that it does not run.
    """
    try:
        lock = take_lock(run)
    except OSError:
        return
    try:
        written = read_status(run)
        if written is None or written.pid != pid or written.state == "done":
            return
        if written.state == "running" or failure.cause in ("timeout", "interrupted"):
            killed = os.WIFSIGNALED(status)
            write_status(
                run,
                written.end(
                    failure.state,
                    exit_code=None if killed else os.waitstatus_to_exitcode(status),
                    signal=signal.Signals(os.WTERMSIG(status)).name if killed else None,
                    reason=failure.reason,
                ),
            )
    except OSError:
        return
    finally:
        lock.release()


def last_lines(path: Path) -> str:
    """Return the last lines of a text file; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_TAIL_LINES:])
