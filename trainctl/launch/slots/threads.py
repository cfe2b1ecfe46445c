"""A job's share of the processor cores, for the thread pools that its libraries keep."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping

EVERYONE = "OMP_NUM_THREADS"
POOLS = (EVERYONE, "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_BLAS = frozenset(("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"))


def thread_environment(slots: int, cores: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep each of so many jobs to its share of the cores, at least one.

    What the user set stays. With OMP_NUM_THREADS set none is returned, since the other pools follow it.

    >>> thread_environment(4, 16, {"MKL_NUM_THREADS": "2"})
    {'OMP_NUM_THREADS': '4', 'OPENBLAS_NUM_THREADS': '4', 'NUMEXPR_NUM_THREADS': '4'}
    >>> thread_environment(4, 16, {"OMP_NUM_THREADS": "2"})
    {}
    """
    if EVERYONE in environment:
        return {}
    share = str(max(1, cores // slots))
    return {name: share for name in POOLS if name not in environment}


def limit_threads(share: Mapping[str, str]) -> None:
    """Have the libraries that this process has loaded already keep to a share; they read the variables only once.

    That is the case in a process forked from one whose script has imported torch or NumPy.

    Args:
        share: numbers by variable, as `thread_environment` returns them.
    """
    pools = {name: int(value) for name, value in share.items()}
    torch = sys.modules.get("torch")
    if torch is not None and EVERYONE in pools:
        torch.set_num_threads(pools[EVERYONE])
    if "numpy" in sys.modules:
        _limit_loaded(pools)


def _limit_loaded(pools: Mapping[str, int]) -> None:
    limits = {}
    if EVERYONE in pools:
        limits["openmp"] = pools[EVERYONE]
    if pools.keys() >= _BLAS:
        limits["blas"] = min(pools[name] for name in _BLAS)
    elif EVERYONE in pools and not pools.keys() & _BLAS:
        limits["blas"] = pools[EVERYONE]
    if not limits:
        return
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")  # comes with scikit-learn, and we do not depend on it
    except ImportError:
        return  # then NumPy keeps the threads it began with
    threadpoolctl.threadpool_limits(limits=limits)
