"""Environment variables by which a run offers its session and seed to ranks that its job starts."""

from __future__ import annotations

import multiprocessing
import os

from trainctl.attempt.rank import distributed
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status

_RUN, _SEED, _SESSION = "TRAINCTL_RUN", "TRAINCTL_SEED", "TRAINCTL_SESSION"


def offer(run: RunDir, seed: int) -> None:
    """Let processes started from now on open the run's session instead of this one, with its seed."""
    os.environ |= {_RUN: str(run.path), _SEED: str(seed)}


def take(run: RunDir) -> None:
    """Withdraw the offer of the session, which is open here; later ranks still get the seed."""
    os.environ.pop(_RUN, None)
    os.environ[_SESSION] = str(run.path)


def withdraw() -> None:
    """Withdraw all offers: the run has ended."""
    for name in (_RUN, _SEED, _SESSION):
        os.environ.pop(name, None)


def taken_above() -> RunDir | None:
    """Return the run whose session is open in the process that has started this one by multiprocessing; else None."""
    text = os.environ.get(_SESSION)
    host = None if text is None else RunDir.at(text)
    return host if host is not None and _is_child_of(host) else None


def offered(path: str | os.PathLike[str] | None = None) -> RunDir | None:
    """Return the run whose session this process may open, if it is the one at `path`; else None.

    Without a path only a rank gets it: another program of the same job has its own run.
    """
    text = os.environ.get(_RUN)
    if text is None:
        return None
    host = RunDir.at(text)
    if path is None:
        return host if _is_rank_of(host) else None
    return host if os.path.realpath(path) == os.path.realpath(host.path) else None


def _is_rank_of(host: RunDir) -> bool:
    """Whether this is a rank that a job's program has started: by torchrun, or by itself as `mp.spawn` does."""
    if os.environ.get("RANK") or distributed() is not None:
        return True
    return _is_child_of(host)


def _is_child_of(host: RunDir) -> bool:
    starter, status = multiprocessing.parent_process(), read_status(host)
    return starter is not None and status is not None and starter.pid == status.pid


def seed() -> int | None:
    """Return the seed of the run that started this rank; None where there is none."""
    text = os.environ.get(_SEED, "")
    return int(text) if text.isdigit() else None
