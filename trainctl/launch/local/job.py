"""A job's own process, from its first breath to its exit code."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus

from trainctl.attempt.attempt import Attempt, describe
from trainctl.attempt.output import HeldOutput, keep_earlier_log, write_once
from trainctl.attempt.reservation import Reservation, take_lock
from trainctl.attempt.run_facts import earlier_draws, given_facts
from trainctl.compose._hydra import outcome_of
from trainctl.compose.job import ComposedJob, JobSpec, SweepContext, compose_job, execute, skipped_return
from trainctl.errors import CommandError, JobError, TrainctlError
from trainctl.launch.failure import Failure, cause_of
from trainctl.launch.local.channel import Channel, ChannelClosed
from trainctl.launch.local.claim import Claim, claim_of, claiming, find_or_adopt, take
from trainctl.launch.local.exit import Remains, leave
from trainctl.launch.local.late_code import loaded_late
from trainctl.launch.local.linux import adopt_orphans, die_with_parent
from trainctl.launch.local.prestart import NotStarted, when_started
from trainctl.launch.local.tracebacks import full_text, last_frame, short_text
from trainctl.launch.returns import failed_return, pack_config, pack_return
from trainctl.launch.slots.host_locks import keep, let_go
from trainctl.launch.slots.slot import Slot
from trainctl.launch.slots.threads import EVERYONE, POOLS, limit_threads
from trainctl.rundir.job_index import JobIndex
from trainctl.rundir.lock import is_locked
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import code_change, machine_facts, original_cwd
from trainctl.rundir.result import stored_result
from trainctl.rundir.status import State, Status, read_status

log = logging.getLogger(__name__)

_BUSY_POLL_S = 0.2
_LEFT: State = "interrupted"  # a run that its process leaves before `_finish` has its answer


def become_job(channel: Channel, load_context: Callable[[], SweepContext], *, parent: int, forked: bool) -> NoReturn:
    """Be a job until it is over, then leave the process.

    Messages to the launcher: `armed(path)`, `waiting(path)`, `started(path, attempt, passed)`,
    `same(number, path)`, `skipped(path, loss, return, change, is_shared, stopped)`, `late(files)`, `idle()`,
    `ended(failure or None, return, stopped)`, `said(what a job has printed that has no log)`, `leaving()`. From it: the
    `JobSpec`, then `Slot`s.
    """
    code, job = 1, None
    output = HeldOutput()  # the terminal is the launcher's, which may be painting on it
    try:
        os.setsid()
        die_with_parent(parent)
        adopt_orphans()  # so that the zygote gets them only when we are gone, and knows whose they were
        try:
            context: SweepContext | TrainctlError = load_context()
        except TrainctlError as error:
            context = error
        (spec,) = channel.receive()
        job = Job(channel, context, spec, forked, output)
        code = job.run()
    except ChannelClosed:
        code = 1  # the launcher is gone, or wants no more of us
    except BaseException:  # noqa: BLE001  # whatever it was, this process must end here and say why
        traceback.print_exc()
    finally:
        _tell_output(output, channel)
        leave(code, channel, is_idle=job is not None and job.is_idle)


def _tell_output(output: HeldOutput, channel: Channel) -> None:
    """Have the launcher tell what a job has printed that has no log, and may get none."""
    if output.is_open and (printed := output.take()):
        with contextlib.suppress(ChannelClosed):
            channel.send("said", printed.decode(errors="replace"))


def _stopped(status: Status | None) -> str:
    """Say by whom and where a run was stopped; nothing if it was not."""
    return (status.reason or "") if status is not None and status.state == "stopped" else ""


class Job:
    """One job: compose, wait for a slot, run, answer.

    Attributes:
        is_idle: its task is over, with success, and has left nothing that needs the slot.
    """

    def __init__(
        self,
        channel: Channel,
        context: SweepContext | TrainctlError,
        spec: JobSpec,
        forked: bool,
        output: HeldOutput,
    ) -> None:
        self._channel = channel
        self._context = context
        self._spec = spec
        self._forked = forked
        self._output = output
        self._attempt: Attempt | None = None
        self._job: ComposedJob | None = None
        self._own_environment: frozenset[str] = frozenset()
        self._remains = Remains()
        self._has_succeeded = self.is_idle = False
        self._hydra_config: bytes | None = None
        self._passed = ""
        self._early_modules = frozenset(sys.modules)
        self._loaded_by = -math.inf if forked else time.time()  # a forked job has them as its launcher had

    def run(self) -> int:
        """Return the exit code of the process."""
        try:
            if not isinstance(self._context, TrainctlError):
                return self._run_composed(self._context, compose_job(self._context, self._spec))
            obstacle: Exception = self._context
        except ChannelClosed:
            raise
        except Exception as error:  # noqa: BLE001  # nothing of the task has run: whatever it is stands in its way
            obstacle = error
        return self._answer(failed_return(self._spec.texts, obstacle), Failure("error", describe(obstacle)))

    def _run_composed(self, context: SweepContext, job: ComposedJob) -> int:
        self._limit_threads(job)
        while True:
            claim = find_or_adopt(job)
            if self._may_run(claim):
                slot = None if self._spec.ahead else self._get_slot(claim.run)
                reservation, claim = self._reserve(job, machine_facts(context.start))
                if reservation is not None:
                    return self._execute(context, job, reservation, slot)
            if claim.state == "same":
                _tell_output(self._output, self._channel)
                self._channel.send("same", claim.equal, str(claim.run.path))
                return 0
            if claim.state == "done":
                return self._skip(job, claim)
            if claim.state == "failed":
                return self._repeat_failure(claim.run)
            self._channel.send("waiting", str(claim.run.path))
            self._wait_for(claim.run)

    def _limit_threads(self, job: ComposedJob) -> None:
        chosen = {str(name): str(value) for name, value in job.config.hydra.job.env_set.items()}
        self._own_environment = frozenset(chosen)  # what a job sets for itself wins
        own = {name: value for name, value in chosen.items() if name in POOLS}
        if own or not self._forked:  # else the zygote has done it for all
            limit_threads({**({} if EVERYONE in own else self._spec.threads), **own})

    def _may_run(self, claim: Claim) -> bool:
        rerun = self._spec.rerun
        return (
            claim.state == "free"
            or (claim.state == "failed" and rerun != "none")
            or (claim.state == "done" and rerun == "all")
        )

    def _get_slot(self, run: RunDir) -> Slot:
        """Say that we are ready, and wait.

        Raises:
            ChannelClosed: the launcher wants us no more.
        """
        self._channel.send("armed", str(run.path))
        (slot,) = self._channel.receive()
        return cast("Slot", slot)

    def _reserve(self, job: ComposedJob, facts: dict[str, Any]) -> tuple[Reservation | None, Claim]:
        """Take the run dir, unless somebody has it or finished it since we looked."""
        with claiming(job.sweep_dir):
            JobIndex(job.sweep_dir).mend()
            claim = claim_of(job)
            if not self._may_run(claim):
                return None, claim
            take(job, claim.run)
            self._passed = claim.passed
            claim.run.create()
            lock = take_lock(claim.run)
            job.draws.put_back(earlier_draws(claim.run, job.settings.replay))
            job.place(claim.run.path)
            reservation = Reservation.make(
                claim.run,
                config=job.config,
                settings=job.settings,
                lock=lock,
                facts={
                    **job.identity.record(claim.run),
                    **job.draws.facts(),
                    "job": {
                        "num": job.spec.number,
                        "id": str(job.config.hydra.job.id),
                        "launcher": job.launcher,
                    },
                    **given_facts(job.config.hydra),
                    **facts,
                },
            )
        return reservation, claim

    def _execute(self, context: SweepContext, job: ComposedJob, reservation: Reservation, slot: Slot | None) -> int:
        """Run the job; without a slot up to its task function, where it waits for one."""
        run, self._job = reservation.run, job
        sys.argv = [*given_facts(job.config.hydra)["argv"], *job.hydra_overrides(run)]
        task = context.task_function
        if slot is None:
            task = when_started(task, lambda: self._start_late(reservation))
        else:
            self._start(reservation, slot)
            self._output.give_to(run.log)
            task = when_started(task, lambda: write_once(run.log))
        try:
            returned = execute(context, job, task)
        except NotStarted as ending:
            reservation.release()
            raise (ending.__cause__ or ending) from None
        except SystemExit as leaving:
            returned = self._after_exit(job, leaving)
        except BaseException as error:  # noqa: BLE001  # KeyboardInterrupt and the like end this job, not the sweep
            returned = failed_return(self._spec.texts, error, str(run.path))
        if self._attempt is None:  # Hydra failed in its own part
            self._attempt = Attempt.start(reservation, left_by_exit=_LEFT)
            self._output.give_to(run.log)
        self._tell_late_code(context, self._attempt)
        return self._finish(self._attempt, returned)

    def _tell_late_code(self, context: SweepContext, attempt: Attempt) -> None:
        """Say which modules the task has loaded in a version that earlier jobs did not have."""
        script = context.program.script
        roots = [str(original_cwd()), *([os.path.dirname(script)] if script is not None else [])]
        files = loaded_late(context.begun, self._early_modules, self._loaded_by, roots)
        if files:
            with contextlib.suppress(OSError):  # a full disk: it is reported on the terminal
                attempt.update_run_yaml(changed_code=files)
            self._channel.send("late", files)

    def _start_late(self, reservation: Reservation) -> None:
        try:
            self._hydra_config = pack_config(HydraConfig.instance().cfg)  # of which Hydra gives back a copy
            self._start(reservation, self._get_slot(reservation.run))
            self._output.give_to(reservation.run.log)
            write_once(reservation.run.log)
        except Exception as error:
            raise NotStarted from error

    def _start(self, reservation: Reservation, slot: Slot) -> None:
        environment = slot.environment()
        os.environ.update({name: environment[name] for name in environment.keys() - self._own_environment})
        keep(slot.places)  # while we live nobody else gets our devices, though our launcher be killed
        self._attempt = Attempt.start(reservation, slot=slot.name, left_by_exit=_LEFT)
        self._remains = Remains()
        self._attempt.at_end(self._give_slot_back)
        self._attempt.after_end(self._answer_early)
        keep_earlier_log(self._attempt.run, self._attempt.number)
        passed = self._passed if self._attempt.number == 1 else ""
        self._channel.send("started", str(self._attempt.run.path), self._attempt.number, passed)

    def _give_slot_back(self) -> None:
        """Let the next job begin while we write down how this one ended."""
        if self._has_succeeded and not self.is_idle and self._remains.are_none():
            self.is_idle = True
            let_go()
            with contextlib.suppress(ChannelClosed):
                self._channel.send("idle")

    def _answer_early(self) -> None:
        """Answer at `live.done(value)`: the process may end at any moment."""
        attempt = self._attempt
        if self._job is None or attempt is None or attempt.has_ended or not attempt.is_done:
            return
        try:
            data = pack_return(skipped_return(self._job, attempt.run.path, attempt.value), self._forked)
        except JobError as error:
            log.warning("%s; the sweep gets None", error)
            data = pack_return(skipped_return(self._job, attempt.run.path, None), self._forked)
        with contextlib.suppress(ChannelClosed):
            self._channel.send("ended", None, data, _stopped(attempt.status))

    def _after_exit(self, job: ComposedJob, leaving: SystemExit) -> JobReturn:
        """`sys.exit()` or `sys.exit(0)` is a normal end without a value; any other code is a failure."""
        if leaving.code in (None, 0):
            return skipped_return(job, RunDir.at(job.sweep_dir / job.config.hydra.sweep.subdir).path, None)
        error = JobError(f"the job called sys.exit({leaving.code!r})")
        return failed_return(self._spec.texts, error.with_traceback(leaving.__traceback__))

    def _finish(self, attempt: Attempt, returned: JobReturn) -> int:
        if attempt.is_done:
            return self._finish_late(attempt, returned)
        self._has_succeeded = returned.status is JobStatus.COMPLETED
        if self._has_succeeded:
            returned.return_value = attempt.outcome(outcome_of(returned))
        self._give_slot_back()  # or, if the live session is still open, once it is closed
        try:
            data = pack_return(returned, self._forked, self._hydra_config)
        except JobError as error:
            shown: BaseException = error.with_traceback(None)
            if returned.status is JobStatus.FAILED:  # the trace that a person needs is the one of the task
                shown = error.with_traceback(outcome_of(returned).__traceback__)
            shown.__cause__ = None
            returned = failed_return(self._spec.texts, shown, returned.working_dir)
            data = pack_return(returned, self._forked)
        if returned.status is JobStatus.COMPLETED:
            attempt.end("done", value=outcome_of(returned), exit_code=0)
            if attempt.status.has_returned:
                self._channel.send("ended", None, data, _stopped(attempt.status))
                return 0
            returned = failed_return(self._spec.texts, JobError(str(attempt.status.reason)))
            return self._answer(returned, Failure("error", str(attempt.status.reason)))
        return self._fail(attempt, returned, outcome_of(returned))

    def _finish_late(self, attempt: Attempt, returned: JobReturn) -> int:
        """End a run that is done since `live.done`, which has answered: what went wrong since is only written down."""
        if returned.status is JobStatus.COMPLETED:
            attempt.end("done")
        else:
            raised = outcome_of(returned)
            sys.stderr.write(full_text(raised))
            attempt.end("failed", reason=describe(raised))
        return 0

    def _fail(self, attempt: Attempt, returned: JobReturn, raised: BaseException) -> int:
        reason = describe(raised)
        sys.stderr.write(full_text(raised))
        tail = raised.output if isinstance(raised, CommandError) else short_text(raised)
        cause = "interrupted" if isinstance(raised, KeyboardInterrupt) else cause_of(raised)
        failure = Failure(cause, reason, tail, last_frame(raised, original_cwd()))
        if not isinstance(raised, Exception):  # the launcher would take it for a Ctrl-C of its own
            returned = failed_return(self._spec.texts, JobError(f"the job ended by {reason}"), returned.working_dir)
        attempt.end(failure.state, exit_code=1, reason=reason)
        return self._answer(returned, failure)

    def _answer(self, returned: JobReturn, failure: Failure) -> int:
        try:
            data = pack_return(returned, self._forked)
        except JobError as error:
            data = pack_return(failed_return(self._spec.texts, error), self._forked)
        _tell_output(self._output, self._channel)
        self._channel.send("ended", failure, data, "")
        return 1

    def _repeat_failure(self, run: RunDir) -> int:
        """Answer with the failure of an earlier attempt, which is not to be tried again."""
        status = read_status(run)
        reason = f"failed earlier, and rerun=none: {status.reason if status else 'nothing is known'}"
        error = JobError(f"the job {reason}; its log is {run.log}")
        return self._answer(failed_return(self._spec.texts, error, str(run.path)), Failure("error", reason))

    def _skip(self, job: ComposedJob, claim: Claim) -> int:
        run = claim.run
        stored = stored_result(run)
        packed = pack_return(skipped_return(job, run.path, stored.value), self._forked)
        values = str(run.path), stored.loss, packed, code_change(run), claim.is_shared, _stopped(read_status(run))
        _tell_output(self._output, self._channel)
        self._channel.send("skipped", *values)
        return 0

    def _wait_for(self, run: RunDir) -> None:
        """Wait until nobody runs there any more.

        Raises:
            ChannelClosed: the launcher is gone.
        """
        while is_locked(run.lock, surely=True):
            if select.select([self._channel], [], [], _BUSY_POLL_S)[0]:
                raise ChannelClosed
