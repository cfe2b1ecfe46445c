"""The run dir of a job, and whether the job has anything left to do there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainctl.attempt.reservation import Reservation, take_lock
from trainctl.attempt.run_facts import earlier_draws, job_facts
from trainctl.compose.job import ComposedJob
from trainctl.config.keys import is_within
from trainctl.errors import RunDirError
from trainctl.launch.local.channel import Channel, ChannelClosed
from trainctl.rundir import beat, files
from trainctl.rundir.job_identity import JobIdentity, adopt, is_earlier
from trainctl.rundir.job_index import IndexedJob, JobIndex
from trainctl.rundir.lock import is_locked, opened
from trainctl.rundir.paths import RunDir, own_dir
from trainctl.rundir.provenance import Start, machine_facts
from trainctl.rundir.status import FAILED, read_status

_LOST_S = 30.0  # a claim takes milliseconds
_AGAIN_S = 0.01
_UNKNOWN = "differs in a value that is not recorded"  # a secret, say
_BUSY_POLL_S = 0.2
APART = ("hydra", "trainctl.run")  # settings that say what is done with a job, not what job it is


ClaimState = Literal["free", "busy", "failed", "done", "same"]


@dataclass(frozen=True, slots=True)
class Claim:
    """The run dir found for a job, and its state.

    Attributes:
        state: `free` (never run, interrupted, or stopped without a value), `busy` (running now), `failed` (by itself),
            `done` (or stopped with a value), or `same` (an equal job of this `launch()` has the run dir).
        is_earlier: its `run.yaml` is of an older version, without program and function.
        passed: why the first skipped directory belongs to another job.
        is_new: the run dir holds nothing of the job yet.
        equal: the number of the equal job, where the state is `same`.
        is_shared: the run dir has another name, of an equal job of an earlier `launch()`.
    """

    run: RunDir
    state: ClaimState
    is_earlier: bool = False
    passed: str = ""
    is_new: bool = False
    equal: int | None = None
    is_shared: bool = False

    def is_to_run(self, rerun: str) -> bool:
        """Whether the job runs there; `rerun` says which earlier outcome is run again, as `hydra.launcher.rerun`."""
        again = {"failed": rerun != "none", "done": rerun == "all"}
        return self.state == "free" or again.get(self.state, False)


def find_claim(
    path: Path,
    own: JobIdentity,
    is_finished: Callable[[RunDir], bool] = lambda _: True,
    launcher: str | None = None,
) -> Claim:
    """Return the run dir of the job called `path`: that one, or `NAME.2`, `NAME.3`, … while others have the name.

    A directory belongs to the job that `run.yaml` names in it; an empty one to nobody; one with anything else in it is
    somebody's work and is passed over. A job without an identity is never `done`: what ran there may have been another;
    nor is one whose task says that something is left to do. With `launcher` only its own directories count.

    Raises:
        RunDirError: something that is not a directory has the name.
    """
    number, passed = 1, ""
    while True:
        run = RunDir.at(path if number == 1 else path.with_name(f"{path.name}.{number}"))
        number += 1
        if not run.path.exists():
            return Claim(run, "free", passed=passed, is_new=True)
        if not run.path.is_dir():
            raise RunDirError(f"{str(run.path)!r} should be a run dir, but it is a file; move it away")
        record = files.read_mapping(run.run)
        is_foreign = launcher is not None and _launcher_of(record) != launcher
        if own.owns(record, run) and not is_foreign:
            return Claim(run, _left(run, own, is_finished), is_earlier(record), passed)
        if record.get("identity") is None and _is_unused(run):
            return Claim(run, "busy" if is_locked(run.lock, surely=True) else "free", passed=passed, is_new=True)
        why = ""
        if record.get("identity") is not None:
            unknown = "is of an earlier sweep (hydra.launcher.resume=false)" if is_foreign else _UNKNOWN
            why = own.why_not(record, run) or unknown
        passed = passed or (why and f"{run.name} {why}")


def can_be_equal(job: ComposedJob) -> bool:
    """Whether a job may equal one of another name.

    It may not if it has no identity, or says what is done with it: two jobs that run different commands of a pipeline
    differ though their configs are equal.
    """
    is_named = bool(job.identity.text) and job.identity.program.function is not None
    return is_named and not any(is_within(key.replace("/", "."), APART) for key in job.spec.swept)


def claim_of(job: ComposedJob) -> Claim:
    """Return the run dir of a job: the one that an equal job of this `launch()` has, its own, or another equal job's.

    Raises:
        RunDirError: as for `find_claim`.
    """
    indexed = JobIndex(job.sweep_dir).find(job.identity.text) if can_be_equal(job) else []
    for each in indexed:
        if each.launch == job.spec.launch and each.number != job.spec.number and _has(job, each):
            return Claim(RunDir.at(job.sweep_dir / each.run), "same", equal=each.number)
    only = None if job.spec.resumes else job.launcher
    claim = find_claim(job.path, job.identity, job.is_finished, only)
    if claim.is_new:
        for each in indexed:
            if _has(job, each):
                run = RunDir.at(job.sweep_dir / each.run)
                return Claim(run, _left(run, job.identity, job.is_finished), is_shared=True)
    return claim


def _has(job: ComposedJob, equal: IndexedJob) -> bool:
    """Whether a run dir still belongs to the equal job in the index."""
    run = RunDir.at(job.sweep_dir / equal.run)
    record = files.read_mapping(run.run)
    is_own = job.spec.resumes or _launcher_of(record) == job.launcher
    return is_own and not is_earlier(record) and job.identity.owns(record, run)


def _launcher_of(record: Mapping[str, Any]) -> Any:
    """Return the launcher that started a run, from its `run.yaml`."""
    job = record.get("job")
    return job.get("launcher") if isinstance(job, dict) else None


def find_or_adopt(job: ComposedJob) -> Claim:
    """Return the claim of a job, updating its `run.yaml` if it is of an older version."""
    claim = claim_of(job)
    if not claim.is_earlier or claim.state == "busy":
        return claim
    with claiming(job.sweep_dir):
        claim = claim_of(job)
        if claim.is_earlier and claim.state != "busy":
            with contextlib.suppress(OSError):  # another user's: it is recognised next time too
                adopt(claim.run, job.identity)
    return claim


def _left(run: RunDir, own: JobIdentity, is_finished: Callable[[RunDir], bool]) -> ClaimState:
    """Return the state of a job's run dir; a done one is free if the job may have something left to do."""
    state = _state(run)
    return "free" if state == "done" and not (own.text and is_finished(run)) else state


def _state(run: RunDir) -> ClaimState:
    if is_locked(run.lock, surely=True):
        return "busy"
    status = read_status(run)
    if status is None:
        return "free"
    if status.has_returned:
        return "done" if run.result.is_file() else "free"
    return "failed" if status.state in FAILED else "free"


def take(job: ComposedJob, run: RunDir) -> None:
    """Add a run dir to the index, for equal jobs with other names. The caller holds the lock of the sweep dir."""
    if can_be_equal(job):
        index = JobIndex(job.sweep_dir)
        path = str(run.path.relative_to(job.sweep_dir))
        index.add(IndexedJob(job.identity.text, path, job.spec.launch or None, job.spec.number))


def reserve(job: ComposedJob, start: Start) -> tuple[Reservation | None, Claim]:
    """Take the run dir of a job, unless another process has taken or finished it meanwhile.

    Raises:
        RunDirError: as for `find_claim`; or it cannot be made or written.
    """
    with claiming(job.sweep_dir):
        JobIndex(job.sweep_dir).mend()
        claim = claim_of(job)
        if not claim.is_to_run(job.spec.rerun):
            return None, claim
        take(job, claim.run)
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
                "job": {"num": job.spec.number, "id": str(job.config.hydra.job.id), "launcher": job.launcher},
                **job_facts(job.config.hydra),
                **machine_facts(start),
            },
        )
    return reservation, claim


def wait_until_free(run: RunDir, channel: Channel) -> None:
    """Wait until no process runs in the run dir.

    Raises:
        ChannelClosed: the launcher is gone.
    """
    while is_locked(run.lock, surely=True):
        if select.select([channel], [], [], _BUSY_POLL_S)[0]:
            raise ChannelClosed


def _is_unused(run: RunDir) -> bool:
    """Whether a directory holds only files that a job makes before its `run.yaml`, or leaves when killed writing it."""
    names = {entry.name for entry in os.scandir(run.path) if files.leftover_of(entry.name) != run.run.name}
    return names <= {run.lock.name, run.inbox.name}


@contextmanager
def claiming(sweep_dir: Path) -> Iterator[None]:
    """Hold the lock under which one job at a time, of all launchers in the sweep dir, chooses its run dir.

    Raises:
        RunDirError: the sweep dir cannot be made or locked.
    """
    own = own_dir(sweep_dir)
    try:
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = opened(own / "claim.lock")
    except OSError as error:
        raise RunDirError(f"the sweep dir {str(sweep_dir)!r} cannot be used: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.nullcontext() if beat.inherited() is None else _among_nodes(own / "claim.held"):
            yield
    finally:
        os.close(descriptor)


@contextmanager
def _among_nodes(path: Path) -> Iterator[None]:
    """Exclude all other nodes where they do not see each other's locks, by a directory that only one of them can make.

    A directory whose maker was lost with its node is removed once it has not changed for long.
    """
    since, of = time.monotonic(), -1
    while True:
        try:
            path.mkdir(mode=0o700)
            break
        except FileExistsError:
            pass
        with contextlib.suppress(FileNotFoundError):
            now = os.stat(path).st_ino
            since, of = (since, of) if now == of else (time.monotonic(), now)
            if time.monotonic() - since > _LOST_S:
                aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
                path.rename(aside)
                aside.rmdir()
        time.sleep(_AGAIN_S)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.rmdir()
