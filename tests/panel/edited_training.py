"""A training that is edited in the browser tests: `edited_training.py RUN_DIR SEEN [KEYS]`, until SEEN.stop is there.

Its config has so many keys more, 50 in each of `group_00.layers`, `group_01.layers`, …

After each edit it writes the values that its loop sees to SEEN.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

import trainctl

CONFIG = {
    "optim": {"lr": 0.0005, "betas": [0.9, 0.999], "nesterov": True},
    "sched": {"kind": "cosine", "warmup": 500},
    "model": {"width": 64, "dropout": 0.1},
    "tracker": {"api_key": "sk-verysecret-123", "hush": "a hidden value", "max_tokens": 512},
    "tag": "<img src=x onerror=window.pwned=1>",
    "trainctl": {
        "hidden": ["tracker.hush", "!tracker.max_tokens"],
        "controls": {
            "model.dropout": {"min": 0, "max": 0.9},
            "model.*": {"locked": "the <b>weights</b> have this shape"},
            "sched.kind": {"choices": ["cosine", "linear"]},
            "optim.lr": {"min": 0, "max": 1},
        },
    },
}


def groups_of(keys: int) -> dict[str, Any]:
    layers = {f"layer_{layer:02}": {"w": layer / 10, "on": layer % 2 == 0} for layer in range(25)}
    return {f"group_{number:02}": {"layers": layers} for number in range(keys // 50)}


def main() -> None:
    run_dir, seen, *more = sys.argv[1:]
    config = OmegaConf.create({**CONFIG, **groups_of(int(more[0]) if more else 0)})
    live = trainctl.live(config, run_dir=run_dir)

    @live.on_edit
    def show(_edit: object) -> None:
        record = {"lr": config.optim.lr, "betas": list(config.optim.betas), "warmup": config.sched.warmup}
        Path(f"{seen}.tmp").write_text(json.dumps({**record, "kind": config.sched.kind, "step": live.step_number}))
        os.replace(f"{seen}.tmp", seen)

    @live.action("sample")
    def sample(n: int, mode: Literal["fast", "slow"] = "fast") -> None:
        """Write some samples."""
        with Path(run_dir, "job.log").open("a") as log:
            log.write(f"\033[31msampled {n} {mode}\033[0m <b>\n")

    Path(run_dir, "job.log").write_text("10%\r100%\nlogged in with sk-verysecret-123\n")
    while not Path(f"{seen}.stop").exists():
        step = live.step()
        live.log(loss=1 / step, accuracy=1 - 1 / step)
        if live.should_stop:
            break
        time.sleep(0.01)


if __name__ == "__main__":
    main()
