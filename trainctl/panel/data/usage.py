"""What the processes of a run use of this machine: processor, memory, and that of their slot's GPUs, where known."""

from __future__ import annotations

import socket
import time

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

    def figures(self, run: Summary, gpu: tuple[float, float] | None = None) -> list[str]:
        """Return what is known, such as `CPU 98 %`; nothing of a run on another machine, or of one that has ended.

        Args:
            run: what is known of the run.
            gpu: used and total MiB of the GPUs of its slot, as its launcher reads them.
        """
        if not run.is_alive or run.pid is None or run.host != socket.gethostname():
            self._looked, self._spent, self._figures = 0.0, {}, []
        elif (passed := time.monotonic() - self._looked) >= BETWEEN_S:
            self._looked += passed
            self._figures = self._look(run.pid, passed)
        return [*self._figures, *_gpu(gpu)] if self._figures else []

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
        return said


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def _gpu(memory: tuple[float, float] | None) -> list[str]:
    return [] if memory is None else [f"GPU memory {_size(memory[0] * _MIB)} of {_size(memory[1] * _MIB)}"]


def _size(size: float) -> str:
    """Write a number of bytes.

    >>> _size(300 * 2**20), _size(10.2 * 2**30)
    ('300 MiB', '10.2 GiB')
    """
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / _MIB:.0f} MiB"
