"""Which process of a distributed run this is."""

from __future__ import annotations

import os
import sys
from typing import Any

# torchrun, Accelerate; Slurm; Open MPI; MPICH and Intel MPI
_RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
# Lightning gives the processes that it starts itself no more than these; on the first one they are unset or 0.
_PLACES = ("NODE_RANK", "LOCAL_RANK")


def rank() -> int:
    """Return this process's rank; 0 outside a distributed run. Only rank 0 writes the run dir and takes edits.

    Where a launcher tells only the places in node and machine, any number but 0 says: not rank 0.
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

    The answer is the same on all ranks. Those that Lightning starts by itself are told nothing on rank 0 before they
    meet, and count here as alone on every rank.
    """
    return distributed() is not None or any(os.environ.get(name) for name in _RANKS)


def distributed() -> Any:
    """Return `torch.distributed` if this process has initialised it, else None; torch is not imported for this."""
    torch = sys.modules.get("torch.distributed")
    return torch if torch is not None and torch.is_available() and torch.is_initialized() else None


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else 0
