"""Ranks of one training, each a process of its own, on the loopback device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trainctl.run.events import Event, read_events
from trainctl.run.rundir import RunDir

StartRanks = Callable[..., "Ranks"]
APP = Path(__file__).with_name("ranks_app.py")
PATIENCE_S = 120


class Ranks:
    """The processes of one training."""

    def __init__(self, count: int, run: RunDir, out: Path, command: list[str], **environment: str) -> None:
        self.run, self.out, self.count = run, out, count
        out.mkdir()
        self.processes = []
        for rank in range(count):
            own = {"RANK": str(rank), "WORLD_SIZE": str(count), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
            pipe = subprocess.PIPE
            self.processes.append(
                subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **own, **environment})
            )

    def wait(self, *, check: bool = True) -> list[dict[str, Any]]:
        """Wait until all have ended, and return what each has seen."""
        ends = [process.communicate(timeout=PATIENCE_S) for process in self.processes]
        codes = [process.returncode for process in self.processes]
        assert not check or codes == [0] * self.count, "\n".join(error[-3000:] for _, error in ends)
        return [json.loads((self.out / f"rank{rank}.json").read_text()) for rank in range(self.count)]

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition, as long as all ranks live."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            ended = [process for process in self.processes if process.poll() is not None]
            assert not ended, ended[0].communicate(timeout=PATIENCE_S)[1][-3000:]
            assert time.monotonic() < deadline, f"the condition did not come true in {PATIENCE_S} s"
            time.sleep(0.01)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()

    def answers(self) -> dict[str, Event]:
        return {event.id: event for event in read_events(self.run) if event.is_final}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.at(tmp_path / "run")


@pytest.fixture
def start_ranks(run: RunDir, tmp_path: Path) -> Iterator[StartRanks]:
    """Start `ranks_app.py` on so many ranks; keyword-less arguments are `key=value`. What still runs is killed."""
    started: list[Ranks] = []

    def start(count: int, *overrides: str) -> Ranks:
        out = tmp_path / f"out{len(started)}"
        ranks = Ranks(count, run, out, [sys.executable, str(APP), str(run.path), str(out), *overrides])
        started.append(ranks)
        return ranks

    yield start
    for ranks in started:
        ranks.kill()
