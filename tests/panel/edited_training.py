"""A training that is edited in the browser tests: `edited_training.py RUN_DIR SEEN`, until a file SEEN.stop is there.

After each edit it writes the values that its loop sees to SEEN.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from omegaconf import OmegaConf

import trainctl

CONFIG = {
    "optim": {"lr": 0.0005, "betas": [0.9, 0.999], "nesterov": True},
    "sched": {"kind": "cosine", "warmup": 500},
    "model": {"width": 64},
    "tag": "<img src=x onerror=window.pwned=1>",
    "trainctl": {
        "controls": {
            "model.*": {"locked": "the <b>weights</b> have this shape"},
            "sched.kind": {"choices": ["cosine", "linear"]},
            "optim.lr": {"min": 0, "max": 1},
        }
    },
}


def main() -> None:
    run_dir, seen = sys.argv[1:]
    config = OmegaConf.create(CONFIG)
    live = trainctl.live(config, run_dir=run_dir)

    @live.on_edit
    def show(_edit: object) -> None:
        record = {"lr": config.optim.lr, "betas": list(config.optim.betas), "warmup": config.sched.warmup}
        Path(f"{seen}.tmp").write_text(json.dumps({**record, "kind": config.sched.kind, "step": live.step_number}))
        os.replace(f"{seen}.tmp", seen)

    while not Path(f"{seen}.stop").exists():
        step = live.step()
        live.log(loss=1 / step)
        time.sleep(0.002)


if __name__ == "__main__":
    main()
