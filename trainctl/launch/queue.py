"""The queue of jobs: it keeps some of them ready, and gives each free slot to the first ready one."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainctl.compose.job import JobSpec
from trainctl.config.keys import is_within
from trainctl.errors import JobError
from trainctl.launch.display.report import Report
from trainctl.launch.executor import Executor, Host
from trainctl.launch.failure import Failure
from trainctl.launch.local.channel import Channel, ChannelClosed
from trainctl.launch.local.claim import APART
from trainctl.launch.notice import Asked
from trainctl.launch.slots.slot import Slot


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
        begins_anew: it was sent away to come back later.
        is_settled: its success is reported; only its process has still to end.
        waits_for_other: another process runs the same job.
        answer: the last message, when it was one that ends the job.
        act_at: when the job is to be ended (monotonic seconds), for the first time or for good.
        ended_as: why we ended it, if we did.
        checkpoint: what it was asked to do before it is ended, with its host.
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
    answer: tuple[str, tuple[Any, ...]] | None = None
    oom_kills: int | None = None
    act_at: float | None = None
    ended_as: Failure | None = None
    checkpoint: Asked | None = None

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
        has_more = self.channel is not None and self.started is None and self.slot is None and self.answer is None
        return has_more and not self.is_armed and not self.waits_for_other

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
        """Close our end of the channel; a job that waits for a slot leaves then."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        self.is_armed = False


_MOST_ARMED = 4  # composed jobs that wait for a slot: each is a process
_LOOK_S = 1.0  # how long another launcher may wait for a run dir that a job of ours has taken ahead


class Queue:
    """The jobs of one `launch()` without a slot.

    Args:
        executor: its hosts have the slots, and make the jobs' processes.
        specs: all jobs.
        report: is told what they wait for.
        is_alone: says whether no other launcher works in the sweep dir. A job that is run ahead takes its run dir
            before it has a slot, so with others about none is: they might have a slot for it at once.

    Attributes:
        is_held_back: the system starts no more processes until one has ended.
    """

    def __init__(
        self, executor: Executor, specs: Sequence[JobSpec], report: Report, *, is_alone: Callable[[], bool]
    ) -> None:
        self._executor = executor
        self._specs = specs
        self._report = report
        self._is_alone = is_alone
        self._left = deque(range(len(specs)))
        self._before = _earlier_equals(specs)
        self._looked = 0.0
        self._said: set[str] = set()
        self.is_held_back = False

    def __len__(self) -> int:
        return len(self._left)

    def clear(self) -> None:
        self._left.clear()

    def put_first(self, position: int) -> None:
        """Put a job back at the head of the queue."""
        self._left.appendleft(position)

    def hold_back(self, position: int, why: str | None) -> None:
        """Put a job that got no process back at the head, and start no process until one has ended."""
        self._left = deque(sorted([position, *self._left]))
        self.is_held_back = True
        self._say_once(why)

    def give_up_first(self) -> int:
        """Return which job would come next, and have the others asked for again."""
        self.is_held_back = False
        return self._left.popleft()

    def serve(self, jobs: dict[int, JobProcess]) -> None:
        """Give every free slot to the first composed job on its host, and keep enough of them waiting in `jobs`."""
        for host in self._executor.hosts:
            self._give_slots(jobs, host)
        # first as many as there are free slots anywhere, then some in reserve, for short jobs
        for reserve in (0, _MOST_ARMED):
            for host in self._executor.hosts:
                self._fill(jobs, host, host.pool.free + min(len(host.pool.slots) + 1, reserve))
        if len(self._executor.hosts) > 1:
            self._share_out(jobs)
        self._let_others_in(jobs)

    def _give_slots(self, jobs: dict[int, JobProcess], host: Host) -> None:
        for job in _of(host, jobs):
            if job.is_composing:
                return  # jobs start in their order
            if job.is_armed and not self._give_slot(job, host):
                return

    def _fill(self, jobs: dict[int, JobProcess], host: Host, most: int) -> None:
        """Keep a number of jobs of a host composed, or waiting for a slot."""
        waiting = sum(job.is_composing or job.is_armed for job in _of(host, jobs))
        while self._left and not self.is_held_back and waiting < most and host.takes_one():
            position = next((each for each in self._left if self._may_come(each, jobs)), None)
            if position is None:
                return
            self._left.remove(position)
            try:
                jobs[position] = self._ask_for_process(position, host)
            except JobError:
                if host.is_local:
                    raise
                self._left.appendleft(position)
                host.is_leaving = True  # the agent is gone: the executor is about to say so
                return
            waiting += 1

    def patience_s(self, jobs: dict[int, JobProcess]) -> float | None:
        """Return the seconds until the queue needs attention; None for never."""
        armed = [job for job in jobs.values() if job.is_armed]
        waits = [host.pool.look_again_s for host in {job.host for job in armed} if host is not None]
        waits += [_LOOK_S] if any(job.is_ahead for job in armed) else []
        return min((wait for wait in waits if wait is not None), default=None)

    def take_slot_back(self, job: JobProcess) -> None:
        if job.slot is not None and job.host is not None:
            job.host.pool.give_back(job.slot)
            job.slot = None

    def _may_come(self, position: int, jobs: Mapping[int, JobProcess]) -> bool:
        """Whether no earlier job has to end first."""
        return not any(each in jobs or each in self._left for each in self._before.get(position, ()))

    def _ask_for_process(self, position: int, host: Host) -> JobProcess:
        spec = self._specs[position]
        spec = dataclasses.replace(spec, ahead=spec.ahead and self._is_alone())
        job = JobProcess(position, host, host.begin(position), is_ahead=spec.ahead)
        assert job.channel is not None
        with contextlib.suppress(ChannelClosed):  # it has died: its exit is reported
            host.greet(job.channel)
            job.channel.send(spec)
        return job

    def _give_slot(self, job: JobProcess, host: Host) -> bool:
        """Give an armed job a slot of its host; return whether there was one."""
        assert job.channel is not None
        job.slot = host.pool.take(job.pid)
        if job.slot is None:
            self._say_once(host.pool.waits_for)
            return False
        job.is_armed = False
        with contextlib.suppress(ChannelClosed):  # it has died: its exit is reported, and the slot comes back then
            job.channel.send(job.slot)
        return True

    def _share_out(self, jobs: dict[int, JobProcess]) -> None:
        """Send away a job that waits for a slot where all are taken, once nothing else is left for a free one."""
        if self._left:
            return
        free = sum(host.pool.free for host in self._executor.hosts if host.takes_one())
        free -= sum(job.begins_anew for job in jobs.values())
        for job in jobs.values():
            if free > 0 and job.is_armed and job.host is not None and not job.host.pool.free:
                job.begins_anew = True
                job.close()
                free -= 1

    def _let_others_in(self, jobs: dict[int, JobProcess]) -> None:
        """Give up the run dirs that jobs have taken ahead once another launcher works here; begin these jobs again."""
        ahead = [job for job in jobs.values() if job.is_armed and job.is_ahead]
        if not ahead or time.monotonic() - self._looked < _LOOK_S:
            return
        self._looked = time.monotonic()
        if not self._is_alone():
            for job in ahead:
                job.begins_anew = True
                job.close()

    def _say_once(self, why: str | None) -> None:
        """Report why nothing starts although a slot is free."""
        if why is not None and why not in self._said:
            self._said.add(why)
            self._report.note(f"waiting: {why}")


def _of(host: Host, jobs: dict[int, JobProcess]) -> list[JobProcess]:
    return [jobs[position] for position in sorted(jobs) if jobs[position].host is host]


def _earlier_equals(specs: Sequence[JobSpec]) -> dict[int, list[int]]:
    """Return the earlier jobs that a job differs from in nothing but what is done with it: other commands, say.

    These have one run dir, and are run in it in the order that was asked for.
    """
    if not any(is_within(key.replace("/", "."), APART) for spec in specs for key in spec.swept):
        return {}
    earlier: dict[frozenset[str], list[int]] = {}
    found = {}
    for position, spec in enumerate(specs):
        same = frozenset(text for text in spec.texts if not is_within(text.lstrip("+~").partition("=")[0], APART))
        found[position] = list(earlier.setdefault(same, []))
        earlier[same].append(position)
    return found
