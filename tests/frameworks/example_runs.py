"""Running the examples as a person does, in a directory of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainctl.rundir.events import read_events
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
PATIENCE_S = 500
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}


def start(name: str, cwd: Path, *overrides: str, by: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start an example in `cwd`; `by` is what launches it."""
    cwd.mkdir(exist_ok=True)
    command = [sys.executable, *by, str(EXAMPLES / name), *overrides, "trainctl.panel.enabled=false"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=cwd, stdout=pipe, stderr=subprocess.STDOUT, text=True, env={**os.environ, **ENVIRONMENT}
    )


def wait(process: subprocess.Popen[str]) -> None:
    """Wait for its end, which must be a good one."""
    try:
        output, _ = process.communicate(timeout=PATIENCE_S)
    except BaseException:
        process.kill()
        raise
    assert process.returncode == 0, f"{process.args} ended {process.returncode}\n{output[-6000:]}"


def run_example(name: str, cwd: Path, *overrides: str, by: tuple[str, ...] = ()) -> RunDir:
    """Run an example in `cwd/run` until it ends."""
    wait(start(name, cwd, "hydra.run.dir=run", *overrides, by=by))
    return RunDir.at(cwd / "run")


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait for a condition, as long as the process lives."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.communicate()[0][-6000:]
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.05)


def asked_beforehand(run: RunDir, *requests: dict[str, Any]) -> None:
    """File requests for a run that has not begun yet, so that each is there at its step on any machine."""
    run.create()
    for request in requests:
        rest = {name: value for name, value in request.items() if name != "edits"}
        file_request(run, request.get("edits", {}), via="test", **rest)


def metric(run: RunDir, name: str) -> dict[int, Any]:
    records = map(json.loads, run.metrics.read_text().splitlines())
    return {record["step"]: record[name] for record in records if name in record}


def answers(run: RunDir) -> list[tuple[str, int | None]]:
    return [(event.state, event.step) for event in read_events(run) if event.is_final]
