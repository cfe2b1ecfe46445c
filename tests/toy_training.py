"""A training in 60 lines: a linear model fitted by minibatch SGD with a list of momenta, told all by its config.

    toy_training.py RUN_DIR [key=value …]

Prints the hash of its weights. TOY_WAIT_AT="s t …" makes it say "waiting" after those steps and wait until one more
request has come, so that a test can edit it in the middle without racing it; TOY_ENDLESS makes it train until it is
killed; TOY_CHECKPOINTS="n" makes it save its state every n steps, and go on from there when it is started again;
TOY_KILL_AT="s" makes it kill itself at the end of that step.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

import trainctl
from trainctl.rundir import files

DEFAULTS = {
    "steps": 120, "lr": 0.05, "batch_size": 8, "momenta": [0.9, 0.5], "decay": "${lr}", "x": 0,
    "trainctl": {"replay": None, "drift": "error", "seed": None, "poll_s": 0.005},
}  # fmt: skip


def wait_for_request(live: trainctl.Live) -> None:
    print("waiting", flush=True)
    deadline = time.monotonic() + 60
    while not live._taken:  # not the event that says so: it is written before the request can be applied
        assert time.monotonic() < deadline, "no request came"
        time.sleep(0.002)


def main() -> None:
    config = OmegaConf.merge(OmegaConf.create(DEFAULTS), OmegaConf.from_dotlist(sys.argv[2:]))
    live = trainctl.live(config, run_dir=sys.argv[1])
    if "TOY_ENDLESS" in os.environ:
        print("ready", flush=True)
        while True:
            live.step()
            live.log(x=config.x)
            time.sleep(0.0005)
    data = np.random.default_rng(0).normal(size=(256, 5))
    target = data @ np.arange(5.0)
    weights, first, second = np.zeros(5), np.zeros(5), np.zeros(5)
    every = int(os.environ.get("TOY_CHECKPOINTS", "0"))
    saved = Path(sys.argv[1]) / "checkpoint.json"
    if every and saved.exists():
        state = json.loads(saved.read_text())
        weights, first, second = (np.array(one) for one in state["arrays"])
        live.load_state_dict(state["live"])
    waits = [int(step) for step in os.environ.get("TOY_WAIT_AT", "").split()]
    for _ in live.track(range(live.step_number, config.steps)):
        rows = np.random.randint(0, len(data), size=config.batch_size)
        error = data[rows] @ weights - target[rows]
        gradient = data[rows].T @ error / len(rows) + 0.01 * config.decay * weights
        first = live.now.momenta[0] * first + gradient
        second = live.now.momenta[1] * second + gradient
        weights = weights - live.now.lr * (first + second) / 2
        live.log(loss=np.mean(error**2), lr=config.lr, batch_size=config.batch_size, momenta=list(config.momenta))
        if live.step_number in waits:
            wait_for_request(live)
        if str(live.step_number) == os.environ.get("TOY_KILL_AT"):
            os.kill(os.getpid(), signal.SIGKILL)
        if every and live.step_number % every == 0:
            arrays = [one.tolist() for one in (weights, first, second)]
            files.write_atomic(saved, json.dumps({"arrays": arrays, "live": live.state_dict(rng=True)}))
    print(hashlib.sha256(weights.tobytes()).hexdigest())


if __name__ == "__main__":
    main()
