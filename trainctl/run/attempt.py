"""One execution of a run dir by this process: who holds its lock and writes its status."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from omegaconf import DictConfig

from trainctl.config.identity import identity
from trainctl.config.override import task_overrides
from trainctl.config.settings import Settings, settings_of
from trainctl.errors import RunDirError
from trainctl.run import files
from trainctl.run.lock import RunLock
from trainctl.run.provenance import hydra_config, machine_facts, original_cwd, single_job_argv
from trainctl.run.result import write_result
from trainctl.run.rundir import RunDir
from trainctl.run.seed import choose_seed, seed_libraries
from trainctl.run.status import State, Status, read_status, write_status

log = logging.getLogger(__name__)

_current: Attempt | None = None

_LOCK_PATIENCE_S = 0.5  # a reader that looks whether we run holds the lock for microseconds


class Attempt:
    """A run in execution: from the moment this process takes the lock until `end`.

    Attributes:
        run: where everything is written.
        number: 1 for the first execution of this run dir, then 2, …
        seed: the seed of the run, given, taken over, or drawn.
        seeded: names of the libraries that were seeded so far.
    """

    def __init__(self, run: RunDir, lock: RunLock, status: Status, settings: Settings, seed: int) -> None:
        self.run = run
        self.settings = settings
        self.seed = seed
        self.seeded: set[str] = set()
        self.status = status
        self._lock = lock
        self._pid = os.getpid()
        self._at_end: list[Callable[[], None]] = []
        self._ended = False
        self._exit_error: BaseException | None = None

    @property
    def number(self) -> int:
        return self.status.attempt

    @classmethod
    def begin(
        cls,
        run: RunDir,
        *,
        config: DictConfig,
        facts: Mapping[str, Any] | None = None,
        slot: str | None = None,
        lock: RunLock | None = None,
        left_by_exit: State = "done",
    ) -> Attempt:
        """Take the run dir for this process and say so in `run.yaml` and `status.yaml`.

        Args:
            run: made if it is not there.
            config: the task's config; its `trainctl` node is read.
            facts: what `run.yaml` shall say, in this order; by default those of a run that no launcher started.
            slot: the devices that the run holds.
            lock: the run's lock when the caller holds it already.
            left_by_exit: what became of a run whose process ends, without an exception, before anybody called `end`.

        Raises:
            RunDirError: another process runs there, or the directory cannot be made or written.
        """
        global _current
        settings = settings_of(config)
        _make_private(run)
        run.create()
        lock = lock or take_lock(run)
        try:
            facts = facts if facts is not None else plain_facts(config, settings)
            status, seed = _write_start(run, settings, facts, slot)
        except BaseException:
            lock.release()  # nothing runs here
            raise
        attempt = cls(run, lock, status, settings, seed)
        _current = attempt
        seed_libraries(seed, attempt.seeded)
        _watch_exit(attempt, left_by_exit)
        return attempt

    def at_end(self, hook: Callable[[], None]) -> None:
        """Call `hook` when the attempt ends, before the status says so; the last one added is called first."""
        self._at_end.append(hook)

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
        """Write down how the run ended and give back its lock; a second call, or one by a forked child, does nothing.

        `done` is written only after `result.yaml`, so a run that says done can answer with its value.
        """
        global _current
        if self._ended or os.getpid() != self._pid:
            return
        self._ended = True
        for hook in reversed(self._at_end):
            try:
                hook()
            except Exception as error:  # the hooks are independent: one that fails must not keep the rest from closing
                log.exception("closing the run failed")
                if state == "done":
                    state, exit_code, reason = "failed", 1, f"{type(error).__name__}: {error}"
        try:
            if state == "done":
                write_result(self.run, value)
            self.status = self.status.end(state, exit_code=exit_code, reason=reason)
            write_status(self.run, self.status)
        except OSError as error:
            log.error("the end of the run could not be written to %s: %s", self.run.path, error)
        finally:
            self._lock.release()
            if _current is self:
                _current = None


begin = Attempt.begin


def current() -> Attempt | None:
    """Return the attempt that this process executes; None in a forked child and outside a run."""
    return _current if _current is not None and _current._pid == os.getpid() else None


def _make_private(run: RunDir) -> None:
    """Shut others out of a directory that Hydra has just made for a run; one that holds anything else is a person's."""
    hydra = hydra_config()
    if hydra is None or not run.path.is_dir():
        return
    by_hydra = {str(hydra.output_subdir), f"{hydra.job.name}.log"}
    with contextlib.suppress(OSError):
        if {entry.name for entry in os.scandir(run.path)} <= by_hydra:
            run.path.chmod(0o700)


def _write_start(run: RunDir, settings: Settings, facts: Mapping[str, Any], slot: str | None) -> tuple[Status, int]:
    """Write `run.yaml` and `status.yaml` of an attempt that begins; return its status and its seed.

    Raises:
        RunDirError: they cannot be written.
    """
    earlier = read_status(run)
    status = Status.running_here(attempt=earlier.attempt + 1 if earlier else 1, slot=slot)
    replayed = None if settings.replay is None else original_cwd() / Path(settings.replay).expanduser()
    seed = choose_seed(settings.seed, run, replayed)
    try:
        run.remove_leftovers()
        files.write_yaml(run.run, {"name": run.name, **facts, "seed": seed, "parent": replayed and str(replayed)})
        with contextlib.suppress(FileNotFoundError):
            run.result.unlink()
        write_status(run, status)
    except OSError as error:
        raise RunDirError(f"the run dir {str(run.path)!r} cannot be written: {error.strerror or error}") from error
    return status, seed


def in_use(run: RunDir) -> str:
    """Return the sentence for somebody who wants a run dir in which another process runs."""
    return f"{str(run.path)!r} is in use by a run that is still going; wait for it, or choose another run dir"


def take_lock(run: RunDir) -> RunLock:
    """Take a run's lock.

    Raises:
        RunDirError: another process holds it, or it cannot be made.
    """
    lock = RunLock(run.lock)
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    try:
        while not lock.acquire():
            if time.monotonic() > deadline:
                raise RunDirError(in_use(run))
            time.sleep(0.005)
    except OSError as error:
        if isinstance(error, RunDirError):
            raise
        raise RunDirError(f"the run dir {str(run.path)!r} cannot be locked: {error.strerror or error}") from error
    return lock


def describe(error: BaseException) -> str:
    """Say in one line what an exception says: `ValueError: no such file`.

    >>> describe(ValueError("no\\nsuch file"))
    'ValueError: no such file'
    """
    return " ".join(traceback.format_exception_only(type(error), error)[-1].split())


def plain_facts(config: DictConfig, settings: Settings) -> dict[str, Any]:
    """Return what `run.yaml` says of a run that no launcher started."""
    hydra = hydra_config()
    overrides = task_overrides(hydra) if hydra is not None else []
    return {
        "identity": identity(config, settings.identity.exclude),
        "overrides": overrides,
        "argv": single_job_argv(overrides) if hydra is not None else list(sys.argv),
        **machine_facts(),
    }


def _watch_exit(attempt: Attempt, left_by_exit: State) -> None:
    """End the attempt with its process when nobody else does: `failed` after an uncaught exception.

    Python does not tell exit handlers whether `sys.exit` was called or with what code, hence `left_by_exit`.
    """
    previous = sys.excepthook

    def note(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        attempt._exit_error = error
        previous(kind, error, trace)

    def finish() -> None:
        sys.excepthook = previous if sys.excepthook is note else sys.excepthook
        error = attempt._exit_error
        if error is None and left_by_exit == "done":
            attempt.end("done", exit_code=0)
        elif error is None:
            attempt.end(left_by_exit, reason="the program ended inside the task, by sys.exit or the like")
        elif isinstance(error, KeyboardInterrupt):
            attempt.end("interrupted", exit_code=130, reason="KeyboardInterrupt")
        else:
            attempt.end("failed", exit_code=1, reason=describe(error))

    sys.excepthook = note
    atexit.register(finish)
    attempt.at_end(lambda: atexit.unregister(finish))
