"""Running one command of many jobs, and what can be seen of it from outside."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from ways import Way

_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Run:
    """What one command took.

    Attributes:
        wall_s: from the start of the command to its end.
        cpu_s: user and system time of it and all of its processes.
        first_s: from the start of the command to the start of the first task function.
        span_s: from the start of the first task function to the end of the last one.
        gaps_ms: from the end of a task function to the start of the next one on that slot.
        launcher_mib: peak resident memory of the command's first process.
        zygote_mib: of the process that its jobs are forked from; None without one.
    """

    jobs: int
    wall_s: float
    cpu_s: float
    first_s: float
    span_s: float
    gaps_ms: list[float]
    launcher_mib: float
    zygote_mib: float | None


def run(way: Way, *, jobs: int, slots: int, seconds: float = 0.0, torch: bool = False, only_first: bool = False) -> Run:
    """Run so many jobs and measure; the command starts from nothing, in a directory of its own.

    Args:
        way: how they are run.
        jobs: how many.
        slots: how many at once.
        seconds: how long each job sleeps.
        torch: whether the jobs' script imports torch.
        only_first: end the command as soon as its first task has begun.

    Raises:
        RuntimeError: the command failed, or not every job ran.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-launch-"))
    stamps = folder / "stamps"
    environment = {**os.environ, "BENCH_STAMPS": str(stamps), "BENCH_TORCH": "1" if torch else "", **way.environment}
    try:
        command = way.command(folder, jobs, slots, seconds)
        cpu_before = _children_cpu_s()
        with (folder / "log").open("wb") as log:
            begun_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
            try:
                launcher, zygote = _watch(process, stamps if only_first else None)
            finally:
                _end_all(process)
            ended_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        begins, ends = read_stamps(stamps)
        if not only_first and (process.returncode != 0 or len(ends) != jobs):
            tail = (folder / "log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{way.name}: {len(ends)} of {jobs} jobs ran, exit code {process.returncode}:\n{tail}")
        return Run(
            jobs=jobs,
            wall_s=(ended_ns - begun_ns) / 1e9,
            cpu_s=_children_cpu_s() - cpu_before,
            first_s=(begins[0] - begun_ns) / 1e9,
            span_s=(ends[-1] - begins[0]) / 1e9 if ends else 0.0,
            gaps_ms=gaps_ms(begins, ends, slots),
            launcher_mib=launcher,
            zygote_mib=zygote,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _watch(process: subprocess.Popen[bytes], stamps: Path | None) -> tuple[float, float | None]:
    """Wait for a command's end; return the peak memory of its process, and of the child that it keeps (the zygote)."""
    launcher, zygote, first_child = 0.0, None, None
    while process.poll() is None:
        launcher = max(launcher, _peak_mib(process.pid) or 0.0)
        if first_child is None:
            first_child = _forked_child(process.pid)
        if first_child is not None:
            zygote = max(zygote or 0.0, _peak_mib(first_child) or 0.0)
        if stamps is not None and stamps.exists():
            process.send_signal(signal.SIGTERM)
            stamps = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_S)
    return launcher, zygote


def _end_all(process: subprocess.Popen[bytes]) -> None:
    """End what a command left behind in its session: joblib's workers outlive a command that is ended early."""
    for number in (signal.SIGTERM, signal.SIGKILL) if process.poll() is None else (signal.SIGKILL,):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)


def _forked_child(pid: int) -> int | None:
    """Return the child of a process that shares its command line: the zygote."""
    try:
        parent = psutil.Process(pid)
        own = parent.cmdline()
        return next((child.pid for child in parent.children() if child.cmdline() == own), None)
    except psutil.Error:
        return None


def _peak_mib(pid: int) -> float | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def read_stamps(path: Path) -> tuple[list[int], list[int]]:
    """Return when tasks began and ended, in nanoseconds, each sorted."""
    times: dict[str, list[int]] = {"begin": [], "end": []}
    for line in path.read_text().splitlines() if path.exists() else []:
        word, nanoseconds = line.split()
        times[word].append(int(nanoseconds))
    return sorted(times["begin"]), sorted(times["end"])


def gaps_ms(begins: Sequence[int], ends: Sequence[int], slots: int) -> list[float]:
    """Return how long slots idled between two tasks, sorted: the slot that is free first is taken first.

    >>> gaps_ms([0, 1_000_000, 9_000_000], [5_000_000, 7_000_000, 10_000_000], slots=2)
    [4.0]
    """
    return sorted((begin - end) / 1e6 for begin, end in zip(begins[slots:], ends, strict=False))


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of the sorted values lies; the nearest one that was measured.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 0.5)
    3.0
    """
    return values[min(len(values) - 1, int(len(values) * share))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
