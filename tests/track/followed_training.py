"""A training that is followed by trackers: `followed_training.py RUN_DIR TRACKERS STEPS`; killed at will by tests.

It begins at the step after the last one in metrics.jsonl, as if it had a checkpoint of each step. Its environment may
say FAREWELL_S, which trackers get at the end, and OPENED: the task opens a W&B run of its own, and leaves it open;
metrics are sent into that too. It says at its very end whether the thread of W&B runs still: the interpreter would stop
it within a library, which may abort the program.
"""

from __future__ import annotations

import atexit
import importlib
import os
import sys
import threading
import time

from omegaconf import OmegaConf

import trainctl
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.track import following


def say_what_is_left() -> None:
    for thread in threading.enumerate():
        if thread.name == "trainctl-wandb":
            print("its thread is left:", thread, file=sys.stderr)


def main() -> None:
    atexit.register(say_what_is_left)  # first: it is called last
    following._FAREWELL_S = float(os.environ.get("FAREWELL_S", following._FAREWELL_S))
    if "OPENED" in os.environ:
        importlib.import_module("wandb").init(project="mine", dir=sys.argv[1])
    run = RunDir.at(sys.argv[1])
    steps = int(sys.argv[3])
    logged = files.read_lines(run.metrics)
    settings = {"track": sys.argv[2].split(","), "track_metrics": True if "OPENED" in os.environ else "auto"}
    live = trainctl.live(OmegaConf.create({"lr": 0.1, "trainctl": settings}), run_dir=run.path)
    if logged:
        live.resume(logged[-1]["step"])
    while live.step() <= steps:
        live.log(loss=float(live.step_number))
        time.sleep(0.002)


if __name__ == "__main__":
    main()
