"""The few Linux calls that Python does not wrap. On other systems they do nothing."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
_CUDA_ERROR_NOT_INITIALIZED = 3  # cuda.h


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; end at once if it has died already.

    Args:
        parent: the process id that the parent had before the fork.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that they can be found and ended."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def is_cuda_initialised() -> bool:
    """Say whether this process has initialised the CUDA driver: a forked child could then not use it.

    Asks the driver only if it is loaded: `cuDeviceGetCount` fails with CUDA_ERROR_NOT_INITIALIZED before `cuInit`.
    """
    try:
        loaded = "libcuda.so" in Path("/proc/self/maps").read_text()
    except OSError:
        return False
    if not loaded:
        return False
    try:
        count = ctypes.c_int()
        answer: int = ctypes.CDLL("libcuda.so.1").cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        return False
    return answer != _CUDA_ERROR_NOT_INITIALIZED


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
