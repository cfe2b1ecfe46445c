"""A job's own process, from its first breath to its exit code."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import select
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from trainctl.config.override import quoted, task_overrides
from trainctl.errors import JobError, TrainctlError
from trainctl.launch.channel import Channel, ChannelClosed
from trainctl.launch.claim import Claim, claiming, find_claim
from trainctl.launch.compose import (
    ComposedJob,
    JobSpec,
    SweepContext,
    compose_job,
    execute,
    skipped_return,
)
from trainctl.launch.hostlocks import keep
from trainctl.launch.linux import adopt_orphans, die_with_parent
from trainctl.launch.outcome import failed_return, pack_return
from trainctl.launch.slots import Slot
from trainctl.launch.threads import limit_threads
from trainctl.launch.verdict import Failure, is_out_of_memory
from trainctl.run.attempt import Attempt, describe, take_lock
from trainctl.run.joblog import keep_earlier_log, redirect_to
from trainctl.run.lock import is_locked
from trainctl.run.provenance import machine_facts, single_job_argv
from trainctl.run.result import is_kept, read_result
from trainctl.run.rundir import RunDir
from trainctl.run.status import read_status

_BUSY_POLL_S = 0.2
_TAIL_LINES = 8
_OF_SWEEPS = ("hydra.sweep", "hydra/sweep", "hydra.launcher", "hydra/launcher", "hydra.mode", "hydra.run.dir")


def become_job(channel: Channel, load_context: Callable[[], SweepContext], *, parent: int, forked: bool) -> NoReturn:
    """Be a job until it is over, then leave the process.

    Messages to the launcher: `armed(path)`, `waiting(path)`, `started(path, attempt)`, `skipped(path, kept, return)`,
    `ended(failure or None, return)`. From it: the `JobSpec`, then `Slot`s.
    """
    code = 1
    try:
        os.setsid()
        die_with_parent(parent)
        adopt_orphans()  # so that the zygote gets them only when we are gone, and knows whose they were
        try:
            context: SweepContext | TrainctlError = load_context()
        except TrainctlError as error:
            context = error
        (spec,) = channel.receive()
        code = Job(channel, context, spec, forked).run()
    except ChannelClosed:
        code = 1  # the launcher is gone, or wants no more of us
    except BaseException:  # noqa: BLE001  # whatever it was, this process must end here and say why
        traceback.print_exc()
    finally:
        _leave(code)


class Job:
    """One job: compose, wait for a slot, run, answer."""

    def __init__(self, channel: Channel, context: SweepContext | TrainctlError, spec: JobSpec, forked: bool) -> None:
        self._channel = channel
        self._context = context
        self._spec = spec
        self._forked = forked

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
        return self._answer(failed_return(self._spec.overrides, obstacle), Failure("error", describe(obstacle)))

    def _run_composed(self, context: SweepContext, job: ComposedJob) -> int:
        while True:
            claim = find_claim(job.path, job.identity)
            if self._may_run(claim):
                limit_threads(self._spec.threads, kept=job.config.hydra.job.env_set)
                self._channel.send("armed", str(claim.run.path))
                (slot,) = self._channel.receive()
                attempt, claim = self._begin(job, slot)
                if attempt is not None:
                    return self._execute(context, job, attempt)
            if claim.state == "done":
                return self._skip(job, claim.run)
            if claim.state == "failed":
                return self._repeat_failure(claim.run)
            self._channel.send("waiting", str(claim.run.path))
            self._wait_for(claim.run)

    def _may_run(self, claim: Claim) -> bool:
        rerun = self._spec.rerun
        return (
            claim.state == "free"
            or (claim.state == "failed" and rerun != "none")
            or (claim.state == "done" and rerun == "all")
        )

    def _begin(self, job: ComposedJob, slot: Slot) -> tuple[Attempt | None, Claim]:
        """Take the run dir, unless somebody has it or finished it since we looked."""
        facts = machine_facts()
        with claiming(job.sweep_dir):
            claim = find_claim(job.path, job.identity)
            if not self._may_run(claim):
                return None, claim
            claim.run.create()
            lock = take_lock(claim.run)
            job.place(claim.run.path)
            os.environ.update(slot.environment())
            keep(slot.places)  # while we live nobody else gets our devices, though our launcher be killed
            overrides = task_overrides(job.config.hydra)
            attempt = Attempt.begin(
                claim.run,
                config=job.config,
                slot=slot.name,
                lock=lock,
                facts={
                    "identity": job.identity,
                    "job": {"num": job.spec.number, "id": str(job.config.hydra.job.id)},
                    "overrides": overrides,
                    "argv": single_job_argv(overrides),
                    **facts,
                },
            )
        return attempt, claim

    def _execute(self, context: SweepContext, job: ComposedJob, attempt: Attempt) -> int:
        self._channel.send("started", str(attempt.run.path), attempt.number)
        keep_earlier_log(attempt.run, attempt.number)
        redirect_to(attempt.run.log)
        sys.argv = single_job_argv([*task_overrides(job.config.hydra), *_hydra_overrides(job, attempt)])
        try:
            returned = execute(context, job)
        except SystemExit as leaving:
            returned = self._after_exit(job, leaving)
        except BaseException as error:  # noqa: BLE001  # KeyboardInterrupt and the like end this job, not the sweep
            returned = failed_return(self._spec.overrides, error, str(attempt.run.path))
        return self._finish(attempt, returned)

    def _after_exit(self, job: ComposedJob, leaving: SystemExit) -> JobReturn:
        """`sys.exit()` or `sys.exit(0)` is a normal end without a value; any other code is a failure."""
        if leaving.code in (None, 0):
            return skipped_return(job, RunDir.at(job.sweep_dir / job.config.hydra.sweep.subdir).path, None)
        error = JobError(f"the job called sys.exit({leaving.code!r})")
        return failed_return(self._spec.overrides, error.with_traceback(leaving.__traceback__))

    def _finish(self, attempt: Attempt, returned: JobReturn) -> int:
        try:
            data = pack_return(returned, self._forked)
        except JobError as error:
            shown: BaseException = error.with_traceback(None)
            if returned.status is JobStatus.FAILED:  # the trace that a person needs is the one of the task
                shown = error.with_traceback(returned._return_value.__traceback__)
            shown.__cause__ = None
            returned = failed_return(self._spec.overrides, shown, returned.working_dir)
            data = pack_return(returned, self._forked)
        if returned.status is JobStatus.COMPLETED:
            attempt.end("done", value=returned._return_value, exit_code=0)
            if attempt.status.state == "done":
                self._channel.send("ended", None, data)
                return 0
            returned = failed_return(self._spec.overrides, JobError(str(attempt.status.reason)))
            return self._answer(returned, Failure("error", str(attempt.status.reason)))
        return self._fail(attempt, returned, returned._return_value)

    def _fail(self, attempt: Attempt, returned: JobReturn, raised: BaseException) -> int:
        reason = describe(raised)
        text = "".join(traceback.format_exception(raised)) if raised.__traceback__ else f"{reason}\n"
        sys.stderr.write(text)
        tail = "\n".join(text.splitlines()[-_TAIL_LINES:])
        failure = Failure("oom" if is_out_of_memory(raised) else "error", reason, tail)
        attempt.end(failure.state, exit_code=1, reason=reason)
        return self._answer(returned, failure)

    def _answer(self, returned: JobReturn, failure: Failure) -> int:
        try:
            data = pack_return(returned, self._forked)
        except JobError as error:
            data = pack_return(failed_return(self._spec.overrides, error), self._forked)
        self._channel.send("ended", failure, data)
        return 1

    def _repeat_failure(self, run: RunDir) -> int:
        """Answer with the failure of an earlier attempt, which is not to be tried again."""
        status = read_status(run)
        reason = f"failed earlier, and rerun=none: {status.reason if status else 'nothing is known'}"
        error = JobError(f"the job {reason}; its log is {run.log}")
        return self._answer(failed_return(self._spec.overrides, error, str(run.path)), Failure("error", reason))

    def _skip(self, job: ComposedJob, run: RunDir) -> int:
        returned = skipped_return(job, run.path, read_result(run))
        self._channel.send("skipped", str(run.path), is_kept(run), pack_return(returned, self._forked))
        return 0

    def _wait_for(self, run: RunDir) -> None:
        """Wait until nobody runs there any more.

        Raises:
            ChannelClosed: the launcher is gone.
        """
        while is_locked(run.lock):
            if select.select([self._channel], [], [], _BUSY_POLL_S)[0]:
                raise ChannelClosed


def _hydra_overrides(job: ComposedJob, attempt: Attempt) -> list[str]:
    """Return what a program that starts itself again (a rank of Lightning's) must say to Hydra to be this very job."""
    given: Any = OmegaConf.to_container(job.config.hydra.overrides.hydra, resolve=False)
    kept = [text for text in given if not text.lstrip("+~").startswith(_OF_SWEEPS)]
    return [*kept, f"hydra.run.dir={quoted(str(attempt.run.path))}"]


def _leave(code: int) -> NoReturn:
    """End the process as the interpreter would, but never through the frames of the launcher's program below us."""
    with contextlib.suppress(BaseException):  # each step may fail in code that is not ours; the process ends anyway
        _shut_down_threads()
        atexit._run_exitfuncs()
    with contextlib.suppress(BaseException):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _shut_down_threads() -> None:
    join: Any = getattr(threading, "_shutdown", None)
    if join is not None:
        join()
