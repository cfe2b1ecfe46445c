"""A training whose page is guarded with little patience: `guarded_training.py ROOT`, until there is a ROOT.stop."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

from omegaconf import OmegaConf

import trainctl
from trainctl.config.settings import PanelSettings
from trainctl.panel.server import handle as process
from trainctl.panel.server.trainer_page import Guard


def main() -> None:
    logging.basicConfig(format="%(message)s")
    root = Path(sys.argv[1])
    live = trainctl.live(OmegaConf.create({"lr": 0.1}), run_dir=root / "run")
    handle = process.ensure(root, PanelSettings(keep_min=0))
    assert handle is not None
    guard = Guard(handle, look_s=0.2, hung_s=15.0)
    guard.start()
    while not Path(f"{root}.stop").exists():
        live.log(step_seen=live.step())
        if guard.has_answered:
            Path(f"{root}.answered").touch()
        time.sleep(0.002)
    guard.close()
    handle.close()


if __name__ == "__main__":
    main()
