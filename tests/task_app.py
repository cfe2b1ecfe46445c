"""A Hydra program in a directory of its own; a test chooses its config: our preset, our callback, nothing of ours."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainctl.rundir.paths import RunDir, find_runs
from trainctl.rundir.status import Status, read_status

TASK = """
import ctypes, os, signal, subprocess, sys, time
import hydra, trainctl
from hydra.core.hydra_config import HydraConfig

def main(cfg):
    mode = cfg.mode
    print("begin", cfg.lr, flush=True)
    if mode == "loud":
        os.system("echo from a shell")
        subprocess.run([sys.executable, "-c", "import sys; print('child errors', file=sys.stderr)"])
        ctypes.CDLL(None).puts(b"from C")
        ctypes.CDLL(None).fflush(None)
        print("tty", sys.stdout.isatty(), sys.stderr.isatty())
        if sys.stdout.isatty(): print("columns", os.get_terminal_size().columns)
        print("\\033[31mred\\033[0m", flush=True)
    if mode == "raise": raise ValueError("the loss is not finite")
    if mode == "exit": sys.exit(3)
    if mode == "unused": return 0.5
    live = trainctl.live(cfg)
    for _ in live.track(range(3)):
        live.log(lr=live.now.lr)
    if mode == "wait":
        print("waiting", flush=True)
        while True: time.sleep(0.01)
    if mode == "orphan":
        subprocess.Popen(["sleep", "300"])
    return 0.5

if __name__ == "__main__":
    hydra.main(version_base=None, config_path="conf", config_name="config")(main)()
    print("after main", flush=True)
"""
FULL = "lr: 0.1\nmode: ok\ntrainctl: {panel: {enabled: false}}\n"
PRESET = "defaults: [trainctl, _self_]\n" + FULL
CALLBACK = "defaults:\n  - override hydra/callbacks: [trainctl]\n  - _self_\n" + FULL
NOTHING_OF_OURS = "lr: 0.1\nmode: ok\n"
FILES = {
    "run.yaml", "status.yaml", "changelog.yaml", "events.jsonl", "inbox", "metrics.jsonl", "progress.yaml", "job.log",
    "result.yaml", "run.lock", ".hydra",
}  # fmt: skip


class Task:
    """A Hydra program in a directory of its own, whose config the test chooses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "app.py").write_text(TASK)
        (path / "conf").mkdir()
        self.configure(PRESET)

    def configure(self, text: str) -> None:
        (self.path / "conf" / "config.yaml").write_text(text)

    def options(self, **environment: str) -> dict[str, Any]:
        return {"cwd": self.path, "env": {**os.environ, **environment}, "text": True}

    def run(self, *overrides: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "app.py", *overrides]
        return subprocess.run(command, **self.options(**environment), capture_output=True, check=False, timeout=120)

    @contextlib.contextmanager
    def waiting(self, *overrides: str) -> Iterator[subprocess.Popen[str]]:
        """Start the program and give it once it waits."""
        command = [sys.executable, "app.py", "mode=wait", *overrides]
        process = subprocess.Popen(command, **self.options(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line == "waiting\n":
                    break
            yield process
        finally:
            process.kill()
            process.communicate()

    def only_run(self) -> RunDir:
        (run,) = find_runs(self.path)
        return run

    def made(self) -> list[str]:
        """Names that were not there before the program ran."""
        return sorted({path.name for path in self.path.iterdir()} - {"app.py", "conf", "__pycache__"})


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return Task(tmp_path)


def status_of(run: RunDir) -> Status:
    status = read_status(run)
    assert status is not None
    return status
