"""The few Linux calls that Python does not wrap. On other systems they do nothing."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import psutil

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
_OTHER_DRIVERS = ("libhsa-runtime", "libze_loader")  # of AMD and Intel GPUs; CUDA's can be asked
_CUDA_ERROR_NOT_INITIALIZED = 3  # cuda.h

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None  # opened before any fork


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent dies; end at once if it has died already.

    Args:
        parent: the process id that the parent had before the fork.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that they can be found and ended."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children() -> list[int]:
    """Return the process ids of this process's children, zombies included. The process must have one thread only."""
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN, or another system
        return [child.pid for child in psutil.Process().children()]


def group_of(pid: int) -> int:
    """Return the process group of a process; its own id when it is gone."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return pid


def oom_kills() -> int | None:
    """Return how many processes the kernel has killed for lack of memory; None if not known."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return None
    counts = [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
    return counts[0] if counts else None


def is_cuda_initialised() -> bool:
    """Whether this process has initialised the CUDA driver: a forked child could then not use it.

    Asks the driver only if it is loaded: `cuDeviceGetCount` fails with CUDA_ERROR_NOT_INITIALIZED before `cuInit`.
    """
    return "libcuda.so" in _loaded() and _has_called_cu_init()


def holds_device() -> bool:
    """Whether this process may hold GPU memory, which is freed only when the process ends."""
    loaded = _loaded()
    if any(name in loaded for name in _OTHER_DRIVERS):
        return True
    return "libcuda.so" in loaded and _has_called_cu_init()


def _loaded() -> str:
    """Return the kernel's list of the files that are mapped here; empty where there is none.

    It is long, so it is read again only if a library has been loaded since; a forked process inherits it.
    """
    loads = _count_loads()
    try:
        return _maps() if loads is None else _maps_after(loads)
    except OSError:
        return ""


@lru_cache(maxsize=1)
def _maps_after(loads: int) -> str:  # noqa: ARG001  # it is the key of the cache
    """Return the list after `loads` libraries have been loaded."""
    return _maps()


def _maps() -> str:
    return Path("/proc/self/maps").read_text()


class _Library(ctypes.Structure):
    """`struct dl_phdr_info` of link.h."""

    _fields_: ClassVar = [
        ("address", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("headers", ctypes.c_void_p),
        ("header_count", ctypes.c_uint16),
        ("loads", ctypes.c_ulonglong),  # of all libraries, by this process and its parents
        ("unloads", ctypes.c_ulonglong),
    ]


def _count_loads() -> int | None:
    """Return how many libraries this process has ever loaded; None if not known."""
    found: list[int] = []

    def look(library: Any, size: int, _: Any) -> int:
        if size >= ctypes.sizeof(_Library):
            found.append(library.contents.loads)
        return 1  # the first one says it for all

    if _libc is not None:
        _libc.dl_iterate_phdr(_Visit(look), None)
    return found[0] if found else None


_Visit = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Library), ctypes.c_size_t, ctypes.c_void_p)


def _has_called_cu_init() -> bool:
    try:
        count = ctypes.c_int()
        answer: int = ctypes.CDLL("libcuda.so.1").cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        return False
    return answer != _CUDA_ERROR_NOT_INITIALIZED


def _prctl(option: int, value: int) -> None:
    if _libc is not None:
        _libc.prctl(option, value, 0, 0, 0)
