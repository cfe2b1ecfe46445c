"""Ranks of one training, each a process of its own, on the loopback device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainctl.rundir.events import Event, read_events
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir

StartRanks = Callable[..., "Ranks"]
HERE = Path(__file__).parent
PATIENCE_S = 300
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}


class Ranks:
    """The processes of one training: one per rank, or only the one that starts them (`count` 1, more ranks inside)."""

    def __init__(self, count: int, run: RunDir, out: Path, command: list[str], **environment: str) -> None:
        self.run, self.out, self.count = run, out, count
        out.mkdir()
        self.processes = []
        for rank in range(count):
            own = {"RANK": str(rank), "WORLD_SIZE": str(count)} if count > 1 else {}
            self.processes.append(
                subprocess.Popen(
                    command,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, **LOOPBACK, **own, **environment},
                )
            )

    def wait(self, *, check: bool = True) -> list[dict[str, Any]]:
        """Wait until all have ended, and return what each rank has seen that could still say it, in order."""
        ends = [process.communicate(timeout=PATIENCE_S) for process in self.processes]
        codes = [process.returncode for process in self.processes]
        assert not check or not any(codes), "\n".join(error[-3000:] for _, error in ends)
        return [json.loads(path.read_text()) for path in sorted(self.out.glob("rank*.json"))]

    def until(self, condition: Callable[[], object], *, look_s: float = 0.05) -> None:
        """Wait for a condition, as long as all ranks live."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            ended = [process for process in self.processes if process.poll() is not None]
            assert not ended, ended[0].communicate(timeout=PATIENCE_S)[1][-3000:]
            assert time.monotonic() < deadline, f"the condition did not come true in {PATIENCE_S} s"
            time.sleep(look_s)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()

    def answers(self) -> dict[str, Event]:
        return {event.id: event for event in read_events(self.run) if event.is_final}

    def until_answered(self, request: str) -> None:
        self.until(lambda: request in self.answers())


def app_command(run: RunDir, out: Path, *overrides: str) -> list[str]:
    """Return the command of one rank of `ranks_app.py`."""
    return [sys.executable, str(HERE / "ranks_app.py"), str(run.path), str(out), *overrides]


def ask(run: RunDir, edits: dict[str, Any] | None = None, **more: Any) -> str:
    run.create()  # it may not have begun
    return file_request(run, edits or {}, via="test", **more)
