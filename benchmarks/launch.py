"""What it costs to run many jobs: by the slots launcher, and by the other ways that people use.

    python benchmarks/launch.py [--quick] [--only throughput|gap|first|growth] [--jobs N] [--pairs N] [--slots N]
                                [--with submitit] [--with ray] [--with mlrunner] [--with parallel]
                                [--torch] [--json FILE]

See benchmarks/README.md for how to read it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import Run, median, quantile, run
from ways import RIVALS, Way, find_ways, has_torch, slots_way

import trainctl

_PARTS = ("throughput", "gap", "first", "growth")
_GAP_MS = 5.0  # the goal for the median
_JOB_S = 0.1  # for the gap: long enough that the next job can be made ready meanwhile, as any training is


def facts() -> dict[str, Any]:
    """Return what the figures depend on."""
    names = ("hydra-core", "omegaconf", "hydra-joblib-launcher", "joblib", "hydra-trainctl")
    return {
        "trainctl from": str(
            Path(trainctl.__file__).parent
        ),  # PYTHONPATH may put another tree before the installed one
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
    }


def show(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: the first column to the left, figures to the right."""
    cells = [list(heads), *[[_text(value) for value in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    print(f"\n{title}")
    for row in cells:
        first, *others = [
            text.ljust(w) if n == 0 else text.rjust(w) for n, (text, w) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join([first, *others]))


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def throughput(jobs: int, slots: int, pairs: int, ways: Sequence[Way]) -> dict[str, Any]:
    """Run no-op jobs by trainctl and joblib in turn, and return medians and their ratios."""
    own, joblib = ways[:2]
    runs: dict[str, list[Run]] = {own.name: [], joblib.name: []}
    for _ in range(pairs):
        for way in (own, joblib):
            runs[way.name].append(run(way, jobs=jobs, slots=slots))
    figures: dict[str, Any] = {}
    for name, done in runs.items():
        wall, cpu = median([each.wall_s for each in done]), median([each.cpu_s for each in done])
        figures[name] = {"wall_s": wall, "cpu_s": cpu, "jobs_per_s": jobs / wall, "cpu_ms_per_job": cpu / jobs * 1e3}
    first, second = figures[own.name], figures[joblib.name]
    figures["ratio"] = {key: second[key] / first[key] for key in ("wall_s", "cpu_s")}
    columns = ["wall_s", "cpu_s", "jobs_per_s", "cpu_ms_per_job"]
    rows = [[name, *[figures[name][column] for column in columns]] for name in runs]
    rows.append(["joblib / slots", figures["ratio"]["wall_s"], figures["ratio"]["cpu_s"], None, None])
    heads = ["", "wall s", "user+sys s", "jobs/s", "CPU ms/job"]
    show(f"{jobs} no-op jobs on {slots} slots, whole command, medians of {pairs} alternating runs", heads, rows)
    return figures


def idle_gaps(jobs: int, ways: Sequence[Way], torch: bool) -> dict[str, Any]:
    """Return how long one slot idles between two jobs that take a while, by each way."""
    figures: dict[str, Any] = {}
    rows = []
    for way in ways:
        try:
            done = run(way, jobs=jobs, slots=1, seconds=_JOB_S, torch=torch)
        except (RuntimeError, OSError) as error:
            print(f"{way.name} is left out: {error}")
            continue
        p50, p99 = quantile(done.gaps_ms, 0.5), quantile(done.gaps_ms, 0.99)
        cpu_ms = done.cpu_s / jobs * 1e3
        figures[way.name] = {"gap_p50_ms": p50, "gap_p99_ms": p99, "cpu_ms_per_job": cpu_ms}
        rows.append([way.name, p50, p99, cpu_ms, "yes" if way.processes else "no"])
    heads = ["", "p50 ms", "p99 ms", "CPU ms/job", "own process"]
    script = "the script imports torch" if torch else "no torch"
    show(f"a slot's idle gap between two of {jobs} jobs of {_JOB_S} s on 1 slot ({script})", heads, rows)
    own = figures.get(ways[0].name)
    if own is not None:
        verdict = "reached" if own["gap_p50_ms"] <= _GAP_MS else "missed"
        print(f"  from the end of one task function to the start of the next; goal {_GAP_MS:g} ms (p50): {verdict}")
    return figures


def growth(counts: Sequence[int], slots: int) -> dict[str, Any]:
    """Return the memory of launcher and zygote by number of jobs."""
    figures: dict[str, Any] = {}
    for count in counts:
        done = run(slots_way("hydra.launcher.progress=off"), jobs=count, slots=slots)
        figures[str(count)] = {
            "launcher_mib": done.launcher_mib,
            "zygote_mib": done.zygote_mib,
            "jobs_per_s": count / done.wall_s,
            "cpu_ms_per_job": done.cpu_s / count * 1e3,
        }
    rows = [[int(count), *values.values()] for count, values in figures.items()]
    show("peak memory of the slots launcher", ["jobs", "launcher MiB", "zygote MiB", "jobs/s", "CPU ms/job"], rows)
    return figures


def first_tasks(counts: Sequence[int], slots: int, ways: Sequence[Way]) -> dict[str, Any]:
    """Return how long it takes from the command to its first task, by number of jobs."""
    figures = {
        way.name: {str(count): run(way, jobs=count, slots=slots, only_first=True).first_s for count in counts}
        for way in ways[:2]
    }
    rows = [[name, *values.values()] for name, values in figures.items()]
    show("seconds from the command to its first task", ["", *[f"{count:,} jobs" for count in counts]], rows)
    return figures


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="what it costs to run many jobs")
    parser.add_argument("--quick", action="store_true", help="about a minute: fewer jobs, fewer runs")
    parser.add_argument("--jobs", type=int, metavar="N", help="no-op jobs for the comparison with joblib (200)")
    parser.add_argument("--pairs", type=int, metavar="N", help="how often each of the two is run for that (3)")
    parser.add_argument("--only", action="append", choices=_PARTS, help="measure this alone; may be given repeatedly")
    parser.add_argument("--slots", type=int, default=2, metavar="N", help="slots for the no-op jobs (2)")
    parser.add_argument("--with", dest="rivals", action="append", default=[], choices=RIVALS, help="measure it too")
    parser.add_argument("--torch", action="store_true", help="measure the gap also with `import torch` in the script")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--at-least", type=float, metavar="X", help="end with 1 unless joblib takes X times our wall time"
    )
    return parser.parse_args()


def main() -> None:
    """Measure, and print tables."""
    given = parse_arguments()
    quick, only = given.quick, given.only or _PARTS
    figures: dict[str, Any] = {"machine": facts()}
    print(", ".join(f"{name} {value}" for name, value in figures["machine"].items()))
    print("Wall times are of a machine that others may use too; user+sys seconds of all processes are less noisy.")
    ways, left_out = find_ways(given.rivals)
    if given.torch and not has_torch():
        left_out.append("--torch is left out: torch is not installed here")
    for sentence in left_out:
        print(sentence)
    if "throughput" in only:
        jobs, pairs = given.jobs or (100 if quick else 200), given.pairs or (2 if quick else 3)
        figures["throughput"] = throughput(jobs, given.slots, pairs, ways)
    if "gap" in only:
        figures["gap"] = idle_gaps(15 if quick else 100, ways, torch=False)
        if given.torch and has_torch():
            figures["gap_with_torch"] = idle_gaps(15 if quick else 100, ways, torch=True)
    if "first" in only:
        figures["first_task_s"] = first_tasks((10, 100) if quick else (10, 100, 1_000), given.slots, ways)
    if "growth" in only:
        figures["growth"] = growth((100,) if quick else (100, 1_000, 10_000), given.slots)
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")
    if given.at_least is not None and "throughput" in figures:
        check(figures["throughput"]["ratio"]["wall_s"], given.at_least)


def check(ratio: float, least: float) -> None:
    """End with 1 when the goal is missed."""
    if ratio < least:
        raise SystemExit(f"joblib took {ratio:.2f} times our wall time, less than {least}")


if __name__ == "__main__":
    main()
