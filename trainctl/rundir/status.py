"""The status of a run and of its commands, believed only as far as the lock agrees, and who asked to stop it."""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from trainctl import text
from trainctl.rundir import files
from trainctl.rundir.fields import Fields, number, parse_time, shown, whole
from trainctl.rundir.inbox import user
from trainctl.rundir.lock import is_locked
from trainctl.rundir.paths import RunDir

State = Literal["queued", "running", "paused", "done", "stopped", "failed", "timeout", "oom", "interrupted"]
STATES: tuple[State, ...] = get_args(State)

# states of a run whose process lives: `paused` waits in `live.step()` until somebody lets it go on
ALIVE: tuple[State, ...] = ("running", "paused")

# states from which no other attempt goes on
OVER: tuple[State, ...] = ("done", "stopped")

# what a reader sees: the state of a run whose files are not valid cannot be told
Seen = Literal[State, "unreadable"]

# states of a run that ended by itself, without success; "stopped" means that a person ended this very run, with a value
# or without one, "interrupted" that its sweep, its machine or somebody unknown did
FAILED: tuple[State, ...] = ("failed", "timeout", "oom")


# set for the jobs of an agent: the cluster's job that gave it its devices, and the file with the agent's output
ENGINE, ENGINE_LOG = "TRAINCTL_ENGINE", "TRAINCTL_ENGINE_LOG"


@dataclass(frozen=True, slots=True)
class Status:
    """The content of `status.yaml`. Times are Unix seconds; the file shows them as local ISO 8601 times.

    `state` is as written; `state_of` returns the real one: a run that is `ALIVE` while its lock is free was killed.
    """

    state: State
    attempt: int = 1
    slot: str | None = None
    pid: int | None = None
    pid_started: int | None = None  # clock ticks after boot, field 22 of /proc/PID/stat: tells a reused pid apart
    boot_id: str | None = None
    host: str | None = None
    engine: str | None = None  # the cluster's job that gave the slot: `Slurm 1234_5`
    engine_log: str | None = None  # the cluster's file with the agent's output
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
            engine=os.environ.get(ENGINE) or None,
            engine_log=os.environ.get(ENGINE_LOG) or None,
            started=time.time(),
        )

    def end(self, state: State, *, after_s: float | None = None, **fields: Any) -> Status:
        """Return this status as ended, `after_s` seconds after its start; if None, now.

        The wall clock may have been set since the start: a duration that was measured otherwise counts more.
        """
        started = self.started or 0.0
        ended = max(time.time(), started) if after_s is None else started + after_s
        return dataclasses.replace(self, state=state, ended=ended, commands=_ended(self.commands), **fields)

    @property
    def has_returned(self) -> bool:
        """Whether the task has returned: it is done, or was stopped and ended by itself."""
        return self.state == "done" or (self.state == "stopped" and self.exit_code == 0)


def _ended(commands: dict[str, dict[str, Any]] | None) -> dict[str, dict[str, Any]] | None:
    """Return the commands of a run that has ended; a running command becomes interrupted."""
    if commands is None:
        return None
    return {
        name: {**record, "state": "interrupted"} if record.get("state") == "running" else record
        for name, record in commands.items()
    }


def write_status(run: RunDir, status: Status) -> None:
    """Write `status.yaml`, without unknown entries.

    That a run is running need not outlast the machine: nobody believes it without the lock. How it ended is written
    on a full disk too.
    """
    record = {key: value for key, value in dataclasses.asdict(status).items() if value is not None}
    for key in ("started", "ended"):
        if key in record:
            record[key] = format_time(record[key])
    is_over = status.state not in ALIVE
    files.write_yaml(run.status, record, durable=is_over, needs_no_room=is_over)


def read_status(run: RunDir, problems: list[str] | None = None) -> Status | None:
    """Read `status.yaml`; None when there is none, or it does not say which of the known states.

    Unknown fields are skipped, those of a wrong type left out; `problems` get the reasons.
    """
    known: list[str] = [] if problems is None else problems
    record = files.read_mapping(run.status, known, most=files.MOST_SMALL)
    if not record:
        return None
    name, state = run.status.name, record.get("state")
    if state not in STATES:
        known.append(
            f"{name}: state {shown(state)} is not a state" if "state" in record else f"{name}: it has no state"
        )
        return None
    said = Fields(record, name, known)
    commands = record.get("commands")
    return Status(
        state=state,
        attempt=said.whole("attempt") or 1,
        slot=said.text("slot"),
        pid=said.whole("pid"),
        pid_started=said.whole("pid_started"),
        boot_id=said.text("boot_id"),
        host=said.text("host"),
        engine=said.text("engine"),
        engine_log=said.text("engine_log"),
        started=said.moment("started"),
        ended=said.moment("ended"),
        exit_code=said.whole("exit_code"),
        signal=said.text("signal"),
        reason=said.text("reason"),
        commands=_commands(commands) if isinstance(commands, dict) else None,
    )


def _commands(records: dict[Any, Any]) -> dict[str, dict[str, Any]]:
    return {str(name): record for name, record in records.items() if isinstance(record, dict)}


def state_of(run: RunDir) -> Seen:
    """Return the real state of a run: from the lock first, then from what was written at its start and end.

    A locked run whose status does not say that it is alive waits for its start (or is just ending). A run with an
    invalid status is `unreadable`. One that was killed is `stopped` where a person had asked for that, by name.
    """
    return seen_of(run)[0]


def seen_of(run: RunDir, problems: list[str] | None = None) -> tuple[Seen, Status | None]:
    """Return the real state of a run as `state_of` does, and the status that was read."""
    was_alive, known = is_locked(run.lock), [] if problems is None else problems
    status = read_status(run, known)
    if status is None:
        return ("unreadable" if known else "queued"), None
    if status.state in ALIVE and not was_alive and not is_locked(run.lock):  # it may have begun since the first look
        return "interrupted" if stopped_by(run, status) is None else "stopped", status
    return status.state, status


def format_time(seconds: float) -> str:
    """Write a time as local ISO 8601 with microseconds and offset."""
    from datetime import datetime

    return datetime.fromtimestamp(seconds).astimezone().isoformat()


@cache
def boot_id() -> str | None:
    """Return the kernel's id of this boot; None where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def is_of_this_user(pid: int) -> bool:
    """Whether a process belongs to this user; True if the kernel does not say."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as lines:
            uids = next(line.split()[1:] for line in lines if line.startswith("Uid:"))
    except (OSError, StopIteration):
        return True
    return uids[1] == str(os.geteuid())


def process_started(pid: int) -> int | None:
    """Return the start of a process in clock ticks after boot; None if it is gone or not known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


_KNOWN = (*STATES, "outdated")


@dataclass(frozen=True, slots=True)
class CommandState:
    """One command of a run; missing entries are None.

    `duration_s` counts until now while the command runs; nobody knows it of one whose process is gone without a word.
    """

    name: str
    state: str
    exit_code: int | None
    signal: str | None
    duration_s: float | None

    @property
    def how(self) -> str:
        """The state, with what ended the command if it was not success: `failed (SIGKILL)`."""
        why = self.signal or self.exit_code
        return f"{self.state} ({why})" if why else self.state

    def __str__(self) -> str:
        """Write it in a few words: `train done 5m12s`."""
        return " ".join(part for part in (self.name, self.how, text.duration(self.duration_s)) if part)


def command_states(status: Status, state: Seen, now: float) -> list[CommandState]:
    """Return the commands of a run in order; none if it is not a pipeline.

    Args:
        status: as it was written.
        state: what is true of the run: none of its commands runs when it does not.
        now: Unix seconds.
    """
    return [_of(name, each, status, state, now) for name, each in (status.commands or {}).items()]


def telling(commands: Sequence[CommandState], state: Seen) -> CommandState | None:
    """Return the command with the most telling log: the running one, else the failed one, else the last one.

    None where none has run, and where the run went wrong but none of its commands did: its own log then says why.

    Args:
        commands: of the run, in their order.
        state: what is true of the run.
    """
    for wanted in (("running",), ("failed", "interrupted"), ("done",)):
        found = [each for each in commands if each.state in wanted]
        if found and (wanted != ("done",) or state in ("queued", *ALIVE, "done")):
            return found[-1]
    return None


def _of(name: str, record: dict[str, Any], status: Status, state: Seen, now: float) -> CommandState:
    said = str(record.get("state"))
    said = said if said in _KNOWN else "unreadable"
    is_over = said == "running" and state not in ALIVE
    started, ended = parse_time(record.get("started")), parse_time(record.get("ended"))
    if ended is None and said in ("running", "interrupted"):
        ended = now if state in ALIVE and said == "running" else status.ended
    code, signal = record.get("exit_code"), record.get("signal")
    return CommandState(
        name=name,
        state="interrupted" if is_over else said,
        exit_code=whole(code),
        signal=None if signal is None else str(signal),
        duration_s=None if started is None or ended is None else max(0.0, ended - started),
    )


def note_stop(run: RunDir, status: Status, grace_s: float | None = None) -> None:
    """Record that the user of this process is about to end the attempt of this status.

    With `grace_s` the agent that runs the job on its node is to do it: TERM, then KILL after so many seconds.

    Raises:
        OSError: the run dir cannot be written.
    """
    record = {"attempt": status.attempt, "pid": status.pid, "who": user(), "at": format_time(time.time())}
    files.write_yaml(run.stop, record if grace_s is None else record | {"grace_s": float(grace_s)})


def asked_to_stop(run: RunDir, pid: int) -> float | None:
    """Return the seconds of grace for a process of this machine that a person asked to stop; None if nobody did.

    Lists the directory first: a network file system may keep for a while that a name was not there.
    """
    try:
        if run.stop.name not in os.listdir(run.path):
            return None
    except OSError:
        return None
    status = read_status(run)
    if status is None or status.pid != pid or stopped_by(run, status) is None:
        return None
    return number(files.read_mapping(run.stop).get("grace_s"))


def stopped_by(run: RunDir, status: Status | None = None) -> str | None:
    """Return who asked to end the attempt of `status`; None if nobody did."""
    if not os.path.lexists(run.stop):
        return None
    record = files.read_mapping(run.stop)
    status = status or read_status(run)
    if not record or status is None or (record.get("attempt"), record.get("pid")) != (status.attempt, status.pid):
        return None
    return str(record.get("who"))


def stop_reason(who: str, step: int | None, total: int | None) -> str:
    """Say who stopped a run and at which step: the reason of a `stopped` run.

    >>> stop_reason("ann", 360, 1000), stop_reason("ann", 360, None), stop_reason("ann", None, None)
    ('by ann at step 360 of 1000 (36 %)', 'by ann at step 360', 'by ann')
    """
    where = "" if step is None else f" at step {step}"
    how_far = f" of {total} ({100 * step // total} %)" if step is not None and total else ""
    return f"by {who}{where}{how_far}"
