"""A job as the launcher sees it, from the request for a process to that process's end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainctl.launch.channel import Channel, ChannelClosed
from trainctl.launch.slots import Slot
from trainctl.launch.verdict import Failure


@dataclass(slots=True)
class JobProcess:
    """What the launcher knows of one job's process.

    Attributes:
        position: of the job in this `launch()`.
        channel: to the process; None when either side has closed it.
        path: the run dir, once the job has started there.
        is_armed: composed, and waiting for a slot.
        is_ahead: it is run up to its task function before it has a slot.
        begins_anew: it was sent away to come back later.
        is_settled: its success is reported; only its process has still to end.
        waits_for_other: another process runs this very job.
        answer: the last message, when it was one that ends the job.
        act_at: when the job is to be ended (monotonic seconds), for the first time or for good.
        ended_as: why we ended it, if we did.
    """

    position: int
    channel: Channel | None
    pid: int | None = None
    path: Path | None = None
    slot: Slot | None = None
    started: float | None = None
    is_armed: bool = False
    is_ahead: bool = False
    begins_anew: bool = False
    is_settled: bool = False
    waits_for_other: bool = False
    answer: tuple[str, tuple[Any, ...]] | None = None
    oom_kills: int | None = None
    act_at: float | None = None
    ended_as: Failure | None = None

    @property
    def is_composing(self) -> bool:
        """Whether it will soon be armed, or answer."""
        has_more = self.channel is not None and self.started is None and self.slot is None and self.answer is None
        return has_more and not self.is_armed and not self.waits_for_other

    @property
    def seconds(self) -> float:
        """How long it has been running; 0 before its start."""
        return 0.0 if self.started is None else time.monotonic() - self.started

    def hear(self) -> tuple[str, tuple[Any, ...]]:
        """Take one message from the job and remember what it means; `("closed", ())` when there will be no more."""
        assert self.channel is not None
        try:
            kind, *rest = self.channel.receive()
        except ChannelClosed:
            self.close()
            return "closed", ()
        values = tuple(rest)
        if kind == "armed":
            self.is_armed, self.waits_for_other = True, False
        elif kind == "waiting":
            self.waits_for_other = True
        elif kind in ("idle", "leaving"):
            pass
        elif kind == "started":
            self.path, self.started = Path(values[0]), time.monotonic()
        else:
            self.answer = (kind, values)
        return kind, values

    def close(self) -> None:
        """Close our end of the channel; a job that waits for a slot leaves then."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        self.is_armed = False
