"""What a table of many runs costs, beside a plain reading of the same files.

    python benchmarks/examine.py [--runs 10000]

The plain reading opens every file that the examiner opens, once, and parses nothing. All in CPU seconds of the process
and its children, and as the ratio to the plain reading; wall seconds beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainctl.config.changelog import Changelog, dumps
from trainctl.examine import Examiner
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status

METRICS = 200
READ = (
    "run.yaml",
    "status.yaml",
    "result.yaml",
    "changelog.yaml",
    "metrics.jsonl",
    "progress.yaml",
    ".hydra/hydra.yaml",
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    runs: int = parser.parse_args().runs
    root = Path(tempfile.mkdtemp(prefix="bench-examine-"))
    try:
        for number in range(runs):
            make_run(root / f"Lr_{number:05}", number)
        time.sleep(2.5)  # files as young as the clock's granularity are not cached
        plain = cost(lambda: read_plainly(root))
        print(f"{runs} runs, {METRICS} metric records each")
        say("plain reading", plain, plain)
        say("examiner, all anew", cost(lambda: Examiner().exam(root).table()), plain)
        say("examiner, again", cost(lambda: Examiner().exam(root).table()), plain)
        say("by and mean", cost(lambda: Examiner().exam(root).table(by="params", metrics="accuracy:max")), plain)
    finally:
        shutil.rmtree(root)


def make_run(path: Path, number: int) -> None:
    """Write what a finished job of a sweep leaves behind."""
    run = RunDir.at(path)
    run.create()
    (path / ".hydra").mkdir()
    groups = {f"group{at}": {"name": "text", "value": at, "sizes": [1, 2]} for at in range(10)}
    config: dict[str, Any] = {"optim": {"lr": number / 10_000, "betas": [0.9, 0.999]}, **groups}
    config["trainctl"] = {"seed": number, "panel": {"enabled": True}}
    run.changelog.write_text(dumps(Changelog(config)))
    packages = "".join(f"  package{at}: 1.2.3\n" for at in range(150))
    run.run.write_text(f"name: {path.name}\noverrides: [optim.lr={number / 10_000}]\npackages:\n{packages}")
    write_status(run, Status("done", started=1000.0, ended=1060.0))
    run.result.write_text("value: 0.5\n")
    run.progress.write_text("step: 200\ntotal: 200\nrate: 12.5\n")
    (path / ".hydra" / "hydra.yaml").write_text(
        "hydra:\n  runtime:\n    choices:\n      norm: new\n" + "  x: y\n" * 200
    )
    records = ({"step": at, "loss": 1 / at, "accuracy": 1 - 1 / at, "t": 1.0} for at in range(1, METRICS + 1))
    run.metrics.write_text("".join(json.dumps(record) + "\n" for record in records))


def read_plainly(root: Path) -> None:
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        for name in READ:
            if entry.name != ".trainctl":
                Path(entry.path, name).read_bytes()


def cost(work: Callable[[], object]) -> tuple[float, float]:
    """Return CPU and wall seconds."""
    before, begun = cpu_s(), time.perf_counter()
    work()
    return cpu_s() - before, time.perf_counter() - begun


def cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def say(what: str, taken: tuple[float, float], plain: tuple[float, float]) -> None:
    print(f"{what:<20} {taken[0]:7.2f} s CPU  {taken[0] / plain[0]:6.1f} x  {taken[1]:7.2f} s wall")


if __name__ == "__main__":
    main()
