"""What became of a run: written by whoever saw it, believed only as far as the lock agrees."""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from trainctl.run import files
from trainctl.run.lock import is_locked
from trainctl.run.rundir import RunDir

State = Literal["queued", "running", "done", "failed", "timeout", "oom", "interrupted"]

# states of a run that ended by itself, without success; "interrupted" means that somebody or something ended it
FAILED: tuple[State, ...] = ("failed", "timeout", "oom")


@dataclass(frozen=True, slots=True)
class Status:
    """The content of `status.yaml`. Times are Unix seconds; the file shows them as local ISO 8601 times.

    `state` is the writer's word. Ask `state_of` for what is true: a "running" whose lock is free was killed.
    """

    state: State
    attempt: int = 1
    slot: str | None = None
    pid: int | None = None
    pid_started: int | None = None  # clock ticks after boot, field 22 of /proc/PID/stat: tells a reused pid apart
    boot_id: str | None = None
    host: str | None = None
    started: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    signal: str | None = None
    reason: str | None = None
    commands: dict[str, dict[str, Any]] | None = None  # of a pipeline: state, exit code and times of each

    @classmethod
    def running_here(cls, *, attempt: int, slot: str | None) -> Status:
        """Return the status of a run that starts now in this process."""
        return cls(
            state="running",
            attempt=attempt,
            slot=slot,
            pid=os.getpid(),
            pid_started=process_started(os.getpid()),
            boot_id=boot_id(),
            host=socket.gethostname(),
            started=time.time(),
        )

    def end(self, state: State, *, after_s: float | None = None, **fields: Any) -> Status:
        """Return this status, ended `after_s` seconds after its start; now, but never before its start, if None.

        The wall clock may have been set since the start: a duration that was measured otherwise counts more.
        """
        started = self.started or 0.0
        ended = max(time.time(), started) if after_s is None else started + after_s
        return dataclasses.replace(self, state=state, ended=ended, commands=_ended(self.commands), **fields)

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end; None before the end."""
        return None if self.started is None or self.ended is None else self.ended - self.started


def _ended(commands: dict[str, dict[str, Any]] | None) -> dict[str, dict[str, Any]] | None:
    """Return the commands of a run that has ended: what still was running was interrupted."""
    if commands is None:
        return None
    return {
        name: {**record, "state": "interrupted"} if record.get("state") == "running" else record
        for name, record in commands.items()
    }


def write_status(run: RunDir, status: Status) -> None:
    """Write `status.yaml`, leaving out what is not known.

    That a run is running need not outlast the machine: nobody believes it without the lock.
    """
    record = {key: value for key, value in dataclasses.asdict(status).items() if value is not None}
    for key in ("started", "ended"):
        if key in record:
            record[key] = format_time(record[key])
    files.write_yaml(run.status, record, durable=status.state != "running")


def read_status(run: RunDir) -> Status | None:
    """Read `status.yaml`; None when there is none, unknown fields passed over."""
    record = files.read_mapping(run.status)
    if "state" not in record:
        return None
    known = {field.name for field in dataclasses.fields(Status)}
    record = {key: value for key, value in record.items() if key in known}
    for key in ("started", "ended"):
        if key in record:
            record[key] = parse_time(record[key])
    return Status(**record)


def state_of(run: RunDir) -> State:
    """Tell what is true of a run, by evidence: the lock first, then what was written at its start and its end.

    A locked run whose status does not say "running" waits for its start (or is just ending).
    """
    was_alive = is_locked(run.lock)
    status = read_status(run)
    if status is None:
        return "queued"
    if status.state == "running" and not was_alive and not is_locked(run.lock):  # it may have begun since we looked
        return "interrupted"
    return status.state


def format_time(seconds: float) -> str:
    """Write a time as local ISO 8601 with microseconds and offset."""
    from datetime import datetime

    return datetime.fromtimestamp(seconds).astimezone().isoformat()


def parse_time(text: Any) -> float | None:
    """Read what `format_time` wrote; None for anything else."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None


@cache
def boot_id() -> str | None:
    """Return the kernel's id of this boot; None where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def process_started(pid: int) -> int | None:
    """Return when a process started, in clock ticks after boot; None when it is gone or the system does not say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])
