"""The processor cores that this process may use (affinity, cgroup quotas), and a job's share of them."""

from __future__ import annotations

import importlib
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

_CGROUPS, _MOUNTS = "proc/self/cgroup", "proc/self/mountinfo"
_ESCAPED = re.compile(r"\\([0-7]{3})")


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of processor cores that this process may use, at least 1; a part of a core counts as one.

    That is the least of what its affinity and the quotas of its groups (cgroup v1 and v2) leave, as far as they can be
    read.

    Args:
        root: of the file system in which the kernel tells of groups.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(share) for share in _shares(root))]))


def _shares(root: Path) -> Iterator[float]:
    """Yield the cores that each group of this process allows, from its own one up to the outermost that is seen."""
    for mounted, group in _groups(root):
        for directory in (group, *group.parents):
            if (share := _share(directory)) is not None:
                yield share
            if directory == mounted:
                break


def _share(directory: Path) -> float | None:
    """Return what the quota of one group allows; None without one."""
    try:
        if (of_v2 := directory / "cpu.max").exists():
            allowed, period = of_v2.read_text().split()
        else:
            allowed, period = ((directory / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        quota = int(allowed) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None  # no such files, or `max`
    return quota if quota > 0 else None  # -1: no quota


def _groups(root: Path) -> Iterator[tuple[Path, Path]]:
    """Yield where each hierarchy that limits the processor is mounted, and this process's group in it."""
    own = dict(_own_groups(root))
    for line in _lines(root / _MOUNTS):
        before, _, after = line.partition(" - ")
        words, kind = before.split(), after.split()
        if len(words) < 5 or len(kind) < 3:
            continue
        inside, mounted = _unescaped(words[3]), root / _unescaped(words[4]).lstrip("/")
        if kind[0] == "cgroup2":
            name = ""
        elif kind[0] == "cgroup" and "cpu" in kind[2].split(","):
            name = "cpu"
        else:
            continue
        if name in own:
            yield mounted, _below(mounted, inside, own[name])


def _below(mounted: Path, inside: str, group: str) -> Path:
    """Return the directory of a group where a hierarchy, or the part `inside` of it, is mounted.

    In a container the kernel may tell the group by its path on the host, of which only the end is mounted.
    """
    try:
        rest = PurePosixPath(group).relative_to(inside)
    except ValueError:
        rest = PurePosixPath(group).relative_to("/") if group.startswith("/") else PurePosixPath()
    if ".." in rest.parts or not (mounted / rest).is_dir():
        return mounted
    return mounted / rest


def _own_groups(root: Path) -> Iterator[tuple[str, str]]:
    """Yield this process's groups: `0::/path` is that of v2, `4:cpu,cpuacct:/path` one of v1."""
    for line in _lines(root / _CGROUPS):
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            yield "", group
        elif "cpu" in controllers.split(","):
            yield "cpu", group


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []


def _unescaped(path: str) -> str:
    r"""Return a path of `mountinfo`, in which a space is `\040`."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), path)


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
        threadpoolctl = importlib.import_module("threadpoolctl")  # comes with scikit-learn; not a dependency
    except ImportError:
        return  # then NumPy keeps the threads it began with
    threadpoolctl.threadpool_limits(limits=limits)
