"""A training that many people edit: `loaded_training.py RUN_DIR`, five keys, until a file RUN_DIR.stop is there."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from omegaconf import OmegaConf

import trainctl


def main() -> None:
    live = trainctl.live(OmegaConf.create({"free": dict.fromkeys("abcde", 0)}), run_dir=sys.argv[1])
    while not Path(f"{sys.argv[1]}.stop").exists():
        live.log(loss=1 / live.step())
        time.sleep(0.005)


if __name__ == "__main__":
    main()
