"""Which run dir a job gets, and whether it has anything left to do there."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainctl.compose.job import ComposedJob
from trainctl.config.keys import is_within
from trainctl.errors import RunDirError
from trainctl.rundir import files
from trainctl.rundir.job_identity import JobIdentity, adopt, is_earlier
from trainctl.rundir.job_index import IndexedJob, JobIndex
from trainctl.rundir.lock import is_locked
from trainctl.rundir.paths import RunDir, own_dir
from trainctl.rundir.status import FAILED, read_status

_APART = ("hydra", "trainctl.run")  # settings that say what is done with a job, not what job it is


ClaimState = Literal["free", "busy", "failed", "done", "same"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What was found for a job.

    Attributes:
        state: `free` (never run, or interrupted), `busy` (running now), `failed` (by itself), `done`, or `same`: an
            equal job of this `launch()` has taken it.
        is_earlier: its `run.yaml` is of the time when it did not name program and function.
        passed: why the first directory that was passed over is another job's.
        is_new: nothing of the job is there.
        equal: the number of the equal job, where the state is `same`.
        is_shared: the job would have another name; an equal one of an earlier `launch()` is there.
    """

    run: RunDir
    state: ClaimState
    is_earlier: bool = False
    passed: str = ""
    is_new: bool = False
    equal: int | None = None
    is_shared: bool = False


def find_claim(path: Path, own: JobIdentity, is_finished: Callable[[RunDir], bool] = lambda _: True) -> Claim:
    """Return the run dir of the job called `path`: that one, or `NAME.2`, `NAME.3`, … while others have the name.

    A directory belongs to the job that `run.yaml` names in it; an empty one to nobody; one with anything else in it is
    somebody's work and is passed over. A job without an identity is never `done`: what ran there may have been another;
    nor is one whose task says that something is left to do.

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
            raise RunDirError(f"{str(run.path)!r} is to be a run dir, but a file stands there; move it away")
        record = files.read_mapping(run.run)
        if own.owns(record, run):
            return Claim(run, _left(run, own, is_finished), is_earlier(record), passed)
        if record.get("identity") is None and _is_unused(run):
            return Claim(run, "busy" if is_locked(run.lock) else "free", passed=passed, is_new=True)
        why = own.why_not(record, run) if record.get("identity") is not None else ""
        passed = passed or (why and f"{run.name} {why}")


def can_be_equal(job: ComposedJob) -> bool:
    """Whether a job may be the same as one of another name.

    Not one without an identity, nor one that says itself what is done with it: two that run other commands of a
    pipeline differ, though their configs do not.
    """
    is_named = bool(job.identity.text) and job.identity.program.function is not None
    return is_named and not any(is_within(key.replace("/", "."), _APART) for key in job.spec.swept)


def claim_of(job: ComposedJob) -> Claim:
    """Return the run dir of a job: the one that an equal job of this `launch()` has, its own, or another equal job's.

    Raises:
        RunDirError: as for `find_claim`.
    """
    indexed = JobIndex(job.sweep_dir).find(job.identity.text) if can_be_equal(job) else []
    for each in indexed:
        if each.launch == job.spec.launch and each.number != job.spec.number and _has(job, each):
            return Claim(RunDir.at(job.sweep_dir / each.run), "same", equal=each.number)
    claim = find_claim(job.path, job.identity, job.is_finished)
    if claim.is_new:
        for each in indexed:
            if _has(job, each):
                run = RunDir.at(job.sweep_dir / each.run)
                return Claim(run, _left(run, job.identity, job.is_finished), is_shared=True)
    return claim


def _has(job: ComposedJob, equal: IndexedJob) -> bool:
    """Whether a run dir is still what the index says: an equal job's."""
    run = RunDir.at(job.sweep_dir / equal.run)
    record = files.read_mapping(run.run)
    return not is_earlier(record) and job.identity.owns(record, run)


def find_or_adopt(job: ComposedJob) -> Claim:
    """Return what `claim_of` does for a job; its own `run.yaml` of an earlier time is brought up to date."""
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
    """Return the state of a job's run dir; one that is done is free where the job may have something left to do."""
    state = _state(run)
    return "free" if state == "done" and not (own.text and is_finished(run)) else state


def _state(run: RunDir) -> ClaimState:
    if is_locked(run.lock):
        return "busy"
    status = read_status(run)
    if status is None:
        return "free"
    if status.state == "done":
        return "done" if run.result.is_file() else "free"
    return "failed" if status.state in FAILED else "free"


def take(job: ComposedJob, run: RunDir) -> None:
    """Write down whose a run dir is, for equal jobs of other names. The caller holds the lock of the sweep dir."""
    if can_be_equal(job):
        index = JobIndex(job.sweep_dir)
        path = str(run.path.relative_to(job.sweep_dir))
        index.add(IndexedJob(job.identity.text, path, job.spec.launch or None, job.spec.number))


def kept_draws(run: RunDir) -> dict[Any, Any]:
    """Return the values that an earlier attempt in a run dir has drawn, by dotted key."""
    kept = files.read_mapping(run.run).get("drawn")
    return kept if isinstance(kept, dict) else {}


def _is_unused(run: RunDir) -> bool:
    """Whether nothing stands there but what a job makes before its `run.yaml`, or leaves when killed writing it."""
    names = {entry.name for entry in os.scandir(run.path) if files.leftover_of(entry.name) != run.run.name}
    return names <= {run.lock.name, run.inbox.name}


@contextmanager
def claiming(sweep_dir: Path) -> Iterator[None]:
    """Let one job at a time, of all launchers that use this sweep dir, choose its run dir and take it.

    Raises:
        RunDirError: the sweep dir cannot be made or locked.
    """
    own = own_dir(sweep_dir)
    try:
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(own / "claim.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RunDirError(f"the sweep dir {str(sweep_dir)!r} cannot be used: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
