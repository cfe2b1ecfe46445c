"""A training that is followed by trackers: `followed_training.py RUN_DIR TRACKERS STEPS`; killed at will by tests.

It begins at the step after the last one in metrics.jsonl, as if it had a checkpoint of each step.
"""

from __future__ import annotations

import sys
import time

from omegaconf import OmegaConf

import trainctl
from trainctl.run import files
from trainctl.run.rundir import RunDir


def main() -> None:
    run = RunDir.at(sys.argv[1])
    steps = int(sys.argv[3])
    logged = files.read_lines(run.metrics)
    live = trainctl.live(OmegaConf.create({"lr": 0.1, "trainctl": {"track": sys.argv[2].split(",")}}), run_dir=run.path)
    if logged:
        live.resume(logged[-1]["step"])
    while live.step() <= steps:
        live.log(loss=float(live.step_number))
        time.sleep(0.002)


if __name__ == "__main__":
    main()
