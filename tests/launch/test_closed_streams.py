"""A sweep that is started without standard streams, as by a daemon, runs its jobs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_sweep_with_closed_streams_runs_its_jobs(
    app: Any, closed: str, start: str, wait_until: Callable[..., Any]
) -> None:
    command = [*app.command("x=1,2", "mode=loud"), f"hydra.launcher.start={start}"]
    done = subprocess.run(
        ["bash", "-c", f'"$@" {closed}', "sh", *command], cwd=app.path, timeout=100, check=False, capture_output=True
    )
    assert done.returncode == 0, done
    for name in ("0", "1"):
        assert app.yaml(f"{name}/status.yaml")["state"] == "done"
        log = (app.sweep / name / "job.log").read_text()
        assert [each for each in ("from a shell", "from C", "to stderr", "hello from loud") if each not in log] == []
