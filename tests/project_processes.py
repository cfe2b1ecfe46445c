"""A project in a directory of its own, and what a test has started there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]


def run_python(path: Path, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    """Run Python with arguments in a directory to its end; it imports trainctl from this checkout."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=check,
    )  # fmt: skip


class ProjectProcesses:
    """Starts a program in a project's directory, waits for what it does, and kills it with all that it has started.

    Args:
        path: the directory.
        environment: of all that is started there, beside the test's own.
        patience_s: seconds after which a condition that did not come true is a failure.
    """

    def __init__(self, path: Path, environment: Mapping[str, str], patience_s: float) -> None:
        self.path, self.started = path, list[psutil.Popen]()
        self._environment, self._patience_s = {**os.environ, **environment}, patience_s

    def launch(self, command: Sequence[str], **environment: str) -> psutil.Popen:
        with (self.path / f"out{len(self.started)}.txt").open("w") as out:
            own = {**self._environment, **environment}
            self.started.append(psutil.Popen(list(command), cwd=self.path, env=own, stdout=out, stderr=out))
        return self.started[-1]

    def printed(self) -> str:
        return (self.path / f"out{len(self.started) - 1}.txt").read_text()

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition, as long as what was started last lives."""
        deadline = time.monotonic() + self._patience_s
        while not condition():
            assert self.started[-1].poll() is None, self.printed()[-3000:]
            assert time.monotonic() < deadline, self.printed()[-3000:]
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill what was started, with all that it has started, by SIGKILL."""
        for process in self.started:
            if process.poll() is None:
                family = [*process.children(recursive=True), process]
                for each in family:
                    each.kill()
                psutil.wait_procs(family, timeout=self._patience_s)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from trainctl.cli import main; main()", *arguments],
            cwd=self.path, env=self._environment, capture_output=True, text=True, timeout=self._patience_s,
            check=False,
        )  # fmt: skip
