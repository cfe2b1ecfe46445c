"""A request that comes while a run ends is answered, whenever that is; so is one that lies there with a tag of YAML."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from project_processes import ROOT, run_python
from waiting import wait_until

from trainctl.rundir.events import answer, latest, read_events
from trainctl.rundir.inbox import file_request, list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status, state_of

APP = """
import trainctl
from omegaconf import OmegaConf
config = OmegaConf.create({"lr": 0.1, "trainctl": {"poll_s": 0.002, "panel": {"enabled": False}}})
live = trainctl.live(config, run_dir="run")
for _ in live.track(range(LENGTH)):
    __import__("time").sleep(0.001)
"""


def started(path: Path, steps: int) -> subprocess.Popen[bytes]:
    (path / "app.py").write_text(APP.replace("LENGTH", str(steps)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "app.py"], cwd=path, env=environment, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("steps", [1, 60])
def test_every_request_filed_while_the_run_is_running_is_answered(tmp_path: Path, steps: int) -> None:
    run = RunDir.at(tmp_path / "run")
    filed: list[str] = []
    with started(tmp_path, steps) as process:
        wait_until(lambda: state_of(run) == "running", "the run runs")
        # many a second until the status says the end: those of the last moment are among them
        while (status := read_status(run)) is not None and status.state == "running" and process.poll() is None:
            filed.append(file_request(run, {"lr": 0.2}, via="cli"))
            time.sleep(0.01)
    assert (process.returncode, state_of(run)) == (0, "done")
    late = file_request(run, {"lr": 0.3}, via="cli")
    known = latest(read_events(run))
    left = {path.stem for path in list_inbox(run)}
    answered = [request for request in filed if request in known and known[request].is_final]
    # the last one may have been filed after the door was closed: then it lies there, as whoever filed it is told
    assert set(filed) - set(answered) <= {filed[-1]}
    assert left - {late} <= {filed[-1]}
    assert filed


def test_request_that_lies_there_when_the_status_is_written_is_rejected(tmp_path: Path) -> None:
    """Filed by a thread that waits for the very last look of the session to be over."""
    script = (
        APP.replace("LENGTH", "3")
        + """
from trainctl.attempt.attempt import current
from trainctl.rundir.inbox import file_request
attempt = current()
attempt._at_end.insert(0, lambda: print(file_request(attempt.run, {"lr": 0.5}, via="cli"), flush=True))
"""
    )
    (tmp_path / "app.py").write_text(script)
    done = run_python(tmp_path, "app.py", check=True)
    run = RunDir.at(tmp_path / "run")
    found = answer(run, done.stdout.split()[-1])
    assert found is not None
    assert (found.state, found.reason) == ("rejected", "the run ended")
    assert list_inbox(run) == []


TAGS = (
    "!!timestamp z",
    "!!bool q",
    "!!python/object/apply:os.system [touch pwned]",
    "!!int ''",
    "!!set 3",
)


@pytest.mark.parametrize("tag", TAGS)
def test_tag_in_the_inbox_is_refused_with_the_reason_and_fails_no_run(tmp_path: Path, tag: str) -> None:
    run = RunDir.at(tmp_path / "run")
    with started(tmp_path, 100) as process:
        wait_until(lambda: state_of(run) == "running", "the run runs")
        (run.inbox / "by-hand.yaml").write_text(f"lr: {tag}\n")
        thread = threading.Thread(target=process.wait)
        thread.start()
        thread.join(60)
        (run.inbox / "after.yaml").write_text(f"lr: {tag}\n")
    assert (process.returncode, state_of(run)) == (0, "done")
    (event,) = latest(read_events(run)).values()
    assert event.state == "rejected"
    assert "by-hand.yaml" in str(event.reason)
    assert "it is not YAML" in str(event.reason)
    assert not (tmp_path / "pwned").exists()
    assert time.time() - event.t < 60
