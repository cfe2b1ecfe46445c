"""How soon the first job of a large union of grids begins: composing is left to the jobs.

    python benchmarks/grids.py [--jobs N] [--repeats N]

The goal for 10,000 jobs is 2 s from the command to the first line of the first task. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from launch import show
from measuring import median, run
from ways import APP, Way


def grids_way(number: int) -> Way:
    """Return a sweep of `number` equal-sized grids that together have all jobs."""

    def command(folder: Path, jobs: int, slots: int, seconds: float) -> list[str]:
        each = jobs // number
        grids = ",".join(f"{{x: 'range({place * each},{(place + 1) * each})'}}" for place in range(number))
        return [
            *(sys.executable, str(APP), "-m", "hydra/launcher=slots", f"hydra.launcher.slots={slots}"),
            *("hydra/sweeper=grids", f"hydra.sweeper.grids=[{grids}]", f"seconds={seconds}"),
            f"hydra.sweep.dir={folder / 'sweep'}",
        ]

    return Way(f"{number} grid{'s' if number > 1 else ''}", True, command)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for way in (grids_way(1), grids_way(2)):
        for jobs in (2, options.jobs):
            runs = [run(way, jobs=jobs, slots=2, only_first=True) for _ in range(options.repeats)]
            rows.append(
                (way.name, jobs, median([each.first_s for each in runs]), median([each.cpu_s for each in runs]))
            )
    show("seconds to the first task", ("", "jobs", "wall s", "CPU s"), rows)


if __name__ == "__main__":
    main()
