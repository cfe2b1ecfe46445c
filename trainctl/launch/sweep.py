"""The launcher's loop: jobs in, JobReturns out, each slot busy as long as there is work."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn

from trainctl.errors import JobError
from trainctl.launch.channel import Channel, ChannelClosed
from trainctl.launch.compose import JobSpec
from trainctl.launch.ending import describe_exit, record_death
from trainctl.launch.interrupt import Interrupts
from trainctl.launch.outcome import failed_return, unpack_return
from trainctl.launch.pool import SlotPool
from trainctl.launch.report import Report
from trainctl.launch.slots import Slot
from trainctl.launch.starter import Starter
from trainctl.run.rundir import RunDir

_MOST_ARMED = 4  # composed jobs that wait for a slot: each is a process


@dataclass(slots=True)
class _Job:
    """A job as the launcher sees it, from the request for a process to that process's end."""

    position: int
    spec: JobSpec
    channel: Channel | None
    pid: int | None = None
    path: Path | None = None
    slot: Slot | None = None
    started: float | None = None
    is_armed: bool = False
    waits_for_other: bool = False  # another process runs this very job
    answer: tuple[Any, ...] | None = None
    status: int | None = None
    was_ended: str | None = None  # why we ended it

    @property
    def is_composing(self) -> bool:
        return (
            self.channel is not None
            and self.slot is None
            and self.answer is None
            and not self.is_armed
            and not self.waits_for_other
        )


class Sweep:
    """One `launch()`: runs jobs on slots until every one has a JobReturn, or a person wants the end."""

    def __init__(
        self,
        starter: Starter,
        pool: SlotPool,
        specs: Sequence[JobSpec],
        report: Report,
        *,
        greet: Callable[[Channel], None],
        grace_s: float,
    ) -> None:
        self._starter = starter
        self._greet = greet
        self._report = report
        self._grace_s = grace_s
        self._specs = list(specs)
        self._pool = pool
        self._most_armed = min(len(pool.slots), _MOST_ARMED)
        self._next = 0
        self._jobs: dict[int, _Job] = {}
        self._returns: list[JobReturn | None] = [None] * len(specs)
        self._interrupts = Interrupts()
        self._kill_at: float | None = None
        self._has_said_wait = False

    def run(self) -> list[JobReturn]:
        """Run all jobs and return their JobReturns in order.

        Raises:
            SystemExit: a person or the system wanted the end (130 after Ctrl-C, 128 + n after signal n).
        """
        begun = time.monotonic()
        with self._interrupts:
            while self._jobs or (self._next < len(self._specs) and not self._interrupts.wants_no_more):
                self._start_jobs()
                self._wait_for_events()
                self._obey_interrupts()
        missing = sum(returned is None for returned in self._returns)
        self._report.sum_up(missing, time.monotonic() - begun)
        if self._interrupts.wants_no_more:
            ended_by = self._interrupts.ended_by
            raise SystemExit(128 + int(ended_by or signal.SIGINT))
        return [
            returned or failed_return(spec.overrides, JobError("the job was not started"))
            for returned, spec in zip(self._returns, self._specs, strict=True)
        ]

    # -- starting ------------------------------------------------------------------------------------------------

    def _start_jobs(self) -> None:
        """Keep enough composed jobs waiting, and give every free slot to the first of them."""
        if not self._interrupts.wants_no_more:
            while self._next < len(self._specs) and self._waiting_for_slot() < self._pool.free + self._most_armed:
                self._ask_for_process(self._next)
                self._next += 1
            for job in list(self._jobs.values()):
                if job.is_composing:
                    break  # jobs start in their order
                if job.is_armed and not self._give_slot(job):
                    break

    def _waiting_for_slot(self) -> int:
        return sum(
            job.slot is None and job.answer is None and job.channel is not None and not job.waits_for_other
            for job in self._jobs.values()
        )

    def _ask_for_process(self, position: int) -> None:
        spec = self._specs[position]
        channel = self._starter.start(position)
        self._jobs[position] = _Job(position, spec, channel)
        try:
            self._greet(channel)
            channel.send(spec)
        except ChannelClosed:
            return  # it has died: its exit is reported

    def _give_slot(self, job: _Job) -> bool:
        """Give an armed job a slot; say whether there was one."""
        assert job.channel is not None
        job.slot = self._pool.take()
        if job.slot is None:
            return False
        job.is_armed = False
        with contextlib.suppress(ChannelClosed):  # it has died: its exit is reported, and the slot comes back then
            job.channel.send(job.slot)
        return True

    # -- hearing -------------------------------------------------------------------------------------------------

    def _wait_for_events(self) -> None:
        channels = {job.channel.fileno(): job for job in self._jobs.values() if job.channel is not None}
        poll = select.poll()
        for descriptor in (*channels, self._starter.fileno(), self._interrupts.fileno()):
            poll.register(descriptor, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(self._patience_ms())}
        self._report.tick()
        if self._interrupts.fileno() in ready:
            self._interrupts.drain()
        for descriptor, job in channels.items():
            if descriptor in ready:
                self._hear_job(job)
        if self._starter.fileno() in ready:
            self._hear_zygote()

    def _patience_ms(self) -> float | None:
        """Return how long there is nothing to do if nothing happens; None: for ever."""
        waits = [self._report.tick_s]
        if any(job.is_armed for job in self._jobs.values()):
            waits.append(self._pool.look_again_s)
        if self._kill_at is not None:
            waits.append(max(0.0, self._kill_at - time.monotonic()))
        known = [wait for wait in waits if wait is not None]
        return min(known) * 1000 if known else None

    def _hear_job(self, job: _Job) -> None:
        assert job.channel is not None
        try:
            kind, *values = job.channel.receive()
        except ChannelClosed:
            job.channel.close()
            job.channel = None
            job.is_armed = False
            return
        if kind == "armed":
            job.is_armed, job.waits_for_other = True, False
        elif kind == "waiting":
            job.waits_for_other = True
            self._report.wait(job.position, Path(values[0]))
            self._take_slot_back(job)
        elif kind == "started":
            job.path, job.started = Path(values[0]), time.monotonic()
            assert job.slot is not None
            self._report.start(job.position, job.path, job.slot.name, values[1])
        else:
            job.answer = (kind, *values)

    def _hear_zygote(self) -> None:
        report = self._starter.report()
        if report is None:
            self._lose_zygote()
        elif report[0] == "forked":
            self._jobs[report[1]].pid = report[2]
        else:
            self._end(self._jobs.pop(report[1]), report[2])

    def _take_slot_back(self, job: _Job) -> None:
        if job.slot is not None:
            self._pool.give_back(job.slot)
            job.slot = None

    # -- ending --------------------------------------------------------------------------------------------------

    def _end(self, job: _Job, status: int) -> None:
        """A job's process has ended, and nothing of it is left."""
        while job.channel is not None and select.select([job.channel], [], [], 0)[0]:
            self._hear_job(job)  # what it said before it ended may not have been heard yet
        if job.channel is not None:  # a daemon that the job left behind holds the other end
            job.channel.close()
            job.channel = None
        self._take_slot_back(job)
        seconds = time.monotonic() - job.started if job.started is not None else 0.0
        if job.answer is not None:
            self._take_answer(job, seconds)
        elif job.started is None and self._interrupts.wants_no_more:
            return  # it was composed but not wanted any more
        else:
            self._take_death(job, status, seconds)

    def _take_answer(self, job: _Job, seconds: float) -> None:
        assert job.answer is not None
        kind, *values = job.answer
        if kind == "skipped":
            path, kept, data = values
            self._report.skip(job.position, Path(path), kept)
        else:
            state, reason, tail, data = values
            if state == "done":
                assert job.path is not None
                self._report.done(job.position, job.path, seconds)
            else:
                log = None if job.path is None else RunDir.at(job.path).log
                self._report.fail(job.position, job.path, seconds, reason, tail, log)
        self._returns[job.position] = unpack_return(data)

    def _take_death(self, job: _Job, status: int, seconds: float) -> None:
        reason = job.was_ended or describe_exit(status)
        run = None if job.path is None else RunDir.at(job.path)
        tail = "" if run is None else record_death(run, job.pid, status, reason, ended_by_us=job.was_ended is not None)
        self._report.fail(job.position, job.path, seconds, reason, tail, None if run is None else run.log)
        where = "" if run is None else f"; its log is {run.log}"
        self._returns[job.position] = failed_return(job.spec.overrides, JobError(f"the job {reason}{where}"))

    def _lose_zygote(self) -> None:
        """The zygote was killed, so its jobs were too (by the kernel); what they left behind is ours to end."""
        for job in self._jobs.values():
            if job.pid is not None:
                try:
                    os.killpg(job.pid, signal.SIGKILL)
                except OSError:
                    continue
        for position in list(self._jobs):
            job = self._jobs.pop(position)
            job.was_ended = "ended because the process that starts the jobs was killed"
            self._end(job, signal.SIGKILL)
        self._next = len(self._specs)
        self._report.note("ERROR the process that starts the jobs was killed; run the same command again to resume")

    def _obey_interrupts(self) -> None:
        if not self._interrupts.wants_no_more:
            return
        running = [job for job in self._jobs.values() if job.started is not None]
        for job in self._jobs.values():
            if job.started is None and job.slot is None and job.channel is not None:
                job.channel.close()  # a composed job that waits for a slot leaves when its channel closes
                job.channel = None
        if self._kill_at is None and self._interrupts.wants_the_end:
            self._report.note(f"ending {len(running)} running jobs ...")
            self._kill_at = time.monotonic() + self._grace_s
            self._signal_all(signal.SIGTERM, "was ended on request")
        elif self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill_at = time.monotonic() + self._grace_s
            self._signal_all(signal.SIGKILL, "was killed on request")
        elif self._interrupts.interrupts == 1 and not self._has_said_wait:
            self._has_said_wait = True
            self._report.note(f"no new jobs; waiting for {len(running)} running ones (Ctrl-C again ends them)")

    def _signal_all(self, number: signal.Signals, reason: str) -> None:
        for job in self._jobs.values():
            job.was_ended = reason
            self._starter.signal(job.position, number)
