"""Each line of a program stands once in `job.log`, also where Hydra calls its own log so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import logging
import hydra
log = logging.getLogger(__name__)

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    for step in range(3):
        log.info("step %d", step)
        print("printed", step, flush=True)
    logging.getLogger("quiet").info("for the file alone")

if __name__ == "__main__":
    main()
"""
CONFIG = """
defaults: [trainctl, _self_]
trainctl: {panel: {enabled: false}}
hydra:
  job_logging:
    handlers:
      alone: {class: logging.FileHandler, filename: "${hydra.runtime.output_dir}/job.log"}
    loggers:
      quiet: {handlers: [alone], propagate: false, level: INFO}
"""
LINES = ["step 0", "printed 0", "step 1", "printed 1", "step 2", "printed 2", "for the file alone"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["single", "fork", "spawn", "ahead"])
def test_program_called_job_has_each_line_once(tmp_path: Path, how: str) -> None:
    (tmp_path / "job.py").write_text(PROGRAM)
    (tmp_path / "config.yaml").write_text(CONFIG)
    slots = ["-m", f"hydra.launcher.start={'spawn' if how == 'spawn' else 'fork'}", "hydra.launcher.slots=1"]
    slots += ["hydra.launcher.rerun=all", "hydra.sweep.dir=all", "hydra.sweep.subdir=${x}"]
    command = ["job.py", *([] if how == "single" else slots), "hydra.run.dir=all/1"]
    command += ["+x=2,1" if how == "ahead" else "+x=1"]
    for attempt in (1, 2):
        subprocess.run([sys.executable, *command], cwd=tmp_path, check=True, timeout=120, capture_output=True)
        for name in ("job.log", "job.1.log")[:attempt]:
            found = [line.rpartition("- ")[2] for line in (tmp_path / "all/1" / name).read_text().splitlines()]
            assert sorted(found) == sorted(LINES), name
