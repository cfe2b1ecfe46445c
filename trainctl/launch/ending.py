"""What is written down for a job that could not do so itself."""

from __future__ import annotations

import os
from pathlib import Path

from trainctl.launch.verdict import Failure, signal_name
from trainctl.run.reservation import take_lock
from trainctl.run.rundir import RunDir
from trainctl.run.status import read_status, write_status

_TAIL_BYTES = 4096
_TAIL_LINES = 8


def record_failure(run: RunDir, pid: int | None, status: int, failure: Failure, after_s: float | None = None) -> None:
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
                    after_s=after_s,
                    exit_code=None if killed else os.waitstatus_to_exitcode(status),
                    signal=signal_name(os.WTERMSIG(status)) if killed else None,
                    reason=failure.reason,
                ),
            )
    except OSError:
        return
    finally:
        lock.release()


def is_done_by(path: Path | None, pid: int | None) -> bool:
    """Say whether a process has written down, before it ended, that its run is done."""
    status = None if path is None else read_status(RunDir.at(path))
    return status is not None and status.state == "done" and status.pid == pid


def last_lines(path: Path) -> str:
    """Return the last lines of a text file; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_TAIL_LINES:])
