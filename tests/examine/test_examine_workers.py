"""The processes that read end with the one that asked, whatever a parser does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from examined import make

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import signal, sys, time
from trainctl import Examiner
signal.signal(signal.SIGINT, signal.default_int_handler)

def hangs(run):
    (run.path / "asked").touch()
    time.sleep(10_000)

Examiner().add(hangs).exam(sys.argv[1], workers=2)
"""


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_over(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_parser_that_hangs_is_ended_with_the_table(tmp_path: Path, how: signal.Signals) -> None:
    runs = [make(tmp_path / f"r{at}", {"lr": 0.1}, result=1.0) for at in range(2)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        wait(lambda: all((run.path / "asked").exists() for run in runs))
        workers = psutil.Process(process.pid).children()
        process.send_signal(how)
        process.wait(timeout=60)
        wait(lambda: all(map(is_over, workers)))
        assert len(workers) == 2
    finally:
        process.kill()
        process.wait()
