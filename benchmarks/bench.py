"""All figures of `docs/benchmarks.md`, side by side with other tools, in one run.

    python benchmarks/bench.py [--prepare] [--long] [--only KEY ...] [--page FOLDER] [--against FILE]

Without `--against` the page, its pictures and `benchmarks.json` are written. With it nothing is: the ratios measured
now are compared with those of that file, and the end is 1 where one has risen by more than 20 %, twice.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import figures_of_a_run
import figures_of_many
import figures_of_sweeps
import psutil
from environments import PLACE, ROOT, programs_of, version_in
from figure import Figure
from report import write_page
from rivals import INSTALLS
from ways import RIVALS, find_ways

ALLOWED = 1.2  # a ratio may rise by this factor: what is measured varies
FIGURES: dict[str, Callable[[bool], Figure]] = {
    "step": figures_of_a_run.step,
    "edit": figures_of_a_run.edit,
    "idle": figures_of_sweeps.idle,
    "makespan": figures_of_sweeps.makespan,
    "first": figures_of_sweeps.first,
    "page": figures_of_many.page,
    "look": figures_of_many.look,
    "installed": figures_of_sweeps.installed,
    "recording": figures_of_a_run.recording,
}
_LISTEN_S = 5.0  # to what else the machine does
_RIVALS = {
    "hotcb": "hotcb", "prefigure": "prefigure", "trainconfig": "trainconfig", "mlrunner": "mlrunner",
    "submitit": "hydra-submitit-launcher", "ray": "hydra-ray-launcher",
}  # fmt: skip


def risen(stored: dict[str, float], now: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Return the ratios that are higher than allowed, before and now; what only one of the two has does not count.

    >>> risen({"a / b": 2.0, "c / d": 1.0}, {"a / b": 2.5, "c / d": 1.1, "e / f": 9.0})
    {'a / b': (2.0, 2.5)}
    """
    return {name: (stored[name], now[name]) for name in stored.keys() & now if now[name] > ALLOWED * stored[name]}


def facts(figures: Sequence[Figure], *, long: bool, seconds: float) -> dict[str, Any]:
    """Return the machine, the versions and the length of a measurement."""
    names = ("hydra-trainctl", "hydra-core", "omegaconf", "hydra-joblib-launcher", "joblib", "panel", "bokeh", "torch")
    found = {name: importlib.metadata.version(name) for name in names if _is_installed(name)}
    others = {
        name: version_in(PLACE / place / "bin", name)
        for place, name in _RIVALS.items()
        if (PLACE / place / "complete").exists()
    }
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}, {_processor()}",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "versions": found | others,
        "long": long,
        "minutes": round(seconds / 60, 1),
        "figures": [figure.key for figure in figures],
    }


def prepare() -> None:
    """Make the environments of the other tools, so that no installation runs beside a measurement."""
    for name, installs in INSTALLS.items():
        try:
            programs_of(name, *installs)
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr)
    for sentence in find_ways(RIVALS)[1]:
        print(sentence, file=sys.stderr)
    figures_of_sweeps.environments()


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def measured(
    keys: Sequence[str], *, long: bool, keep: Callable[[Sequence[Figure]], None] = lambda _: None
) -> tuple[list[Figure], list[str]]:
    """Measure, and say on standard error how long it took; return also which figures failed, and why.

    `keep` gets all figures so far after each, so that none is lost when a later one is interrupted.
    """
    figures: list[Figure] = []
    failed: list[str] = []
    for key in keys:
        began = time.monotonic()
        print(f"{key} ...", end=" ", file=sys.stderr, flush=True)
        try:
            figures.append(FIGURES[key](long))
            keep(figures)
            failed += [f"{key}: {one}" for one in figures[-1].failures]
        except Exception as error:  # noqa: BLE001  # the other figures of a long measurement are not lost by it
            failed.append(f"{key}: {type(error).__name__}: {error}")
        print(f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return figures, failed


def check(against: Path, keys: Sequence[str], *, long: bool) -> None:
    """Measure and compare with a stored file; what seems slower is measured once more.

    Raises:
        SystemExit: a ratio has risen by more than is allowed, both times; or there was none to compare.
    """
    stored = {one["key"]: one["ratios"] for one in json.loads(against.read_text())["figures"]}
    worse: dict[str, dict[str, tuple[float, float]]] = {}
    compared = 0
    figures, failed = measured([key for key in keys if key in stored], long=long)
    if failed:
        raise SystemExit("could not be measured:\n" + "\n".join(failed))
    for figure in figures:
        compared += len(stored[figure.key].keys() & figure.ratios)
        if risen(stored[figure.key], figure.ratios):
            again = FIGURES[figure.key](long).ratios
            least = {name: min(value, again.get(name, value)) for name, value in figure.ratios.items()}
            worse[figure.key] = risen(stored[figure.key], least)
    if not compared:
        raise SystemExit(f"nothing was compared: no ratio that was measured now is in {against}")
    for key, ratios in worse.items():
        for name, (before, now) in ratios.items():
            print(f"{key}: {name} was {before:.3g}, now {now:.3g} ({100 * (now / before - 1):+.0f} %)")
    if any(worse.values()):
        raise SystemExit(f"a ratio has risen by more than {100 * (ALLOWED - 1):.0f} %, measured twice")
    print(f"none of {compared} ratios has risen by more than {100 * (ALLOWED - 1):.0f} %")


def main() -> None:
    """Measure; write the page, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="more rounds, some 40 minutes")
    parser.add_argument(
        "--only", nargs="+", choices=FIGURES, default=list(FIGURES), metavar="KEY", help=", ".join(FIGURES)
    )
    parser.add_argument("--page", type=Path, default=ROOT / "docs", metavar="FOLDER", help="where the page is written")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with the ratios of this benchmarks.json")
    parser.add_argument("--prepare", action="store_true", help="install the other tools, and end")
    given = parser.parse_args()
    if given.prepare:
        prepare()
        return
    if given.against is not None:
        check(given.against, given.only, long=given.long)
        return
    busy = round(psutil.cpu_percent(_LISTEN_S) / 100 * psutil.cpu_count(), 1)  # a load average tells of minutes before
    began = time.monotonic()

    def keep(figures: Sequence[Figure]) -> None:
        machine = facts(figures, long=given.long, seconds=time.monotonic() - began) | {"busy_cores": busy}
        found = {"machine": machine, "figures": [dataclasses.asdict(figure) for figure in figures]}
        (given.page / "benchmarks.json").write_text(json.dumps(found, indent=1) + "\n")
        write_page(given.page, machine, figures)

    _, failed = measured(given.only, long=given.long, keep=keep)
    if failed:
        raise SystemExit("could not be measured, and is not on the page:\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
