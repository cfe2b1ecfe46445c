"""Figures of many runs: idle slots, jobs per second, makespan, time to the first job; what being installed costs."""

from __future__ import annotations

import heapq
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from environments import ROOT, install, programs_of
from figure import Figure, Rounds, known, times
from measuring import Run, quantile, run
from ways import APP, FORKED, FORKS, RIVALS, Way, find_ways, has_torch

SLOTS, LIMIT = "slots", FORKS.name


def idle(long: bool) -> Figure:
    """Measure how long a slot idles between two jobs, and how many jobs without work are done per second."""
    ways, left_out = find_ways(RIVALS)
    ways = [ways[0], FORKS, *ways[1:]]
    rounds = Rounds()
    jobs = 100 if long else 24
    for number in range(3 if long else 2):
        for way in ways:
            if number and not long and way.name not in (SLOTS, LIMIT):
                continue  # the others are slow: one round of each
            done = _attempted(rounds, way, jobs=jobs, slots=2)
            if done is None:
                continue
            rounds.add(way.name, {"no-op": jobs / done.wall_s})
            for name, seconds, count, torch in _CELLS:
                if torch and not has_torch():
                    continue
                found = _attempted(rounds, way, jobs=count * (3 if long else 1), slots=1, seconds=seconds, torch=torch)
                if found is not None:
                    rounds.add(way.name, {name: quantile(found.gaps_ms, 0.5)})
    cells = [name for name, *_ in _CELLS]
    figure = Figure(
        "idle",
        "Idle slots and jobs per second",
        "A slot's idle gap: from the end of one task function to the start of the next one on that slot; medians, one slot, jobs that sleep for "
        f"0.1 s or 1 s, and with `import torch` in the script. Jobs per second: {jobs} jobs that do nothing, two slots, the whole command from its start "
        "to its end. The limit is a bare `os.fork` for each job. A way that has not run every job is left out, and the measurement fails.",
        ["", *[f"gap, {name}, ms" for name in cells], "no-op jobs/s"],
        [[way.name, *[rounds.median(way.name, cell) for cell in (*cells, "no-op")]] for way in ways],
        bars=[(way.name, value) for way in ways if (value := rounds.median(way.name, cells[0])) is not None],
        unit="ms idle between jobs of 0.1 s",
    )
    for way in ways:
        if way.name != SLOTS:
            for cell in cells:
                ratio = rounds.ratio(SLOTS, way.name, cell)
                figure.ratios |= known({f"trainctl / {way.name}, gap, {cell}": ratio})
            figure.ratios |= known(
                {f"{way.name} / trainctl, no-op jobs per second": rounds.ratio(way.name, SLOTS, "no-op")}
            )
    figure.failures = [f"{who} is left out: {why}" for who, why in rounds.left_out.items()]
    figure.notes += [
        *left_out,
        *figure.failures,
        "joblib and Ray run all jobs in the same few processes; every other way has a process of its own for each job.",
        "submitit sends the task function alone to its jobs: what the script imports besides is not imported there.",
    ]
    return figure


# name, seconds of a job, jobs, whether its script imports torch
_CELLS = (("0.1 s", 0.1, 12, False), ("1 s", 1.0, 6, False), ("0.1 s with torch", 0.1, 6, True))


def _attempted(rounds: Rounds, way: Way, **what: object) -> Run | None:
    """Run by a way; None for a rival that cannot, which is then left out with the reason, and not tried again."""
    if way.name in rounds.left_out:
        return None
    try:
        return run(way, **what)  # type: ignore[arg-type]
    except (RuntimeError, OSError) as error:
        if way.name in (SLOTS, LIMIT):
            raise
        rounds.left_out[way.name] = " ".join(str(error).splitlines()[0].split()) + f" ({' '.join(_last_error(error))})"
        return None


def _last_error(error: Exception) -> list[str]:
    lines = [line for line in str(error).splitlines() if re.match(r"\w*(Error|Exception)\b", line)]
    return lines[-1:] or ["no reason given"]


def makespan(long: bool) -> Figure:
    """Measure how long 200 jobs of very different durations take."""
    draw = random.Random(7)
    durations = [round(draw.lognormvariate(-1.7, 1.0), 6) for _ in range(200)]
    rounds = Rounds()
    slots_of = (4, 8)
    for _ in range(3 if long else 1):
        for slots in slots_of:
            for name, way in _makespan_ways(durations, slots).items():
                rounds.add(name, {str(slots): run(way, jobs=len(durations), slots=slots).span_s})
    for slots in slots_of:
        rounds.add("greedy bound", {str(slots): greedy(durations, slots)})
        rounds.add("static batches, computed", {str(slots): batches(durations, slots)})
    names = ["greedy bound", "a bare fork", SLOTS, "joblib", "joblib in static batches", "static batches, computed"]
    figure = Figure(
        "makespan",
        "200 jobs of different lengths",
        f"Log-normal durations (median {statistics.median(durations):.2f} s, longest {max(durations):.1f} s, the same for all), in the order in "
        "which they are given; seconds from the start of the first task to the end of the last. The greedy bound gives each job to "
        "the slot that is free first, at no cost; static batches wait for the longest job of each.",
        ["", "4 slots, s", "beside the bound", "8 slots, s", "beside the bound"],
        unit="s on 8 slots",
    )
    for name in names:
        cells: list[object] = [name]
        for slots in map(str, slots_of):
            value, bound = rounds.median(name, slots), rounds.median("greedy bound", slots)
            ratio = value / bound if value is not None and bound else None
            cells += [value, times(ratio)]
            if name == SLOTS and ratio is not None:
                figure.ratios[f"trainctl / greedy bound, {slots} slots"] = ratio
                figure.ratios |= known({f"trainctl / joblib, {slots} slots": rounds.ratio(SLOTS, "joblib", slots)})
        figure.rows.append(cells)
        figure.bars.append((name, rounds.median(name, "8") or 0.0))
    return figure


def _makespan_ways(durations: Sequence[float], slots: int) -> dict[str, Way]:
    swept = f"seconds={','.join(map(str, durations))}"

    def command(*chosen: str) -> Callable[[Path, int, int, float], list[str]]:
        return lambda folder, *_: [sys.executable, str(APP), "-m", *chosen, f"hydra.sweep.dir={folder / 'out'}", swept]

    joblib = ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={slots}")
    forked = [sys.executable, str(FORKED), str(len(durations)), str(slots), ",".join(map(str, durations))]
    return {
        SLOTS: Way(SLOTS, True, command("hydra/launcher=slots", f"hydra.launcher.slots={slots}")),
        "joblib": Way("joblib", False, command(*joblib)),
        "joblib in static batches": Way("joblib", False, command(*joblib, f"hydra.sweeper.max_batch_size={slots}")),
        "a bare fork": Way("a bare fork", True, lambda *_: forked),
    }


def greedy(durations: Sequence[float], slots: int) -> float:
    """Return the makespan where each job, in order, goes to the slot that is free first.

    >>> greedy([3, 1, 1, 1], 2), batches([3, 1, 1, 1], 2)
    (3, 4)
    """
    free = [0 * durations[0]] * slots
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def batches(durations: Sequence[float], slots: int) -> float:
    """Return the makespan where so many jobs start together and the next ones wait for the longest."""
    return sum(max(durations[at : at + slots]) for at in range(0, len(durations), slots))


def first(long: bool) -> Figure:
    """Measure the time to the first job of few and of very many."""
    (own, joblib, *_), _ = find_ways([])
    rounds = Rounds()
    counts = (10, 1_000, 10_000)
    for _ in range(3 if long else 1):
        for count in counts:
            for way in (own, joblib):
                if way is own or count < 10_000 or long:
                    rounds.add(way.name, {str(count): run(way, jobs=count, slots=2, only_first=True).first_s})
        rounds.add("one run", {"1": _one_run()})
    alone = rounds.median("one run", "1") or 0.0
    figure = Figure(
        "first",
        "Time to the first job",
        f"Seconds from the command to the first line of the first task, by the number of jobs. The limit is the same program as one run, without a "
        f"sweep: {alone:.2f} s.",
        ["", *[f"{count:,} jobs, s" for count in counts]],
        [[who, *[rounds.median(who, str(count)) for count in counts]] for who in (own.name, joblib.name)],
        {
            f"trainctl, {count:,} jobs / one run": ratio
            for count in counts
            if (ratio := rounds.ratio(SLOTS, "one run", str(count), "1")) is not None
        },
        [
            (f"{who}, {count:,} jobs", value)
            for count in counts
            for who in (own.name, joblib.name)
            if (value := rounds.median(who, str(count))) is not None
        ],
        "s",
    )
    if not long:
        figure.notes.append("joblib with 10,000 jobs is measured by `make bench LONG=1` alone.")
    return figure


def _one_run() -> float:
    """Return the seconds to the first line of the task of the same program, run once without a sweep."""

    def command(folder: Path, *_: object) -> list[str]:
        return [sys.executable, str(APP), f"hydra.run.dir={folder / 'out'}"]

    return statistics.median(run(Way("one run", True, command), jobs=1, slots=1).first_s for _ in range(3))


def environments() -> tuple[Path, Path, Path]:
    """Return three environments: Hydra alone, with hydra-joblib-launcher, and the same for this package besides."""
    both = ("hydra-core", "hydra-joblib-launcher")
    return programs_of("hydra", both[:1]), programs_of("hydra-joblib", both), programs_of("hydra-trainctl", both)


def installed(long: bool) -> Figure:
    """Measure what an app that names nothing of trainctl pays for trainctl being installed."""
    plain, with_joblib, with_trainctl = environments()
    install(with_trainctl, "--no-deps", "--force-reinstall", str(ROOT))  # the code of today
    listed = subprocess.run(
        [str(with_trainctl / "python"), str(APP), "--info", "plugins"], capture_output=True, text=True, check=True
    )
    if "SlotLauncher" not in listed.stdout:
        raise RuntimeError("Hydra does not list our launcher where it is installed: nothing would be compared")
    names = {
        "hydra-core alone": plain,
        "with hydra-joblib-launcher": with_joblib,
        "with hydra-trainctl too": with_trainctl,
    }
    rounds = Rounds()
    for _ in range(31 if long else 11):
        for name, programs in names.items():
            rounds.add(name, _app_cost(programs))
    columns = ("wall", "cpu", "memory", "modules")
    figure = Figure(
        "installed",
        "What trainctl costs an app that does not use it",
        "One run of a Hydra app that names nothing of trainctl, from the command to its end, in environments that differ in what is "
        "installed. hydra-joblib-launcher, which this package needs, is a plugin that Hydra loads at each start.",
        ["", "ms", "CPU ms", "peak MiB", "modules of trainctl"],
        [[name, *[rounds.median(name, column) for column in columns]] for name in names],
        bars=[(name, rounds.median(name, "cpu") or 0.0) for name in names],
        unit="CPU ms of one run",
    )
    base, last = "hydra-core alone", "with hydra-trainctl too"
    for column, what in (("cpu", "processor time"), ("memory", "peak memory")):
        figure.ratios |= known({f"installed / not installed, {what}": rounds.ratio(last, base, column)})
    return figure


_COUNTING = """
import atexit, os, resource, runpy, sys

def tell():
    loaded = sum(name.split(".")[0] == "trainctl" or "hydra_trainctl" in name for name in sys.modules)
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:")) / 1024
    print("COST", (used.ru_utime + used.ru_stime) * 1000, peak, loaded)

atexit.register(tell)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _app_cost(programs: Path) -> dict[str, float]:
    """Return what one run of the app takes with an environment's Python."""
    with tempfile.TemporaryDirectory() as folder:
        stamps = Path(folder) / "stamps"
        command = [str(programs / "python"), "-c", _COUNTING, str(APP), f"hydra.run.dir={folder}/out"]
        began = time.perf_counter()
        environment = {"PATH": "/usr/bin:/bin", "BENCH_STAMPS": str(stamps)}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
        wall = (time.perf_counter() - began) * 1000
        if not stamps.exists():
            raise RuntimeError(f"the app of {programs} did not run")
    found = re.search(r"COST (\S+) (\S+) (\S+)", done.stdout)
    assert found is not None, done.stdout
    return {"wall": wall, "cpu": float(found[1]), "memory": float(found[2]), "modules": float(found[3])}
