"""Who asked that a run be ended, so that its launcher neither takes it for a crash nor tries it again."""

from __future__ import annotations

import time

from trainctl.run import files
from trainctl.run.inbox import user
from trainctl.run.rundir import RunDir
from trainctl.run.status import Status, format_time, read_status


def note_stop(run: RunDir, status: Status) -> None:
    """Write down, before it is done, that the user of this process ends the attempt which that status is about.

    Raises:
        OSError: the run dir cannot be written.
    """
    record = {"attempt": status.attempt, "pid": status.pid, "who": user(), "at": format_time(time.time())}
    files.write_yaml(run.stop, record)


def stopped_by(run: RunDir) -> str | None:
    """Return who asked for the end of the run's latest attempt; None when nobody did."""
    record = files.read_mapping(run.stop)
    status = read_status(run)
    if not record or status is None or (record.get("attempt"), record.get("pid")) != (status.attempt, status.pid):
        return None
    return str(record.get("who"))
