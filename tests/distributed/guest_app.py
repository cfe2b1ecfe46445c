"""A process that a run has started: it opens a session, waits for GO, and for as many requests as there are in it.

Its command is `python guest_app.py RUN_DIR|- GO`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from omegaconf import OmegaConf

import trainctl
from trainctl.attempt import attempt


def main(run_dir: str, go: str) -> None:
    cfg = OmegaConf.create({"lr": 0.1, "trainctl": {"seed": None}})
    live = trainctl.live(cfg, run_dir=None if run_dir == "-" else run_dir)
    opened = attempt.current()
    print(opened and opened.run.path, live.seed, type(opened or live).__name__, flush=True)
    while not Path(go).exists() or len(live._taken) < int(Path(go).read_text()):  # not the events: they come before
        time.sleep(0.02)
    live.log(step_of_guest=live.step(), lr=cfg.lr)


if __name__ == "__main__":
    main(*sys.argv[1:])
