"""What the processes of a run use of this machine: processor, memory, and NVIDIA's GPUs, as far as it is known."""

from __future__ import annotations

import socket
import time
from functools import cache
from typing import Any

import psutil

from trainctl.rundir.summary import Summary

BETWEEN_S = 3.0
_GIB, _MIB = 2**30, 2**20


class Usage:
    """Looks at a run's processes now and then: at the one that its status names, and at all that it has started."""

    def __init__(self) -> None:
        self._looked = 0.0
        self._spent: dict[psutil.Process, float] = {}
        self._figures: list[str] = []

    def figures(self, run: Summary) -> list[str]:
        """Return what is known, such as `CPU 98 %`; nothing of a run on another machine, or of one that has ended."""
        if run.state != "running" or run.pid is None or run.host != socket.gethostname():
            self._looked, self._spent, self._figures = 0.0, {}, []
        elif (passed := time.monotonic() - self._looked) >= BETWEEN_S:
            self._looked += passed
            self._figures = self._look(run.pid, passed)
        return self._figures

    def _look(self, pid: int, passed: float) -> list[str]:
        before, self._spent, memory = self._spent, {}, 0
        for process in _family(pid):
            try:
                times = process.cpu_times()
                memory += process.memory_info().rss
            except psutil.Error:
                continue
            self._spent[process] = times.user + times.system
        if not self._spent:
            return []
        said = [f"memory {_size(memory)}"]
        if before:  # a process that is new counts from its start
            share = sum(spent - before.get(process, 0.0) for process, spent in self._spent.items()) / passed
            said.insert(0, f"CPU {100 * share:.0f} %")
        return said + gpus({process.pid for process in self._spent}, _nvml())


def gpus(pids: set[int], nvml: Any) -> list[str]:
    """Return for each GPU that these processes use how busy it is, and what they hold of its memory."""
    found: list[str] = []
    if nvml is None:
        return found
    try:
        number = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError:
        return found
    for index in range(number):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            used = [one for one in nvml.nvmlDeviceGetComputeRunningProcesses(handle) if one.pid in pids]
            busy = nvml.nvmlDeviceGetUtilizationRates(handle).gpu if used else 0
        except nvml.NVMLError:
            continue  # lost, of somebody else, or of a kind that tells nothing
        if used:
            memory = sum(one.usedGpuMemory or 0 for one in used)
            found.append(f"GPU {index} {busy} %, {_size(memory)}")
    return found


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


@cache
def _nvml() -> Any:
    """Return NVIDIA's management library, ready to be asked; None where there is none."""
    try:
        import pynvml  # not there on every machine
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _size(size: float) -> str:
    """Write a number of bytes.

    >>> _size(300 * 2**20), _size(10.2 * 2**30)
    ('300 MiB', '10.2 GiB')
    """
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / _MIB:.0f} MiB"
