"""Kills trainings that are followed by a tracker, at moments that the tracker's own progress chooses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

TRAINING = Path(__file__).with_name("followed_training.py")
ROOT = Path(__file__).resolve().parents[2]
_DEADLINE_S = 240


def kill_and_finish(run: RunDir, tracker: str, number_sent: Callable[[], int], *, kills: int = 3) -> int:
    """Kill training and tracker together, again and again; then go on to the end. Return the last step."""
    command = [sys.executable, str(TRAINING), str(run.path), tracker]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for kill in range(kills):
        process = subprocess.Popen([*command, "1000000"], env=environment)
        enough = number_sent() + 20 + 7 * kill
        deadline = time.monotonic() + _DEADLINE_S
        while number_sent() < enough:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = int(files.read_lines(run.metrics)[-1]["step"]) + 50
    done = subprocess.run([*command, str(last)], env=environment, check=False, timeout=_DEADLINE_S)
    assert done.returncode == 0
    return last
