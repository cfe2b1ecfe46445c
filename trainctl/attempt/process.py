"""The part of this process in a run: which run is its own, which rank it is, and what ranks that it starts may open."""

from __future__ import annotations

import multiprocessing
import os
import sys
from dataclasses import dataclass
from typing import Any

from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status


@dataclass(slots=True)
class OwnRun:
    """The run of this process, remembered here and nowhere else; a forked child inherits it.

    So each part is read through the function that knows whether it is still this process's own.

    Attributes:
        reservation: the run dir taken for an attempt that has not begun; `attempt.reservation.is_waiting`.
        attempt: `attempt.attempt.current()`.
        session: the live session, which stays here after its attempt has ended; `session.api.current()`.
    """

    reservation: Any = None
    attempt: Any = None
    session: Any = None


own = OwnRun()

# torchrun, Accelerate; Slurm; Open MPI; MPICH and Intel MPI
_RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
# The only variables that Lightning sets for the processes it starts itself; on the first one they are unset or 0.
_PLACES = ("NODE_RANK", "LOCAL_RANK")


def rank() -> int:
    """Return this process's rank; 0 outside a distributed run. Only rank 0 writes the run dir and takes edits.

    Where a launcher tells only the node's and the local rank, any number but 0 means: not rank 0.
    """
    torch = distributed()
    if torch is not None:
        return int(torch.get_rank())
    for name in _RANKS:
        if os.environ.get(name):
            return _number(name)
    return max(map(_number, _PLACES))


def world_size() -> int:
    """Return how many processes train together, as far as PyTorch or the environment says; else 1."""
    torch = distributed()
    return int(torch.get_world_size()) if torch is not None else _number("WORLD_SIZE") or 1


def is_one_of_several() -> bool:
    """Whether PyTorch or a launcher says that this process is one of several ranks.

    The answer is the same on all ranks. Lightning tells the rank 0 that it starts itself nothing before the ranks meet,
    so its ranks count as alone here, each of them.
    """
    return distributed() is not None or any(os.environ.get(name) for name in _RANKS)


def distributed() -> Any:
    """Return `torch.distributed` if this process has initialised it, else None; torch is not imported for this."""
    torch = sys.modules.get("torch.distributed")
    return torch if torch is not None and torch.is_available() and torch.is_initialized() else None


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else 0


# By these a run offers its session and its seed to the ranks that its job starts.
_RUN, _SEED, _SESSION = "TRAINCTL_RUN", "TRAINCTL_SEED", "TRAINCTL_SESSION"


def offer_session(run: RunDir, seed: int) -> None:
    """Let processes started from now on open the run's session instead of this one, with its seed."""
    os.environ |= {_RUN: str(run.path), _SEED: str(seed)}


def take_session(run: RunDir) -> None:
    """Withdraw the offer of the session, which is now open here; later ranks still get the seed."""
    os.environ.pop(_RUN, None)
    os.environ[_SESSION] = str(run.path)


def withdraw_offers() -> None:
    """Withdraw all offers: the run has ended."""
    for name in (_RUN, _SEED, _SESSION):
        os.environ.pop(name, None)


def session_above() -> RunDir | None:
    """Return the run whose session is open in the process that has started this one by multiprocessing; else None."""
    text = os.environ.get(_SESSION)
    host = None if text is None else RunDir.at(text)
    return host if host is not None and _is_child_of(host) else None


def offered_run(path: str | os.PathLike[str] | None = None) -> RunDir | None:
    """Return the run whose session this process may open, if it is the one at `path`; else None.

    Without a path only a rank gets it: any other program of the same job has its own run.
    """
    text = os.environ.get(_RUN)
    if text is None:
        return None
    host = RunDir.at(text)
    if path is None:
        return host if _is_rank_of(host) else None
    return host if os.path.realpath(path) == os.path.realpath(host.path) else None


def offered_seed() -> int | None:
    """Return the seed of the run that started this rank; None where there is none."""
    text = os.environ.get(_SEED, "")
    return int(text) if text.isdigit() else None


def _is_rank_of(host: RunDir) -> bool:
    """Whether this is a rank that a job's program has started: by torchrun, or by itself as `mp.spawn` does."""
    return bool(os.environ.get("RANK")) or distributed() is not None or _is_child_of(host)


def _is_child_of(host: RunDir) -> bool:
    starter, status = multiprocessing.parent_process(), read_status(host)
    return starter is not None and status is not None and starter.pid == status.pid
