"""A training that takes checkpoints: `asked_training.py RUN_DIR [KEY=VALUE]…`, until RUN_DIR.stop.

Its loop reads `lr` in each step and `depth` never; it looks for a checkpoint at every 50th step, and takes it there.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from omegaconf import OmegaConf

import trainctl

CONTROLS = {"lr": {"max_change": 10}, "batch": {"when": "epoch"}}
CONFIG = {"lr": 0.1, "depth": 3, "batch": 8, "trainctl": {"controls": CONTROLS}}


def main() -> None:
    run_dir, *overrides = sys.argv[1:]
    config = OmegaConf.merge(CONFIG, OmegaConf.from_dotlist(overrides))
    live = trainctl.live(config, run_dir=run_dir)
    while not Path(f"{run_dir}.stop").exists():
        step = live.step()
        live.log(loss=config.lr / step)
        if step % 50 == 0 and live.should_checkpoint:
            Path(run_dir, "checkpoint").touch()
        time.sleep(0.02)


if __name__ == "__main__":
    main()
