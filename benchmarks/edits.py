"""What an edit costs in a run that has had many: the training thread, the whole process, and reading the record.

    python benchmarks/edits.py [--edits N] [--at-most-ratio R] [--load-at-most-s S]

One run in this process takes N edits, each a request of its own, at a step of its own. The cost per edit is the
processor time of the training thread in the `live.step()` that applies it, as the median of the last 100 edits before
100, 1,000 and 10,000 were made: all that is checked, recorded, changed and answered; the wait for the disk is not in
it. Beside it stands what trainconfig does for one edit: it writes all that has changed until then anew.
"""

from __future__ import annotations

import argparse
import io
import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from step import CONFIG

import trainctl
from trainctl.attempt import attempt as attempts
from trainctl.config.changelog import loads
from trainctl.rundir.inbox import file_request

MARKS = (100, 1_000, 10_000)
WINDOW = 100


def begin(folder: Path) -> trainctl.Live:
    """Open a session; a second one in the same directory goes through all that was edited before."""
    return trainctl.live(OmegaConf.create({**CONFIG, "trainctl": {"poll_s": 0.001}}), run_dir=folder)


def end() -> None:
    """End the run."""
    attempt = attempts.current()
    assert attempt is not None  # live() began it
    attempt.end("done", exit_code=0)


def edit(live: trainctl.Live, number: int) -> float:
    """Ask for an edit, apply it, and return what that cost the training thread, in milliseconds."""
    attempt = attempts.current()
    assert attempt is not None
    file_request(attempt.run, {"optim.lr": repr(1 / (number + 1)), "schedule.warmup": str(number)}, via="benchmark")
    while not live._taken:
        time.sleep(0.0002)
    began = time.thread_time_ns()
    live.step()
    return (time.thread_time_ns() - began) / 1e6


def whole_file_ms(edits: int, rounds: int) -> float:
    """Return what trainconfig's way takes for one more edit when there are so many: dump the whole record again."""
    record: dict[int, Any] = {0: CONFIG}
    record.update({step: {"optim": {"lr": 1 / (step + 1)}, "schedule": {"warmup": step}} for step in range(1, edits)})
    found = []
    for _ in range(rounds):
        began = time.thread_time_ns()
        yaml.safe_dump(record, io.StringIO())
        found.append((time.thread_time_ns() - began) / 1e6)
    return statistics.median(found)


def make_edits(folder: Path, edits: int) -> list[float]:
    """Make so many edits; print and return what one cost when so many as in `MARKS` had been made, and at the end."""
    live, costs, medians = begin(folder), [], []
    for number in range(1, edits + 1):
        costs.append(edit(live, number))
        if number in {*MARKS, edits}:
            medians.append(statistics.median(costs[-WINDOW:]))
            ratio, other = medians[-1] / medians[0], whole_file_ms(number, max(1, 1000 // number))
            line = f"after {number:>6,} edits: {medians[-1]:>8.2f} ms per edit {ratio:>6.2f} x the first; "
            print(f"{line}the whole file anew (trainconfig's way) {other:>9.2f} ms", flush=True)
    end()
    return medians


def read_back(folder: Path, edits: int) -> float:
    """Read the record and go on from its end; print what that took, and return the seconds of the reading."""
    text = (folder / "changelog.yaml").read_bytes()
    began = time.process_time()
    found = loads(text)
    loaded = time.process_time()
    live = begin(folder)
    opened = time.process_time()
    live.resume(edits)
    resumed = time.process_time()
    assert len(found.edits) == edits
    assert live.now.schedule.warmup == edits
    end()
    print(f"the record of {len(text) / 1e6:.1f} MB loads in {loaded - began:.2f} s")
    print(f"a further attempt opens in {opened - loaded:.2f} s, and resumes at its end in {resumed - opened:.2f} s")
    return loaded - began


def main() -> None:
    """Print a line per number of edits, then what reading and going on take."""
    parser = argparse.ArgumentParser(description="milliseconds per edit in a run with many")
    parser.add_argument("--edits", type=int, default=10_000)
    parser.add_argument("--at-most-ratio", type=float, metavar="R", help="end with 1 when the last ones cost more")
    parser.add_argument("--load-at-most-s", type=float, metavar="S", help="end with 1 when the record loads slower")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        medians = make_edits(Path(name) / "run", given.edits)
        load_s = read_back(Path(name) / "run", given.edits)
    if given.at_most_ratio is not None and medians[-1] > given.at_most_ratio * medians[0]:
        raise SystemExit(f"an edit costs more than {given.at_most_ratio:g} times what it did at first")
    if given.load_at_most_s is not None and load_s > given.load_at_most_s:
        raise SystemExit(f"the record loads in more than {given.load_at_most_s:g} s")


if __name__ == "__main__":
    main()
