"""A run dir reserved for a run that is about to start: it is locked, but not yet marked as running."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from omegaconf import DictConfig

from trainctl.attempt.process import own
from trainctl.attempt.run_facts import drawing_facts
from trainctl.config import yaml
from trainctl.config.loaded import kept_copies
from trainctl.config.settings import Settings, recorded, settings_of
from trainctl.config.settings_node import hydra_config
from trainctl.errors import RunDirError
from trainctl.rundir import files
from trainctl.rundir.lock import RunLock, is_locked, keep_in
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import replayed_path
from trainctl.rundir.seed import choose_seed
from trainctl.rundir.status import ALIVE, Status, read_status, write_status
from trainctl.rundir.summary import PreviousAttempt, read_record

_LONG = ("packages",)
_LASTING = ("drawn", "composed", "resumed_after")  # what earlier attempts began with, whatever becomes of later ones
_LOCK_PATIENCE_S = 0.5  # a child that its last holder has just forked may still have a copy of it


PREVIOUS = "previous"  # in `run.yaml`: the attempt before


class Reservation:
    """A run dir whose lock this process holds, until `start` begins a run in it or `release` gives it up.

    A new directory gets its `run.yaml` at once, so that its job is known even if this process is killed. In a directory
    that has run before, nothing changes until the start, except that a killed run is marked interrupted or stopped.

    Attributes:
        seed: the seed of the run, given, taken over, or drawn.
        previous: what the attempt before has left; None for the first.
        composed: the plain config as Hydra composed it; None where no Hydra app runs.
    """

    def __init__(self, run: RunDir, lock: RunLock, settings: Settings, seed: int, record: dict[str, Any]) -> None:
        self.run = run
        self.lock = lock
        self.settings = settings
        self.seed = seed
        self.composed: dict[Any, Any] | None = None
        self.previous: PreviousAttempt | None = None
        self._record = record
        self._pid = os.getpid()
        self._earlier: Status | None = None
        self._is_recorded = False

    @classmethod
    def make(
        cls,
        run: RunDir,
        *,
        config: DictConfig,
        facts: Mapping[str, Any] | None = None,
        settings: Settings | None = None,
        lock: RunLock | None = None,
    ) -> Reservation:
        """Reserve a run dir, making it if needed.

        Args:
            run: which.
            config: the task's config; its `trainctl` node is read.
            facts: the entries of `run.yaml`, in this order; by default those of a run that no launcher started.
            settings: those of `config`, where the caller has them already.
            lock: the run's lock when the caller holds it already.

        Raises:
            RunDirError: another process runs there, or the directory cannot be made or written.
        """
        settings = settings or settings_of(config)
        keep_in(settings.locks)
        _make_private(run)
        run.create()
        lock = lock or take_lock(run)
        try:
            facts = facts if facts is not None else drawing_facts(config, settings, run)
            replayed = replayed_path(settings.replay)
            seed = choose_seed(settings.seed, run, replayed)
            record = {"name": run.name, **facts, "seed": seed, "parent": replayed and str(replayed), **_loaded(config)}
            reservation = cls(run, lock, settings, seed, record)
            if "hydra" in config:
                reservation.composed = recorded(config)
            with _writing(run):
                reservation._look_back()
        except BaseException:
            lock.release()  # nothing runs here
            raise
        own.reservation = reservation
        return reservation

    def _look_back(self) -> None:
        self.run.remove_leftovers()
        self._earlier = read_status(self.run)
        if self._earlier is None:
            self._write_record()
            return
        self.previous = PreviousAttempt.of(self.run, self._earlier)
        # for a process that the job starts, and in which its session is opened
        self._record |= {PREVIOUS: dataclasses.asdict(self.previous)}
        self._record = {**read_record(self.run, *_LASTING), **self._record}
        if self._earlier.state in ALIVE:  # this process holds its lock, so it was killed
            write_status(self.run, self._earlier.end(self.previous.state, reason=self.previous.reason))

    def _write_record(self) -> None:
        try:
            text = _text(self._record)
        except UnicodeEncodeError:
            files.write_yaml(self.run.run, self._record)
        else:
            files.write_atomic(self.run.run, text)
        self._is_recorded = True

    @property
    def number(self) -> int:
        """Which attempt this is in its run dir: 1, 2, …"""
        return 1 if self._earlier is None else self._earlier.attempt + 1

    def start(self, slot: str | None) -> Status:
        """Record that the run starts now, with these devices.

        Raises:
            RunDirError: it cannot be written; the run dir is given up then.
        """
        known = None if self._earlier is None else self._earlier.commands
        status = dataclasses.replace(Status.running_here(attempt=self.number, slot=slot), commands=known)
        try:
            with _writing(self.run):
                if not self._is_recorded:
                    self._write_record()
                with contextlib.suppress(FileNotFoundError):
                    self.run.result.unlink()
                write_status(self.run, status)
        except BaseException:
            self.release()
            raise
        self._forget()
        return status

    def release(self) -> None:
        """Give the run dir up."""
        self._forget()
        self.lock.release()

    def _forget(self) -> None:
        if own.reservation is self:
            own.reservation = None


def _loaded(config: DictConfig) -> dict[str, Any]:
    copies = kept_copies(config.get("hydra") or hydra_config())
    return {"from": copies} if copies else {}


def _text(record: Mapping[str, Any]) -> str:
    """Return a record as `yaml.dumps` writes it; the text of long parts that all runs share is cached."""
    parts: list[dict[str, Any] | str] = [{}]
    for key, value in record.items():
        if key in _LONG and isinstance(value, dict):
            parts += [_text_of_long(key, tuple(value.items())), {}]
        else:
            cast("dict[str, Any]", parts[-1])[key] = value
    return "".join(part if isinstance(part, str) else yaml.dumps(part) for part in parts if part)


@lru_cache(maxsize=len(_LONG))
def _text_of_long(key: str, items: tuple[tuple[str, str], ...]) -> str:
    return yaml.dumps({key: dict(items)})


def is_waiting() -> bool:
    """Whether this process has taken a run dir for a run that has not started yet."""
    reservation: Reservation | None = own.reservation
    return reservation is not None and reservation._pid == os.getpid()


@contextlib.contextmanager
def _writing(run: RunDir) -> Any:
    try:
        yield
    except OSError as error:
        if isinstance(error, RunDirError):
            raise
        raise RunDirError(f"the run dir {str(run.path)!r} cannot be written: {error.strerror or error}") from error


def _make_private(run: RunDir) -> None:
    """Make a run dir private that Hydra has just made; a directory with other files in it belongs to the user."""
    hydra = hydra_config()
    if hydra is None or not run.path.is_dir():
        return
    by_hydra = {str(hydra.output_subdir), f"{hydra.job.name}.log"}
    with contextlib.suppress(OSError):
        if {entry.name for entry in run.path.iterdir()} <= by_hydra:
            run.path.chmod(0o700)


def check_free(run: RunDir) -> None:
    """Refuse a run dir in which another process runs.

    Raises:
        RunDirError: one does.
    """
    if is_locked(run.lock):
        raise RunDirError(_in_use(run))


def _in_use(run: RunDir) -> str:
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
                raise RunDirError(_in_use(run))
            time.sleep(0.005)
    except OSError as error:
        if isinstance(error, RunDirError):
            raise
        raise RunDirError(f"the run dir {str(run.path)!r} cannot be locked: {error.strerror or error}") from error
    return lock
