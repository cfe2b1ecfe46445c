"""The processes of jobs as the launcher sees them, and what it hears of them."""

from __future__ import annotations

import contextlib
import selectors
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainctl.errors import TrainctlError
from trainctl.launch.executor import Host
from trainctl.launch.failure import Failure
from trainctl.launch.local.channel import Channel, ChannelClosed
from trainctl.launch.slots.slot import Slot
from trainctl.rundir.events import latest, read_events
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir


class Hearing:
    """A selector that keeps from one wait to the next what the launcher listens to: jobs, hosts, and whatever else."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._sets: dict[str, dict[int, Any]] = {}

    def add(self, descriptor: int, source: Any) -> None:
        """Listen to something from now on."""
        with contextlib.suppress(KeyError):  # the number belonged to another source, which has closed it
            self._selector.unregister(descriptor)
        self._selector.register(descriptor, selectors.EVENT_READ, source)

    def drop(self, descriptor: int) -> None:
        """Stop listening to a descriptor; to be called before it is closed."""
        with contextlib.suppress(KeyError, ValueError, OSError):
            self._selector.unregister(descriptor)

    def keep(self, name: str, sources: Iterable[tuple[int, Any]]) -> None:
        """Listen to these sources of a kind, and to no others of that kind.

        A descriptor may pass from one kind to another. Where several have one source, the number of one that was closed
        may have been given to a new one.
        """
        known, wanted = self._sets.get(name, {}), dict(sources)
        registered = self._selector.get_map()
        for descriptor in known.keys() - wanted.keys():
            if descriptor in registered and registered[descriptor].data is known[descriptor]:
                self.drop(descriptor)
        is_shared = len({id(source) for source in wanted.values()}) < len(wanted)
        for descriptor, source in wanted.items():
            if is_shared or descriptor not in registered or registered[descriptor].data is not source:
                self.add(descriptor, source)
        self._sets[name] = wanted

    def wait(self, seconds: float | None) -> list[Any]:
        """Return the sources that have something to say; none if nothing is heard for so many seconds."""
        return [key.data for key, _ in self._selector.select(None if seconds is None else max(0.0, seconds))]

    def close(self) -> None:
        self._selector.close()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a checkpoint, filed in a run whose host is about to be taken away, so that it goes on elsewhere."""

    run: RunDir
    id: str

    def is_over(self) -> bool:
        """Whether the checkpoint was taken, or never will be."""
        try:
            event = latest(read_events(self.run)).get(self.id)
        except TrainctlError:
            return True
        return event is not None and (event.state == "rejected" or event.done is not None or bool(event.settled))


def ask_for_checkpoint(run: RunDir, who: str) -> Asked | None:
    """File a request for a checkpoint; return None if the run takes no requests."""
    try:
        return Asked(run, file_request(run, {}, who=who, via="launcher", action="checkpoint"))
    except TrainctlError:
        return None


Answer = tuple[str, tuple[Any, ...]]  # the kind of message that ends a job, and what it says


@dataclass(slots=True)
class JobProcess:
    """The launcher's view of one job's process, from its request to its end.

    Attributes:
        position: of the job in this `launch()`.
        host: where the process runs; None for a job that never got one.
        channel: to the process; None when either side has closed it.
        path: the run dir, once the job has started there.
        is_armed: it is composed and waits for a slot.
        is_ahead: it is run up to its task function before it has a slot.
        begins_anew: its process was ended so that the job can start again later.
        is_settled: its success is reported; only its process has still to end.
        waits_for_other: a process of another launcher runs the same job.
        answer: the message that ends the job, once it has come.
        act_at: when the job is to be ended (monotonic seconds), for the first time or for good.
        ended_as: why the launcher ended it, if it did.
        checkpoint: the request that it was sent because its host is about to end.
        hearing: listens to the channel.
    """

    position: int
    host: Host | None
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
    answer: Answer | None = None
    oom_kills: int | None = None
    act_at: float | None = None
    ended_as: Failure | None = None
    checkpoint: Asked | None = None
    hearing: Hearing | None = None

    @property
    def is_here(self) -> bool:
        """Whether its process runs on this machine."""
        return self.host is None or self.host.is_local

    @property
    def waits(self) -> bool:
        """Whether it has neither begun nor answered."""
        return self.started is None and self.answer is None

    @property
    def is_composing(self) -> bool:
        """Whether it will soon be armed, or answer."""
        if self.started is not None or self.slot is not None or self.is_armed or self.waits_for_other:
            return False
        return self.channel is not None and self.answer is None

    @property
    def seconds(self) -> float:
        """How long it has been running; 0 before its start."""
        return 0.0 if self.started is None else time.monotonic() - self.started

    def hear(self) -> tuple[str, tuple[Any, ...]]:
        """Receive one message from the job and update the state; `("closed", ())` after the last one."""
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
        elif kind in ("idle", "leaving", "said"):
            pass
        elif kind == "started":
            self.path, self.started = Path(values[0]), time.monotonic()
        else:
            self.answer = (kind, values)
        return kind, values

    def close(self) -> None:
        """Close the launcher's end of the channel; a job that waits for a slot leaves then."""
        if self.channel is not None:
            if self.hearing is not None:
                self.hearing.drop(self.channel.fileno())
            self.channel.close()
            self.channel = None
        self.is_armed = False


class Jobs(dict[int, JobProcess]):
    """All jobs that have a process, by position, and by host; `hearing` listens to their channels."""

    def __init__(self) -> None:
        super().__init__()
        self.hearing = Hearing()
        self._by_host: dict[Host | None, dict[int, JobProcess]] = {}

    def of(self, host: Host) -> list[JobProcess]:
        """Return the jobs on a host, in their order."""
        jobs = self._by_host.get(host, {})
        return [jobs[position] for position in sorted(jobs)]

    def begin(self, job: JobProcess) -> None:
        """Add a job that has just got its process."""
        self[job.position] = job
        self._by_host.setdefault(job.host, {})[job.position] = job
        if job.channel is not None:
            job.hearing = self.hearing
            self.hearing.add(job.channel.fileno(), job)

    def end(self, position: int) -> JobProcess:
        """Take out a job whose process is gone, and return it."""
        job = self.pop(position)
        of_host = self._by_host[job.host]
        del of_host[position]
        if not of_host:
            del self._by_host[job.host]
        return job
