"""How long an edit takes from its request to its effect, and how long it holds up the training thread.

    python benchmarks/latency.py [--edits N] [--step-ms MS] [--at-most-ms MS] [--with prefigure --with hotcb]

A training with steps of so many milliseconds in this process; requests come from a process of their own, as from the
page or the command line, at random moments. Latency is from the call that files the request to the end of the
`live.step()` in which the value has changed. `--with` adds others, who look at their file in each step: that is sooner,
and each step pays for it (`step.py`); none of them has an edit on disk before it is in effect, or checks it.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf
from rivals import RIVALS, measure

import trainctl
from trainctl.attempt import attempt as attempts

ASK = """
import random, sys, time
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir

run, edits = RunDir.at(sys.argv[1]), int(sys.argv[2])
for number in range(1, edits + 1):
    time.sleep(0.02 + random.random() * 0.1)
    file_request(run, {"asked": repr(time.time()), "optim.lr": repr(1 / number)}, via="benchmark")
"""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of all values is."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def measure_own(folder: Path, edits: int, step_s: float) -> tuple[list[float], list[float]]:
    """Return, in milliseconds, each edit's latency, and how long each `live.step()` took that applied one."""
    config = OmegaConf.create({"asked": 0.0, "optim": {"lr": 0.1, "betas": [0.9, 0.999]}, "trainctl": {}})
    live = trainctl.live(config, run_dir=folder)
    asking = subprocess.Popen([sys.executable, "-c", ASK, str(folder), str(edits)])
    latencies, holds = [], []
    seen = live.now.asked
    while len(latencies) < edits:
        began = time.perf_counter()
        live.step()
        ended = time.perf_counter()
        if live.now.asked != seen:
            seen = live.now.asked
            latencies.append((time.time() - seen) * 1000)
            holds.append((ended - began) * 1000)
        if asking.poll() is not None and not live._taken and time.time() - seen > 5 and latencies:
            break  # two edits at one step: the earlier value was never seen
        time.sleep(step_s)
    asking.wait()
    return latencies, holds


def show(who: str, latencies: Sequence[float], holds: Sequence[float]) -> None:
    """Print a line for each of the two."""
    for title, values in (("request to effect", latencies), ("training thread held up", holds)):
        median, p99 = statistics.median(values), percentile(values, 0.99)
        print(f"{who:<12} {title:<24} {median:>8.2f} ms median {p99:>8.2f} ms p99 {max(values):>8.2f} ms most")


def main() -> None:
    """Print what it takes here, then with others."""
    parser = argparse.ArgumentParser(description="milliseconds from a request to its effect")
    parser.add_argument("--edits", type=int, default=200)
    parser.add_argument("--step-ms", type=float, default=1.0)
    parser.add_argument("--at-most-ms", type=float, metavar="MS", help="end with 1 when the 99th percentile is more")
    parser.add_argument("--with", dest="wanted", action="append", default=[], choices=RIVALS, metavar="RIVAL")
    parser.add_argument("--json", action="store_true", help="print our own figures alone, as JSON")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    random.seed(0)
    with tempfile.TemporaryDirectory() as name:
        latencies, holds = measure_own(Path(name) / "run", given.edits, given.step_ms / 1000)
        attempt = attempts.current()
        assert attempt is not None  # live() began it
        attempt.end("done", exit_code=0)
    if given.json:
        print(json.dumps({"latencies": latencies, "holds": holds}))
        return
    show("trainctl", latencies, holds)
    for rival in given.wanted:
        try:
            found = measure(rival, "latency", given.edits, given.step_ms)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            print(f"{rival} is left out: it could not be installed or run ({error})")
        else:
            show(rival, found["latencies"], found["holds"])
    if given.at_most_ms is not None and percentile(latencies, 0.99) > given.at_most_ms:
        raise SystemExit(f"the 99th percentile is more than {given.at_most_ms:g} ms")


if __name__ == "__main__":
    main()
