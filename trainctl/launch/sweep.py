"""The launcher's loop: jobs in, JobReturns out, each slot busy as long as there is work."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gc
import math
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from hydra.core.utils import JobReturn
from omegaconf import DictConfig

from trainctl.compose.job import JobSpec
from trainctl.errors import JobError
from trainctl.launch.again import command_again
from trainctl.launch.display.report import JobSecrets, Report
from trainctl.launch.executor import Executor, Host
from trainctl.launch.failure import Failure, is_done_by, judge_death, record_failure, stopped
from trainctl.launch.jobs import Answer, JobProcess, Jobs, ask_for_checkpoint
from trainctl.launch.local import linux
from trainctl.launch.queue import Queue
from trainctl.launch.registry import Presence
from trainctl.launch.returns import as_told, failed_return, unpack_return
from trainctl.launch.settings import LauncherSettings
from trainctl.launch.signals import Interrupts
from trainctl.rundir.paths import RunDir
from trainctl.text import clean_line

_LOOK_S = 0.2  # between two looks at whether a checkpoint is taken
_UNHEARD_S = 20.0  # after the grace period, in which a host tells that the jobs of an interrupted sweep have ended
_KILLED = "; it did not end after TERM and was killed"


class Sweep:
    """One `launch()`: runs jobs on slots until each has a JobReturn, or the sweep is interrupted."""

    def __init__(
        self,
        executor: Executor,
        specs: Sequence[JobSpec],
        report: Report,
        settings: LauncherSettings,
        *,
        presence: Presence,
        config: DictConfig,
        earlier: Mapping[int, Answer] = MappingProxyType({}),
    ) -> None:
        """`earlier`: the answers of jobs that need no host, by position."""
        self._executor = executor
        self._queue = Queue(executor, specs, report, is_alone=presence.is_alone)
        self._earlier = earlier
        self._specs = specs
        self._late_code: set[str] = set()
        self._report = report
        self._config = config
        self._settings = settings
        self._secrets = JobSecrets(config)
        self._tries = [0] * len(specs)
        self._moves = [0] * len(specs)  # how often each has lost its host
        self._jobs = Jobs()
        self._hearing = self._jobs.hearing
        self._looked_for: int | None = None  # how many jobs were in the queue when hosts were looked for last
        self._next_act = math.inf  # nothing is to be done to any job before that (monotonic seconds)
        self._returns: list[JobReturn | None] = [None] * len(specs)
        self._position = {spec.number: position for position, spec in enumerate(specs)}
        self._equal: dict[int, list[int]] = {}  # jobs that wait for the outcome of an equal one, by its position
        self._outcomes: dict[int, tuple[Path | None, Failure | None]] = {}
        self._failures = 0
        self._interrupts = Interrupts()
        self._presence = presence
        self._is_ending = False
        self._give_up_at = math.inf  # the hosts that have not told the end of their jobs (monotonic seconds)
        self._has_said_wait = False

    def run(self) -> list[JobReturn]:
        """Run all jobs and return their JobReturns in order.

        Raises:
            SystemExit: the sweep was interrupted (130 after Ctrl-C, 128 + n after signal n).
        """
        begun = time.monotonic()
        try:
            with self._interrupts, _old_objects_kept():
                self._hearing.add(self._interrupts.fileno(), self._interrupts)
                self._conclude_earlier()
                while self._jobs or (self._queue and not self._wants_no_more):
                    self._look_for_hosts()
                    if not self._jobs and not self._executor.hosts and self._executor.obstacle:
                        break
                    if not self._wants_no_more:
                        self._queue.serve(self._jobs)
                    self._wait_for_events()
                    self._end_overdue()
                    self._obey_interrupts()
                    if time.monotonic() >= self._give_up_at:
                        self._give_up_hosts()
        finally:
            self._report.close()
            self._hearing.close()
        missing = sum(returned is None for returned in self._returns)
        self._report.sum_up(missing, time.monotonic() - begun, self._command_again)
        if self._interrupts.wants_no_more:
            self._leave()
        why = self._executor.obstacle or "the sweep was stopped"
        returns = [
            returned or failed_return(spec.texts, JobError(f"the job was not started: {why}"))
            for returned, spec in zip(self._returns, self._specs, strict=True)
        ]
        return returns if self._report.is_silent else [as_told(returned) for returned in returns]

    def _conclude_earlier(self) -> None:
        self._queue.take_out(self._earlier)
        for position, answer in self._earlier.items():
            job = JobProcess(position, None, None, answer=answer)
            if not self._settle(job):
                self._fail(job, 0)

    def _command_again(self, position: int) -> str:
        path, _ = self._outcomes.get(position, (None, None))
        return (
            command_again(self._config, self._specs[position].texts, path)
            or "the same program: jobs that are done are skipped"
        )

    def _leave(self) -> NoReturn:
        raise SystemExit(128 + int(self._interrupts.ended_by or signal.SIGINT))

    @property
    def _wants_no_more(self) -> bool:
        """Whether no new job may be started."""
        limit = self._settings.stop_after_failures
        return self._interrupts.wants_no_more or (limit is not None and self._failures >= limit)

    # -- hearing -------------------------------------------------------------------------------------------------

    def _wait_for_events(self) -> None:
        heard = self._hearing.wait(self._patience_s())
        self._report.tick()
        for source in heard:
            if source is self._interrupts:
                self._interrupts.drain()
            elif source is self._executor:
                self._looked_for = None
            elif isinstance(source, JobProcess) and source.channel is not None:
                self._hear_job(source)
        for source in heard:
            if isinstance(source, Host):
                self._hear_host(source)

    def _patience_s(self) -> float | None:
        """Return how long there is nothing to do if nothing happens; None: for ever."""
        waits = [self._report.tick_s, self._executor.patience_s, self._queue.patience_s(), self._presence.patience_s]
        act = min(self._next_act, self._give_up_at)
        waits += [max(0.0, act - time.monotonic())] if act < math.inf else []
        return min((wait for wait in waits if wait is not None), default=None)

    def _listen(self) -> None:
        """Listen to the hosts that there are now, and to those that may come."""
        self._hearing.keep("hosts", [(host.starter.fileno(), host) for host in self._executor.hosts])
        self._hearing.keep("coming", [(each, self._executor) for each in self._executor.filenos()])

    def _hear_job(self, job: JobProcess) -> None:
        kind, values = job.hear()
        self._queue.touch(job.host)
        if kind == "waiting":
            self._report.wait(job.position, Path(values[0]))
            self._queue.take_slot_back(job)
        elif kind == "late":
            assert job.path is not None
            self._tell_late_code(job.position, job.path, values[0])
        elif kind == "said":
            for line in values[0].splitlines():
                self._report.note(clean_line(line))
        elif kind == "idle":
            self._report.idle(job.position)
            self._queue.take_slot_back(job)
        elif kind == "leaving":
            self._settle(job)
        elif kind == "started":
            assert job.path is not None
            assert job.slot is not None
            job.oom_kills = linux.oom_kills() if job.is_here else None
            if job.host is not None:
                job.host.starter.tell_run(job.position, job.path)
            if self._settings.timeout_min is not None:
                self._act_on(job, time.monotonic() + self._settings.timeout_min * 60)
            overrides = self._untold(job.position, job.path)
            self._report.start(job.position, job.path, job.slot.name, values[1], values[2], overrides=overrides)

    def _tell_late_code(self, position: int, path: Path, files: Sequence[str]) -> None:
        """Say of each file once that a job has loaded it in a version that is newer than the sweep."""
        new = [file for file in files if file not in self._late_code]
        self._late_code.update(new)
        if new:
            self._report.late_code(position, path, [Path(file) for file in new])

    def _untold(self, position: int, path: Path) -> str:
        """Return the swept overrides of a job whose directory is named by its number only."""
        if not path.name.partition(".")[0].isdigit():
            return ""
        spec = self._specs[position]
        keys = (each.get_key_element().lstrip("+~") for each in spec.overrides)
        told = " ".join(text for key, text in zip(keys, spec.texts, strict=True) if key in spec.swept)
        return self._secrets.of(spec, None).text(told)

    def _hear_host(self, host: Host) -> None:
        report = host.starter.report()
        self._queue.touch(host)
        if report is None:
            self._lose(host)
        elif report[0] == "forked":
            self._jobs[report[1]].pid = report[2]
        elif report[0] == "refused":
            host.jobs -= 1
            self._refuse(self._jobs.end(report[1]), report[2])
        elif report[0] == "leaving":
            self._vacate(host, report[1])
        else:
            host.jobs -= 1
            self._end(self._jobs.end(report[1]), report[2])

    def _look_for_hosts(self) -> None:
        """Have the executor bring its hosts up to date, if it has heard of any, it is time, or there is more to do."""
        before, self._looked_for = self._looked_for, len(self._queue)
        patience_s = self._executor.patience_s
        if before is not None and (patience_s is None or (before >= len(self._queue) and patience_s > 0.0)):
            return
        waiting = 0 if self._wants_no_more else len(self._queue) + sum(job.waits for job in self._jobs.values())
        for line in self._executor.look(waiting):
            self._report.note(line)
        self._queue.touch_full()
        self._listen()

    # -- ending --------------------------------------------------------------------------------------------------

    def _refuse(self, job: JobProcess, why: str) -> None:
        """Have a job that got no process wait until another job ends; if no other job runs, the first one fails."""
        job.close()
        self._queue.hold_back(job.position, why if self._jobs else None)
        if not self._jobs and not self._wants_no_more:
            first = JobProcess(
                self._queue.give_up_first(), None, None, ended_as=Failure("crash", f"was not started: {why}")
            )
            self._fail(first, 0)

    def _end(self, job: JobProcess, status: int) -> None:
        """Handle the end of a job's process, of which nothing is left."""
        self._queue.go_on()
        while job.channel is not None and select.select([job.channel], [], [], 0)[0]:
            self._hear_job(job)  # what it said before it ended may not have been heard yet
        job.close()  # a daemon that the job left behind may hold the other end
        self._queue.take_slot_back(job)
        if job.answer is None and job.started is None and (self._wants_no_more or job.begins_anew):
            if job.begins_anew:
                self._queue.put_first(job.position)
            return  # it was composed but is not wanted any more, or not now
        if job.answer is None and self._specs[job.position].rerun != "all" and is_done_by(job.path, job.pid):
            self._queue.put_first(job.position)
            return  # it died between its record and its answer, which its next process will give
        if not self._settle(job):
            self._fail(job, status)

    def _settle(self, job: JobProcess) -> bool:
        """Take the result and the slot of a job that has succeeded; return whether it has."""
        if job.is_settled:
            return True
        kind, values = job.answer or ("died", ())
        if kind == "skipped":
            self._report.skip(
                job.position, Path(values[0]), values[1], values[3], is_shared=values[4], stopped=values[5]
            )
            self._conclude(job.position, unpack_return(values[2]), Path(values[0]))
        elif kind == "same":
            self._follow(job.position, self._position[values[0]], Path(values[1]))
        elif kind == "ended" and values[0] is None:
            assert job.path is not None
            if values[2]:
                self._report.stop(job.position, job.path, job.seconds, f"stopped {values[2]}")
            else:
                self._report.done(job.position, job.path, job.seconds)
            self._conclude(job.position, unpack_return(values[1]), job.path)
        else:
            return False
        self._queue.take_slot_back(job)
        job.is_settled = True
        return True

    def _fail(self, job: JobProcess, status: int) -> None:
        run = None if job.path is None else RunDir.at(job.path)
        if run is not None and job.ended_as is None:
            job.ended_as = stopped(run)
        data: bytes | None = None
        if job.answer is not None:
            failure, data, _ = job.answer[1]
            failure = job.ended_as or failure
        else:
            failure = judge_death(status, job.ended_as, (job.oom_kills, linux.oom_kills() if job.is_here else None))
            failure = failure.with_end_of_log(run)
        if run is not None:
            record_failure(run, job.pid, status, failure, job.seconds)
        secrets = self._secrets.of(self._specs[job.position], run)
        failure = dataclasses.replace(failure, reason=secrets.text(failure.reason), tail=secrets.text(failure.tail))
        if failure.cause == "moved" and self._goes_on_elsewhere(job):
            return
        log = None if run is None else run.log
        if failure.is_from_outside and job.path is not None:
            self._report.stop(job.position, job.path, job.seconds, failure.ending)
        else:
            self._report.fail(
                job.position, job.path, job.seconds, failure.reason, failure.tail, log, frame=failure.frame
            )
            if self._tries_again(job, failure):
                return
            self._failures += 1
        where = "" if log is None else f"; its log is {log}"
        lost = failed_return(self._specs[job.position].texts, JobError(f"the job {failure.sentence}{where}"))
        self._conclude(job.position, lost if data is None else unpack_return(data), job.path, failure)

    # -- equal jobs ----------------------------------------------------------------------------------------------

    def _conclude(self, position: int, returned: JobReturn, path: Path | None, failure: Failure | None = None) -> None:
        """Store the final outcome of a job, and of all equal jobs."""
        self._returns[position] = returned
        self._outcomes[position] = path, failure
        for equal in self._equal.pop(position, []):
            self._repeat(equal, position)

    def _follow(self, position: int, first: int, path: Path) -> None:
        """Handle a job that equals another one, which has the run dir and may still run, or run again."""
        if self._returns[first] is not None:
            self._repeat(position, first)
            return
        self._equal.setdefault(first, []).append(position)
        self._report.wait(position, path, is_equal=True)

    def _repeat(self, position: int, first: int) -> None:
        """Give a job the outcome of an equal one: its return value, or its failure."""
        path, failure = self._outcomes[first]
        returned = copy.copy(self._returns[first])
        assert returned is not None
        returned.overrides = self._specs[position].texts
        self._returns[position] = returned
        if failure is None:
            assert path is not None
            self._report.same(position, path)
        else:
            log = None if path is None else RunDir.at(path).log
            name = "another job" if path is None else path.name
            self._report.fail(position, None, 0.0, f"same as {name}, which {failure.fate}", "", log)

    def _tries_again(self, job: JobProcess, failure: Failure) -> bool:
        """Put a failed job at the head of the queue if the policy allows a retry."""
        tries = self._tries[job.position] = self._tries[job.position] + 1
        if job.started is None or tries > self._settings.retries or failure.cause not in self._settings.retry_on:
            return False
        if self._wants_no_more:
            return False
        self._report.retry(job.position, tries, self._settings.retries)
        self._queue.put_first(job.position)
        return True

    def _goes_on_elsewhere(self, job: JobProcess) -> bool:
        """Put a job that lost its host at the head of the queue, unless it has lost too many already."""
        moves = self._moves[job.position] = self._moves[job.position] + 1
        if self._wants_no_more or moves > self._executor.most_moves:
            return False
        self._report.note(f"{job.path.name if job.path else 'a job'} goes on in another allocation")
        self._queue.put_first(job.position)
        return True

    def _lose(self, host: Host) -> None:
        """Handle the loss of a host and its processes; end what they left behind on this machine."""
        why = self._executor.why_lost(host)
        self._executor.hosts.remove(host)
        self._listen()
        lost = self._jobs.of(host)
        for job in lost:
            if job.pid is not None and host.is_local:
                with contextlib.suppress(OSError):
                    os.killpg(job.pid, signal.SIGKILL)
        for job in lost:
            self._jobs.end(job.position)
            job.ended_as = job.ended_as or Failure("interrupted" if host.is_local else "moved", why)
            job.begins_anew = job.begins_anew or not host.is_local
            self._end(job, signal.SIGKILL)
        if host.is_local:
            self._queue.clear()
            self._report.note("ERROR the process that starts the jobs was killed; run the same command again to resume")

    def _give_up_hosts(self) -> None:
        """Wait no longer for the hosts of an interrupted sweep: a process there was stopped, or the kernel is stuck."""
        self._give_up_at = math.inf
        for host in {job.host for job in self._jobs.values() if job.host is not None}:
            self._report.note(f"ERROR {host.name or 'the starter of the jobs'} does not answer, and is given up")
            self._lose(host)

    def _vacate(self, host: Host, why: str) -> None:
        """Move the jobs of a host that is about to be taken away, with a checkpoint if they can take one."""
        host.is_leaving = True
        self._listen()  # a lost host is heard of by another descriptor
        self._report.note(f"HOST  {host.name} is about to end ({why}); its jobs go on elsewhere")
        for job in self._jobs.of(host):
            if job.started is None:
                job.begins_anew = True
                job.close()
            elif job.ended_as is None and job.path is not None:
                job.ended_as = Failure("moved", f"was ended with its host {host.name} ({why})")
                self._act_on(job, time.monotonic() + self._executor.notice_s)
                job.checkpoint = ask_for_checkpoint(RunDir.at(job.path), host.engine.get("engine", ""))
                self._next_act = time.monotonic()

    def _act_on(self, job: JobProcess, when: float) -> None:
        """Have `_end_overdue` look at a job at that moment (monotonic seconds)."""
        job.act_at = when
        self._next_act = min(self._next_act, when)

    def _end_overdue(self) -> None:
        """End jobs whose time is up: TERM first, KILL after the grace."""
        now = time.monotonic()
        if now < self._next_act:
            return
        for job in self._jobs.values():
            if job.checkpoint is not None and (job.checkpoint.is_over() or (job.act_at or 0.0) <= now):
                assert job.ended_as is not None
                job.checkpoint = None
                self._end_early(job, job.ended_as)
            elif job.act_at is None or job.act_at > now or job.host is None:
                continue
            elif job.ended_as is None:
                limit = self._settings.timeout_min
                self._end_early(job, Failure("timeout", f"ran longer than timeout_min={limit}"))
            else:
                job.act_at = None
                cause, reason = job.ended_as.cause, job.ended_as.reason.removesuffix(_KILLED)
                job.ended_as = Failure(cause, reason + _KILLED)
                job.host.starter.signal(job.position, signal.SIGKILL)
        looks = [now + _LOOK_S for job in self._jobs.values() if job.checkpoint is not None]
        self._next_act = min(
            [*looks, *(job.act_at for job in self._jobs.values() if job.act_at is not None)], default=math.inf
        )

    def _end_early(self, job: JobProcess, why: Failure) -> None:
        """Ask a job to end, and kill it after the grace period."""
        job.ended_as = why
        self._act_on(job, time.monotonic() + self._settings.grace_s)
        if job.host is not None:
            job.host.starter.signal(job.position, signal.SIGTERM)

    def _obey_interrupts(self) -> None:
        asked = self._presence.asked()
        if asked is not None:
            self._interrupts.note(asked)
        if not self._wants_no_more:
            return
        for job in self._jobs.values():
            if job.is_composing or job.is_armed or job.waits_for_other:
                job.close()  # what has no slot yet leaves when its channel closes
        running = sum(job.started is not None for job in self._jobs.values())
        jobs = "1 running job" if running == 1 else f"{running} running jobs"
        if self._interrupts.wants_the_end and not self._is_ending:
            self._is_ending = True
            self._give_up_at = time.monotonic() + self._settings.grace_s + _UNHEARD_S
            self._report.note(f"interrupted: ending {jobs} ...")
            for job in self._jobs.values():
                self._end_early(job, Failure("interrupted", f"by {self._interrupts.cause}"))
        elif (running or self._interrupts.wants_no_more) and not self._is_ending and not self._has_said_wait:
            self._has_said_wait = True
            why = "interrupted: " if self._interrupts.wants_no_more else ""
            until = f"; waiting for {jobs} (Ctrl-C again ends them)" if running else ""
            self._report.no_more(f"{why}no new jobs{until}")


@contextlib.contextmanager
def _old_objects_kept() -> Iterator[None]:
    """Keep the garbage collector from searching again and again what was there before: libraries, the specs of jobs."""
    if gc.get_freeze_count():  # the program sees to it
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
