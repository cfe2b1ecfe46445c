"""One execution of a run dir by this process, which holds its lock and writes its status."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import logging
import multiprocessing.util
import os
import sys
import time
import traceback
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

from trainctl.attempt import process
from trainctl.attempt.process import own
from trainctl.attempt.reservation import Reservation
from trainctl.config.masking import Masking
from trainctl.config.settings import given_settings
from trainctl.config.settings_node import hand_down
from trainctl.errors import JobError, TrainctlError
from trainctl.rundir import files
from trainctl.rundir.events import reject_left
from trainctl.rundir.inbox import names_in_inbox
from trainctl.rundir.pace import read_progress
from trainctl.rundir.paths import RunDir
from trainctl.rundir.result import read_result, write_result
from trainctl.rundir.seed import seed_libraries
from trainctl.rundir.status import OVER, State, Status, read_status, stop_reason, stopped_by, write_status


def leave_with(code: int) -> NoReturn:
    """End the process now.

    Exit handlers registered before this one no longer run, so those of the standard library are run here: child
    processes, temporary directories, log handlers, open streams.
    """
    for end in (_end_children, _finalize, logging.shutdown, sys.stdout.flush, sys.stderr.flush):
        with contextlib.suppress(Exception):  # each may run code of other libraries and fail; the process ends anyway
            end()
    os._exit(code)


def _end_children() -> None:
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._exit_function()


def _finalize() -> None:
    finalize: Any = weakref.finalize
    finalize._exitfunc()


log = logging.getLogger(__name__)


class Attempt:
    """A run being executed: from the moment this process takes the lock until `end`.

    Attributes:
        run: where everything is written.
        number: 1 for the first execution of this run dir, then 2, …
        seed: the seed of the run, given, taken over, or drawn.
        previous: what the attempt before has left; None for the first.
        composed: the plain config as Hydra composed it; None where no Hydra app runs.
        seeded: names of the libraries that were seeded so far.
        left: names of files in the inbox that earlier attempts did not take.
        ends_with_job: Hydra's callback began it, and ends it when Hydra's job ends.
        is_settled: result and status say how it ended, though the process may go on for a while.
        value: what the run returns, once it is settled.
        remark: what the status of a run that is done says beside that.
        stopped: who has stopped it, and at which step, if its loop has ended because somebody asked for that.
        ending: how it ends, once that is known.
    """

    def __init__(self, reservation: Reservation, status: Status, left: frozenset[str], begun: float) -> None:
        self.run = reservation.run
        self.settings = reservation.settings
        self.seed = reservation.seed
        self.composed = reservation.composed
        self.previous = reservation.previous
        self.seeded: set[str] = set()
        self.remark: str | None = None
        self.stopped: str | None = None
        self.ends_with_job = self.is_settled = False
        self.value: Any = None
        self.ending: State | None = None
        self.status = status
        self.left = left
        self._begun = begun  # monotonic seconds
        self._lock = reservation.lock
        self._pid = os.getpid()
        self._at_end: list[Callable[[], None]] = []
        self._after_end: list[Callable[[], None]] = []
        self._at_exit: list[Callable[[], None]] = []
        self._ended = False
        self._exit_error: BaseException | None = None

    @property
    def number(self) -> int:
        return self.status.attempt

    @property
    def has_ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended

    @property
    def is_done(self) -> bool:
        """Whether result and status say that the task has given its value."""
        return self.is_settled and self.status.has_returned

    @classmethod
    def begin(cls, run: RunDir, *, left_by_exit: State = "done", **options: Any) -> Attempt:
        """Take the run dir for this process, and write `run.yaml` and `status.yaml`.

        Args:
            run: made if it is not there.
            left_by_exit: what became of a run whose process ends, without an exception, before anybody called `end`.
            options: as `Reservation.make` takes them.

        Raises:
            RunDirError: another process runs there, or the directory cannot be made or written.
        """
        return cls.start(Reservation.make(run, **options), left_by_exit=left_by_exit)

    @classmethod
    def start(cls, reservation: Reservation, *, slot: str | None = None, left_by_exit: State = "done") -> Attempt:
        """Start the run in a run dir that was taken for it.

        Args:
            reservation: used up by this.
            slot: the devices that the run holds.
            left_by_exit: as for `begin`.

        Raises:
            RunDirError: the directory cannot be written.
        """
        left = names_in_inbox(reservation.run) if reservation.number > 1 else frozenset()
        begun = time.monotonic()
        attempt = cls(reservation, reservation.start(slot), left, begun)
        attempt.watch(left_by_exit)
        process.offer_session(attempt.run, attempt.seed)
        hand_down(given_settings(reservation.settings))
        return attempt

    def watch(self, left_by_exit: State) -> None:
        """Make this the attempt of this process: libraries are seeded, and it ends with the process at the latest."""
        own.attempt = self
        seed_libraries(self.seed, self.seeded)
        _watch_exit(self, left_by_exit)

    def watch_again(self) -> None:
        """Register the exit handler again, so that it runs before those that libraries have added since."""
        for finish in self._at_exit:
            atexit.unregister(finish)
            atexit.register(finish)

    def at_end(self, hook: Callable[[], None]) -> None:
        """Call `hook` when the attempt ends, before the status says so; the last one added is called first."""
        self._at_end.append(hook)

    def after_end(self, hook: Callable[[], None]) -> None:
        """Call `hook` once the status says how the attempt ended; it must not raise."""
        self._after_end.append(hook)

    def update_run_yaml(self, **entries: Any) -> None:
        """Add entries to `run.yaml`, or replace them."""
        files.write_yaml(self.run.run, {**files.read_mapping(self.run.run), **entries})

    def end(
        self,
        state: State,
        *,
        value: Any = None,
        exit_code: int | None = None,
        reason: str | None = None,
    ) -> None:
        """Record how the run ended and release its lock; a second call, or one by a forked child, does nothing.

        `done` is written only after `result.yaml`, so a run that says done can answer with its value. A run that was
        `settle`d stays done; what went wrong since is added as a remark.
        """
        if self._ended or os.getpid() != self._pid:
            return
        self._ended = True
        was_settled = self.is_settled
        try:
            self._close(state, value, exit_code, reason)
            if was_settled and self.status.has_returned and state != "done":
                self.remark = f"after live.done: {reason or state}"
                self.write_end("done", self.value, 0, None)
        finally:
            self._lock.release()
            for finish in self._at_exit:
                atexit.unregister(finish)
            if own.attempt is self:
                own.attempt = None
                process.withdraw_offers()
                hand_down(None)
            if not was_settled:
                self._tell_of_end()

    def settle(self, value: Any) -> None:
        """Record that the run is done with this value, however the process ends, which keeps the lock.

        Raises:
            JobError: it is not done: a replay that was not the same run, a disk that is full.
        """
        if self._ended or self.is_settled or os.getpid() != self._pid:
            return
        self._close("done", value, 0, None)
        self._tell_of_end()
        if not self.status.has_returned:
            raise JobError(str(self.status.reason))

    def outcome(self, returned: Any) -> Any:
        """Return the run's value: the one given to `live.done`, here or in a rank started here, else `returned`."""
        if self.is_settled or self._ended:
            return self.value
        return read_result(self.run) if returned is None else returned

    def _close(self, state: State, value: Any, exit_code: int | None, reason: str | None) -> None:
        if self.is_settled:
            return
        self.is_settled, self.ending = True, state
        for hook in reversed(self._at_end):
            try:
                hook()
            except Exception as error:  # the hooks are independent: one that fails must not keep the rest from closing
                log.error(
                    "the run could not be closed: %s", describe(error), exc_info=not isinstance(error, TrainctlError)
                )
                if state == "done":
                    state, exit_code, reason = "failed", 1, describe(error)
        self.value = value
        self.write_end(state, value, exit_code, reason)

    def _tell_of_end(self) -> None:
        for hook in self._after_end:
            hook()

    @property
    def goes_on(self) -> bool:
        """Whether the run, ending now, is gone on with by the same command: it is not done, and nobody stopped it."""
        return self.ending is not None and self._as_stopped(self.ending, None)[0] not in OVER

    def _answer_late(self) -> None:
        """Reject requests filed before the status said that the run has ended."""
        try:
            reject_left(self.run, goes_on=self.goes_on)
        except OSError as error:
            log.warning("the last requests could not be answered: %s", error.strerror or error)

    def mark(self, state: State) -> None:
        """Write to the status that the run is paused, or goes on; a full disk is ignored, since this is only shown."""
        if self._ended or self.is_settled:
            return
        self.status = dataclasses.replace(read_status(self.run) or self.status, state=state)
        with contextlib.suppress(OSError):
            write_status(self.run, self.status)

    def _as_stopped(self, state: State, reason: str | None) -> tuple[State, str | None]:
        """Return the state and reason to write; `stopped`, with the user, for a run that a user has stopped."""
        if state == "done" and self.stopped is not None:
            return "stopped", "; ".join(filter(None, (self.stopped, reason)))
        who = stopped_by(self.run, self.status) if state in ("done", "failed", "interrupted") else None
        if who is None:
            return state, reason
        progress = read_progress(self.run)
        return "stopped", stop_reason(who, progress.step, progress.total)

    def write_end(self, state: State, value: Any, exit_code: int | None, reason: str | None) -> None:
        """Write result and status; a failure to write is logged."""
        try:
            if state == "done":
                reason = reason or self.remark
                if value is not None or not self.run.result.exists():  # else a rank in another process has written it
                    write_result(self.run, value)
            if reason is not None:  # one that was read from the environment stands in no other file
                reason = Masking(self.composed or {}, self.settings.hidden).text(reason)
            after_s = time.monotonic() - self._begun
            ended, reason = self._as_stopped(state, reason)
            self.status = self.status.end(ended, after_s=after_s, exit_code=exit_code, reason=reason)
            write_status(self.run, self.status)
        except OSError as error:
            lost = f"the end of the run could not be written to {self.run.path}: {error.strerror or error}"
            log.error("%s", lost)
            if state == "done":  # nobody would know, so it will run again
                self.status = self.status.end("failed", exit_code=1, reason=lost)
                with contextlib.suppress(OSError):
                    write_status(self.run, self.status)
        self._answer_late()


begin = Attempt.begin


def current() -> Attempt | None:
    """Return the attempt that this process executes; None in a forked child and outside a run."""
    attempt: Attempt | None = own.attempt
    return attempt if attempt is not None and attempt._pid == os.getpid() else None


def describe(error: BaseException) -> str:
    """Say in one line what an exception says: `ValueError: no such file`.

    An error of trainctl is a sentence already.

    >>> describe(ValueError("no\\nsuch file"))
    'ValueError: no such file'
    """
    text = str(error) if isinstance(error, TrainctlError) else ""
    return " ".join((text or traceback.format_exception_only(type(error), error)[-1]).split())


def _below_hydra(trace: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that is the program's: Hydra's frames, which led to the task, are left out."""
    kept = at = trace
    while at is not None:
        if str(at.tb_frame.f_globals.get("__name__")).partition(".")[0] == "hydra":
            kept = at.tb_next
        at = at.tb_next
    return kept


class Starting:
    """The exception hook until a run has begun: an interrupt is shown as one word, since the task has not started."""

    def __init__(self) -> None:
        self.before = sys.excepthook

    @classmethod
    def watch(cls) -> None:
        """Install the hook in this process, once."""
        if not isinstance(sys.excepthook, cls):
            sys.excepthook = cls()

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, KeyboardInterrupt):
            self.before(kind, error, trace)
            return
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write("interrupted\n")


def _watch_exit(attempt: Attempt, left_by_exit: State) -> None:
    """End the attempt when its process ends, if nothing else has: `failed` after an uncaught exception.

    Python does not tell exit handlers whether `sys.exit` was called or with what code, hence `left_by_exit`.
    """
    previous = sys.excepthook.before if isinstance(sys.excepthook, Starting) else sys.excepthook

    def note(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        attempt._exit_error = error
        if not isinstance(error, KeyboardInterrupt):
            previous(kind, error, trace)
            return
        previous(kind, error.with_traceback(_below_hydra(trace)), error.__traceback__)
        with contextlib.suppress(OSError, ValueError):  # a terminal that is gone
            sys.stderr.write(f"interrupted: {os.path.relpath(attempt.run.path)}\n")

    def finish() -> None:
        sys.excepthook = previous if sys.excepthook is note else sys.excepthook
        error = attempt._exit_error
        if error is None and left_by_exit == "done":
            attempt.end("done", exit_code=0)
            if not attempt.status.has_returned:  # a replay that was not the same run, say
                leave_with(1)
        elif error is None:
            attempt.end(left_by_exit, reason="the program ended inside the task, by sys.exit or the like")
        elif isinstance(error, KeyboardInterrupt):
            attempt.end("interrupted", exit_code=130, reason="Ctrl-C")
        else:
            attempt.end("failed", exit_code=1, reason=describe(error))

    sys.excepthook = note
    atexit.register(finish)
    attempt._at_exit.append(finish)
    if multiprocessing.parent_process() is not None:  # one that was forked leaves without exit handlers
        multiprocessing.util.Finalize(None, finish, exitpriority=0)
