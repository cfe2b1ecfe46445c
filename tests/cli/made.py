"""Runs made of files only, and how answers of the command line are judged."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status

CLI = [sys.executable, "-c", "from trainctl.cli import main; main()"]

# the same, which waits as long as a busy machine may need for what a run refuses
PATIENT = [
    sys.executable,
    "-c",
    "from trainctl.cli import do, main, request; do.REFUSAL_S = request.REFUSAL_S = 60; main()",
]
TRAINER = """
import sys, time
from pathlib import Path
from omegaconf import OmegaConf
import trainctl

cfg = OmegaConf.create(
    {"optim": {"lr": 0.1, "betas": [0.9, 0.999]}, "batch_size": 64, "trainctl": {"controls": {"batch_size": "!"}}}
)
live = trainctl.live(cfg, run_dir=sys.argv[1])
while not Path("stop").exists() and not live.should_stop:
    if not Path("pause").exists():
        live.step()
        live.log(lr=cfg.optim.lr)
        live.should_evaluate  # and nothing to do for it
    else:
        Path("paused").touch()
    time.sleep(0.01)
"""

Answer = subprocess.CompletedProcess[str]
Cli = Callable[..., Answer]


def finished(path: Path, *overrides: str, state: Any = "done", result: Any = 0.5, reason: str | None = None) -> RunDir:
    """Make the files of a run that has ended."""
    run = RunDir.at(path)
    run.create()
    files.write_yaml(run.run, {"name": run.name, "overrides": list(overrides), "identity": "f00d"})
    write_status(run, Status(state, slot="0", started=1000.0, ended=1060.0, reason=reason))
    files.append_lines(run.metrics, [{"step": 10, "loss": 0.25, "t": 1.0}])
    if state == "done":
        files.write_yaml(run.result, {"value": result})
    return run


def assert_refused(answer: Answer, pattern: str, code: int = 1) -> None:
    """One sentence on stderr, nothing on stdout."""
    assert re.search(pattern, answer.stderr), answer.stderr
    assert answer.returncode == code
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""
