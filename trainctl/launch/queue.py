"""The queue of jobs: it keeps a few jobs ready and gives each free slot to the first of them."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence

from trainctl.compose.job import JobSpec
from trainctl.config.keys import is_within
from trainctl.errors import JobError
from trainctl.launch.display.report import Report
from trainctl.launch.executor import Executor, Host
from trainctl.launch.jobs import JobProcess, Jobs
from trainctl.launch.local.channel import ChannelClosed
from trainctl.launch.local.claim import APART

_MOST_ARMED = 4  # composed jobs that wait for a slot: each is a process
_FREE_S, _ALL_S = 5.0, 30.0  # between two looks at all hosts: while one has a free slot, and while none has
_LOOK_S = 1.0  # how long another launcher may have to wait for a run dir that was taken ahead


class Queue:
    """The jobs of one `launch()` that have no slot yet.

    Args:
        executor: its hosts have the slots and start the jobs' processes.
        specs: all jobs.
        report: shows what jobs wait for.
        is_alone: returns whether no other launcher works in the sweep dir. A job that is run ahead takes its run dir
            before it has a slot; another launcher might have a free slot for it, so then no job is run ahead.

    Attributes:
        is_held_back: the system has refused a process; none is asked for until one has ended.
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
        self._hosts: list[Host] = []
        self._order: dict[Host, int] = {}
        self._changed: set[Host] = set()  # since they were served
        self._full: set[Host] = set()  # that had no process for one more job
        self._armed: dict[Host, bool] = {}  # with jobs that wait for a slot; whether one of these is run ahead
        self._sent_away: set[int] = set()  # they get a slot on another host once their processes have ended
        self._timed: set[Host] = set()  # of these, the hosts on which a slot may become usable without being given back
        self._free: set[Host] = set()  # with free slots
        self._all_at = 0.0
        self.is_held_back = False

    def __len__(self) -> int:
        return len(self._left)

    def clear(self) -> None:
        self._left.clear()

    def take_out(self, positions: Collection[int]) -> None:
        """Remove jobs that need no slot."""
        self._left = deque(each for each in self._left if each not in positions)

    def touch(self, host: Host | None) -> None:
        """Note that something has changed on a host, so that it is served next time."""
        if host is not None:
            self._changed.add(host)

    def touch_full(self) -> None:
        """Serve again the hosts that had no room for another process."""
        self._changed |= self._full
        self._full.clear()

    def _touch_all(self) -> None:
        self._changed.update(self._executor.hosts)

    def go_on(self) -> None:
        """Note that a process has ended, so that there may be room for another one."""
        if self.is_held_back:
            self.is_held_back = False
            self._touch_all()

    def put_first(self, position: int) -> None:
        """Put a job back at the head of the queue."""
        if not self._left:  # else the hosts have all the jobs that they take
            self._changed.update([host for host in self._executor.hosts if host.pool.free] or self._executor.hosts)
        self._left.appendleft(position)
        self._sent_away.discard(position)

    def hold_back(self, position: int, why: str | None) -> None:
        """Put a job that got no process back into the queue, and ask for no process until one has ended."""
        self._left = deque(sorted([position, *self._left]))
        self.is_held_back = True
        self._say_once(why)

    def give_up_first(self) -> int:
        """Take the first job out of the queue and return it; processes are asked for again."""
        first = self._left.popleft()
        self.go_on()
        return first

    def serve(self, jobs: Jobs) -> None:
        """Give every free slot to the first composed job on its host, and keep enough of them waiting in `jobs`.

        Only hosts on which something has changed are looked at, so a job costs the same on one host and on a thousand.
        All hosts with free slots are looked at from time to time, in case a change was not reported.
        """
        now = time.monotonic()
        if now >= self._all_at:
            free = [host for host in self._executor.hosts if host.pool.free]
            self._all_at = now + (_FREE_S if free else _ALL_S)
            self._changed.update(free)
        if self._hosts != self._executor.hosts:
            self._hosts = list(self._executor.hosts)
            self._order = {host: number for number, host in enumerate(self._hosts)}
            self._armed = {host: self._armed[host] for host in self._hosts if host in self._armed}
            self._timed &= self._order.keys()
            self._free &= self._order.keys()
            self._touch_all()
        if self._before:
            self._touch_all()
        hosts = [host for host in self._changed | self._timed if host in self._order]
        hosts.sort(key=self._order.__getitem__)
        self._changed.clear()
        waiting = {host: [job for job in jobs.of(host) if job.is_armed or job.is_composing] for host in hosts}
        for host, own in waiting.items():
            self._give_slots(host, own)
        # first as many as there are free slots anywhere, then some in reserve, for short jobs
        for reserve in (0, _MOST_ARMED):
            for host, own in waiting.items():
                self._fill(jobs, host, own, host.pool.free + min(len(host.pool.slots) + 1, reserve))
        for host, own in waiting.items():
            self._note(host, own)
        if len(self._hosts) > 1:
            self._share_out(jobs)
        self._let_others_in(jobs)

    def _note(self, host: Host, waiting: Sequence[JobProcess]) -> None:
        """Record whether a host has free slots and jobs that wait, so that not all hosts are asked each time."""
        if host.pool.free:
            self._free.add(host)
        else:
            self._free.discard(host)
        armed = [job for job in waiting if job.is_armed]
        if armed:
            self._armed[host] = any(job.is_ahead for job in armed)
        else:
            self._armed.pop(host, None)
        if armed and host.pool.look_again_s is not None:
            self._timed.add(host)
        else:
            self._timed.discard(host)

    def _give_slots(self, host: Host, waiting: list[JobProcess]) -> None:
        """Give slots to the jobs that wait on a host, in their order, and remove those jobs from the list."""
        while waiting and waiting[0].is_armed and self._give_slot(waiting[0], host):
            del waiting[0]

    def _fill(self, jobs: Jobs, host: Host, waiting: list[JobProcess], most: int) -> None:
        """Start processes on a host until `most` jobs are composing or waiting there; add those jobs to the list."""
        while self._left and not self.is_held_back and len(waiting) < most:
            if not host.takes_one():
                self._full.add(host)
                return
            position = next((each for each in self._left if self._may_come(each, jobs)), None)
            if position is None:
                return
            self._left.remove(position)
            try:
                job = self._ask_for_process(position, host)
            except JobError:
                if host.is_local:
                    raise
                self._left.appendleft(position)
                host.is_leaving = True  # the agent is gone: the executor is about to say so
                return
            jobs.begin(job)
            waiting.append(job)

    def patience_s(self) -> float | None:
        """Return the seconds after which `serve` must be called again without an event; None for never."""
        waits = [host.pool.look_again_s for host in self._timed]
        waits += [_LOOK_S] if any(self._armed.values()) else []
        waits += [max(0.0, self._all_at - time.monotonic())] if self._left or self._armed else []
        return min((wait for wait in waits if wait is not None), default=None)

    def take_slot_back(self, job: JobProcess) -> None:
        if job.slot is not None and job.host is not None:
            job.host.pool.give_back(job.slot)
            job.slot = None
            self.touch(job.host)

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
        """Give an armed job a slot of its host; return whether one was free."""
        assert job.channel is not None
        job.slot = host.pool.take(job.pid)
        if job.slot is None:
            self._say_once(host.pool.waits_for)
            return False
        job.is_armed = False
        with contextlib.suppress(ChannelClosed):  # it has died: its exit is reported, and the slot comes back then
            job.channel.send(job.slot)
        return True

    def _share_out(self, jobs: Jobs) -> None:
        """Move jobs that wait where all slots are taken to free slots elsewhere, if no other job is left for those."""
        if self._left or all(host.pool.free for host in self._armed):
            return
        free = sum(host.pool.free for host in self._free if host.takes_one())
        self._sent_away &= jobs.keys()
        free -= len(self._sent_away)
        for host in list(self._armed) if free > 0 else ():
            for job in jobs.of(host):
                if free > 0 and job.is_armed and not host.pool.free:
                    job.begins_anew = True
                    job.close()
                    self._sent_away.add(job.position)
                    free -= 1

    def _let_others_in(self, jobs: Jobs) -> None:
        """Once another launcher works in the sweep dir, restart the jobs that have taken their run dirs ahead."""
        if not any(self._armed.values()) or time.monotonic() - self._looked < _LOOK_S:
            return
        ahead = [job for job in jobs.values() if job.is_armed and job.is_ahead]
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


def _earlier_equals(specs: Sequence[JobSpec]) -> dict[int, list[int]]:
    """Return for each job the earlier ones that differ only in what is done with them, such as the commands to run.

    They share one run dir and run there in the order in which they were asked for.
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
