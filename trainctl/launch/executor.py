"""The interface between the launcher's loop and where jobs run: executors and their hosts."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from trainctl.launch.local.channel import Channel
from trainctl.launch.slots.pool import SlotPool


class JobStarter(Protocol):
    """Starts job processes on one host."""

    def fileno(self) -> int:
        """Readable when there is a report."""
        ...

    def start(self, number: int) -> Channel:
        """Ask for one more job process and return the channel to it.

        Raises:
            JobError: the host starts no more processes.
        """
        ...

    def signal(self, number: int, signal_number: signal.Signals) -> None:
        """Send a signal to a job and all of its process group; nothing happens when it has ended."""
        ...

    def tell_run(self, number: int, path: Path) -> None:
        """Tell the host that a job has begun in a run dir, so that requests to stop it are obeyed there."""
        ...

    def report(self) -> tuple[Any, ...] | None:
        """Return the next report, as `local.zygote` has them; None: the host and its jobs are lost."""
        ...


@dataclass(eq=False)
class Host:
    """A machine, or a part of one, on which jobs run.

    Attributes:
        name: shown to users; empty for the launcher's own machine.
        pool: its slots.
        greet: sends a new process what it needs before its spec.
        engine: what the status of its jobs records: the engine's name, its job id, the node.
        has_room: whether it can start another process now.
        most: how many jobs it takes in all; None for no limit.
        jobs: how many job processes it has now.
        begun: how many job processes it has started in all.
        is_leaving: it is about to end and takes no more jobs.
    """

    name: str
    starter: JobStarter
    pool: SlotPool
    greet: Callable[[Channel], None]
    engine: dict[str, str] = field(default_factory=dict)
    has_room: Callable[[], bool] = lambda: True
    most: int | None = None
    jobs: int = 0
    begun: int = 0
    is_leaving: bool = False

    @property
    def is_local(self) -> bool:
        """Whether its processes run on this machine, so that they can be signalled directly."""
        return not self.name

    @property
    def is_full(self) -> bool:
        """Whether it takes no more jobs."""
        return self.is_leaving or (self.most is not None and self.begun >= self.most)

    def takes_one(self) -> bool:
        """Whether it can take one more job now."""
        return not self.is_full and self.has_room()

    def begin(self, number: int) -> Channel:
        """Ask for a process for a job, and return the channel to it.

        Raises:
            JobError: the host starts no more processes.
        """
        channel = self.starter.start(number)
        self.jobs += 1
        self.begun += 1
        return channel


class Executor(Protocol):
    """Provides hosts for a sweep: `local` has one from the start; cluster engines gain and lose hosts."""

    hosts: list[Host]
    notice_s: float  # between the notice that a host is about to end, and its end
    most_moves: int  # how often a job that lost its host goes on elsewhere
    threads: Mapping[str, str]  # each job's share of cores, as `Slot.threads`; empty where the hosts set it

    def memory(self) -> dict[str, tuple[float, float]]:
        """Return used and total MiB of the devices by slot name, as far as known."""
        ...

    def filenos(self) -> Sequence[int]:
        """Return descriptors that are readable when `look` has something new."""
        ...

    def look(self, left: int) -> Sequence[str]:
        """Update `hosts`, given the number of jobs without a host; return lines to show.

        Called when one of `filenos` is readable, and after `patience_s`.
        """
        ...

    @property
    def patience_s(self) -> float | None:
        """Seconds after which to call `look` even without a signal; None for never."""
        ...

    @property
    def obstacle(self) -> str | None:
        """Why no further host can come; None while one can."""
        ...

    def why_lost(self, host: Host) -> str:
        """Return why a host is gone, as the end of a sentence about a job."""
        ...

    def close(self) -> None:
        """End all hosts, and release their resources."""
        ...


class FixedHosts:
    """An executor whose hosts neither come nor go; without any, that of jobs that need none."""

    notice_s, most_moves = 0.0, 0
    patience_s: float | None = None
    obstacle: str | None = None

    def __init__(self, hosts: Sequence[Host] = (), threads: Mapping[str, str] | None = None) -> None:
        self.hosts = list(hosts)
        self.threads: Mapping[str, str] = threads or {}

    def memory(self) -> dict[str, tuple[float, float]]:
        return {}

    def filenos(self) -> Sequence[int]:
        return ()

    def look(self, left: int) -> Sequence[str]:
        return ()

    def why_lost(self, host: Host) -> str:
        raise AssertionError(host)

    def close(self) -> None:
        pass
