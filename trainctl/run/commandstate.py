"""What became of one command of a pipeline, as the status of its run tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainctl.run import amount
from trainctl.run.fields import parse_time, whole
from trainctl.run.status import STATES, Seen, Status

_KNOWN = (*STATES, "outdated")


@dataclass(frozen=True, slots=True)
class CommandState:
    """One command of a run. None where its record does not say.

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
        return " ".join(part for part in (self.name, self.how, amount.duration(self.duration_s)) if part)


def command_states(status: Status, state: Seen, now: float) -> list[CommandState]:
    """Return the commands of a run in their order; none of one that is no pipeline.

    Args:
        status: as it was written.
        state: what is true of the run: none of its commands runs when it does not.
        now: Unix seconds.
    """
    return [_of(name, each, status, state, now) for name, each in (status.commands or {}).items()]


def telling(commands: Sequence[CommandState], state: Seen) -> CommandState | None:
    """Return the command whose log tells most of a run: the one that runs, else that went wrong, else that ran last.

    None where none has run, and where the run went wrong but none of its commands did: its own log then says why.

    Args:
        commands: of the run, in their order.
        state: what is true of the run.
    """
    for wanted in (("running",), ("failed", "interrupted"), ("done",)):
        found = [each for each in commands if each.state in wanted]
        if found and (wanted != ("done",) or state in ("queued", "running", "done")):
            return found[-1]
    return None


def _of(name: str, record: dict[str, Any], status: Status, state: Seen, now: float) -> CommandState:
    said = str(record.get("state"))
    said = said if said in _KNOWN else "unreadable"
    is_over = said == "running" and state != "running"
    started, ended = parse_time(record.get("started")), parse_time(record.get("ended"))
    if ended is None and said in ("running", "interrupted"):
        ended = now if state == "running" and said == "running" else status.ended
    code, signal = record.get("exit_code"), record.get("signal")
    return CommandState(
        name=name,
        state="interrupted" if is_over else said,
        exit_code=whole(code),
        signal=None if signal is None else str(signal),
        duration_s=None if started is None or ended is None else max(0.0, ended - started),
    )
