"""Steps without end and writes down what is in effect at each step: `stepping_loop.py RUN_DIR SEEN_FILE [STEPS]`."""

from __future__ import annotations

import os
import sys
import time

from omegaconf import OmegaConf

import trainctl


def main() -> None:
    config = OmegaConf.create({"a": 0, "b": 0, "s": "", "trainctl": {"poll_s": 0.003}})
    live = trainctl.live(config, run_dir=sys.argv[1])
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else sys.maxsize
    seen = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while live.step() < steps:
        os.write(seen, f"{live.step_number} {config.a} {config.b} {len(config.s)}\n".encode())
        time.sleep(0.001)


if __name__ == "__main__":
    main()
