"""A job's process, from its start to its exit code."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, cast

from hydra.core.utils import JobStatus

from trainctl.attempt.attempt import Attempt
from trainctl.attempt.output import HeldOutput, keep_earlier_log, write_once
from trainctl.attempt.reservation import Reservation
from trainctl.compose.job import ComposedJob, JobSpec, SweepContext, compose_job, execute, prepare
from trainctl.errors import TrainctlError
from trainctl.launch.local import linux
from trainctl.launch.local.answer import JobAnswer, tell_output
from trainctl.launch.local.channel import Channel, ChannelClosed
from trainctl.launch.local.claim import find_or_adopt, reserve, wait_until_free
from trainctl.launch.local.late_code import LoadedModules
from trainctl.launch.local.prestart import NotStarted, when_started
from trainctl.launch.slots.cores import EVERYONE, POOLS, limit_threads
from trainctl.launch.slots.host_locks import keep, let_go
from trainctl.launch.slots.slot import Slot


def become_job(
    channel: Channel,
    load_context: Callable[[], SweepContext],
    *,
    parent: int,
    forked: bool,
    modules: LoadedModules | None = None,
) -> NoReturn:
    """Run a job in this process, then end the process.

    Messages to the launcher: `armed(path)`, `waiting(path)`, `started(path, attempt, passed)`,
    `same(number, path)`, `skipped(path, loss, return, change, is_shared, stopped)`, `late(files)`, `idle()`,
    `ended(failure or None, return, stopped)`, `said(what a job has printed that has no log)`, `leaving()`. From it: the
    `JobSpec`, then `Slot`s.

    Args:
        channel: to the launcher.
        load_context: returns what all jobs share.
        parent: the process id of the zygote.
        forked: the zygote was forked from the launcher, so both know the same classes.
        modules: those that the zygote has loaded; None: they are looked up here.
    """
    code, job = 1, None
    output = HeldOutput()  # the launcher may be painting on the terminal
    try:
        os.setsid()
        linux.die_with_parent(parent)
        linux.adopt_orphans()  # so that the zygote adopts them only once this job has ended
        try:
            context: SweepContext | TrainctlError = load_context()
        except TrainctlError as error:
            context = error
        (spec,) = channel.receive()
        job = Job(channel, context, spec, forked, output, modules)
        code = job.run()
    except ChannelClosed:
        code = 1  # the launcher is gone, or does not need this job any more
    except BaseException:  # noqa: BLE001  # whatever it was, this process must end here and say why
        traceback.print_exc()
    finally:
        tell_output(output, channel)
        leave(code, channel, is_idle=job is not None and job.is_idle)


class Job:
    """One job: it is composed, waits for a slot, runs, and answers.

    Attributes:
        is_idle: its task has succeeded and left nothing behind that needs the slot.
    """

    def __init__(
        self,
        channel: Channel,
        context: SweepContext | TrainctlError,
        spec: JobSpec,
        forked: bool,
        output: HeldOutput,
        modules: LoadedModules | None,
    ) -> None:
        self._channel = channel
        self._context = context
        self._spec = spec
        self._forked = forked
        self._output = output
        self._attempt: Attempt | None = None
        self._own_environment: frozenset[str] = frozenset()
        self._remains = Remains()
        self._has_succeeded = self.is_idle = False
        self._answer = JobAnswer(channel, spec, forked, output)
        self._passed = ""
        self._modules = modules

    def run(self) -> int:
        """Return the exit code of the process."""
        try:
            if isinstance(self._context, TrainctlError):
                return self._answer.not_begun(self._context)
            begun, script = self._context.begun, self._context.program.script
            self._modules = self._modules or LoadedModules(begun, script, are_launchers=self._forked)
            prepare()
            return self._run_composed(self._context, compose_job(self._context, self._spec))
        except ChannelClosed:
            raise
        except Exception as error:  # noqa: BLE001  # nothing of the task has run: whatever it is stands in its way
            return self._answer.not_begun(error)

    def _run_composed(self, context: SweepContext, job: ComposedJob) -> int:
        self._limit_threads(job)
        while True:
            claim = find_or_adopt(job)
            if claim.is_to_run(self._spec.rerun):
                slot = None if self._spec.ahead else self._get_slot(claim.run.path)
                reservation, claim = reserve(job, context.start)
                if reservation is not None:
                    self._passed = claim.passed
                    return self._execute(context, job, reservation, slot)
            if claim.state == "same":
                return self._answer.same(claim)
            if claim.state == "done":
                return self._answer.skipped(job, claim)
            if claim.state == "failed":
                return self._answer.failed_earlier(claim.run)
            self._channel.send("waiting", str(claim.run.path))
            wait_until_free(claim.run, self._channel)

    def _limit_threads(self, job: ComposedJob) -> None:
        chosen = {str(name): str(value) for name, value in job.config.hydra.job.env_set.items()}
        self._own_environment = frozenset(chosen)  # what a job sets for itself wins
        own = {name: value for name, value in chosen.items() if name in POOLS}
        if own or not self._forked:  # else the zygote has done it for all
            limit_threads({**({} if EVERYONE in own else self._spec.threads), **own})

    def _get_slot(self, path: Path) -> Slot:
        """Tell the launcher that the job is ready, and wait for a slot.

        Raises:
            ChannelClosed: the launcher does not need this process any more.
        """
        self._channel.send("armed", str(path))
        (slot,) = self._channel.receive()
        return cast("Slot", slot)

    def _execute(self, context: SweepContext, job: ComposedJob, reservation: Reservation, slot: Slot | None) -> int:
        """Run the job; without a slot it waits for one before its task function."""
        run = reservation.run
        task = context.task_function
        if slot is None:
            task = when_started(task, lambda: self._start_late(job, reservation))
        else:
            self._start(job, reservation, slot)
            self._output.give_to(run.log)
            task = when_started(task, lambda: write_once(run.log))
        try:
            returned = execute(context, job, task)
        except NotStarted as ending:
            reservation.release()
            raise (ending.__cause__ or ending) from None
        except BaseException as error:  # noqa: BLE001  # KeyboardInterrupt and the like end this job, not the sweep
            returned = self._answer.raised(job, run, error)
        if self._attempt is None:  # Hydra failed in its own part
            self._attempt = Attempt.start(reservation, left_by_exit="interrupted")
            self._output.give_to(run.log)
        self._tell_late_code(self._attempt)
        self._has_succeeded = not self._attempt.is_done and returned.status is JobStatus.COMPLETED
        return self._answer.finish(self._attempt, returned, self._give_slot_back)

    def _tell_late_code(self, attempt: Attempt) -> None:
        """Report modules that the task has loaded in a newer version than earlier jobs."""
        assert self._modules is not None
        files = self._modules.changed()
        if files:
            with contextlib.suppress(OSError):  # a full disk: it is reported on the terminal
                attempt.update_run_yaml(changed_code=files)
            self._channel.send("late", files)

    def _start_late(self, job: ComposedJob, reservation: Reservation) -> None:
        try:
            self._answer.keep_hydra_config()
            self._start(job, reservation, self._get_slot(reservation.run.path))
            self._output.give_to(reservation.run.log)
            write_once(reservation.run.log)
        except Exception as error:
            raise NotStarted from error

    def _start(self, job: ComposedJob, reservation: Reservation, slot: Slot) -> None:
        environment = slot.environment()
        os.environ.update({name: environment[name] for name in environment.keys() - self._own_environment})
        keep(slot.places)  # nobody else gets the devices while this process lives, even if its launcher is killed
        self._attempt = attempt = Attempt.start(reservation, slot=slot.name, left_by_exit="interrupted")
        self._remains = Remains()
        self._attempt.at_end(self._give_slot_back)
        self._attempt.after_end(lambda: self._answer.early(job, attempt))
        keep_earlier_log(self._attempt.run, self._attempt.number)
        passed = self._passed if self._attempt.number == 1 else ""
        self._channel.send("started", str(self._attempt.run.path), self._attempt.number, passed)

    def _give_slot_back(self) -> None:
        """Release the slot, so that the next job can begin while the end of this one is recorded."""
        if self._has_succeeded and not self.is_idle and self._remains.are_none():
            self.is_idle = True
            let_go()
            with contextlib.suppress(ChannelClosed):
                self._channel.send("idle")


class Remains:
    """What a task has left behind in its process, and so whether it still needs its slot after it has returned."""

    def __init__(self) -> None:
        self._exit_hooks = _count_exit_hooks()

    def are_none(self) -> bool:
        """Whether nothing of the task will run any more, and nothing outlives this process.

        That is: no thread and no exit hook since this was made, no children, and no hold on a device.
        """
        return threading.active_count() == 1 and _count_exit_hooks() <= self._exit_hooks and not _holds_anything()


def _count_exit_hooks() -> int:
    count: Any = getattr(atexit, "_ncallbacks", None)  # private, there since 3.4
    return -1 if count is None else count()


def leave(code: int, channel: Channel, *, is_idle: bool = False) -> NoReturn:
    """End the process as the interpreter would, without unwinding the frames of the launcher's program.

    If all went well and no device is held, it first sends `leaving`: only the kernel's freeing of memory is left, and
    that takes longer than the start of the next job.

    Args:
        code: exit code of the process.
        channel: to the launcher.
        is_idle: nothing was left of the task (`Remains`).
    """
    with contextlib.suppress(BaseException):  # each step may fail in code of the task; the process ends anyway
        _shut_down_threads()
        atexit._run_exitfuncs()
    with contextlib.suppress(BaseException):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    with contextlib.suppress(BaseException):
        if code == 0 and (is_idle or not _holds_anything()):
            let_go()
            channel.send("leaving")
    os._exit(code)


def _holds_anything() -> bool:
    """Whether something outlives this process: children, or a device that it holds."""
    return bool(linux.children()) or linux.holds_device()


def _shut_down_threads() -> None:
    join: Any = getattr(threading, "_shutdown", None)
    if join is not None:
        join()
