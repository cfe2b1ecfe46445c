"""A wall clock that runs backwards, by an hour each second: nothing that waits or measures looks at it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sweep_app import App
from training_app import result_of

from trainctl.rundir import events
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.rundir.summary import summarize

WaitUntil = Callable[..., Any]

# Read by every Python process that starts with this directory on its path: launcher, zygote, jobs, `trainctl`.
BACKWARDS = """
import os, time

monotonic = time.monotonic
begun, wall = float(os.environ["CLOCK_BEGUN"]), float(os.environ["CLOCK_WALL"])

def now():
    return wall - 3600 * (monotonic() - begun)

time.time = now
time.time_ns = lambda: int(now() * 1e9)
"""


@pytest.fixture
def backwards(training: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(BACKWARDS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "clock"), prepend=os.pathsep)
    monkeypatch.setenv("CLOCK_BEGUN", str(time.monotonic()))
    monkeypatch.setenv("CLOCK_WALL", str(time.time()))
    return training


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_sweep_under_a_clock_that_runs_backwards_completes(backwards: App, start: str) -> None:
    limits = ("hydra.launcher.timeout_min=5", "hydra.launcher.stagger_s=0.01", "hydra.launcher.retries=1")
    sweep = ("x=range(0,4)", "hydra.launcher.slots=2", f"hydra.launcher.start={start}", *limits)
    done = backwards.run(*sweep)
    assert done.returncode == 0, done.stderr
    assert "4 jobs: 4 done" in done.stderr
    for x in range(4):
        run = RunDir.at(backwards.sweep / str(x))
        found = summarize(run)
        assert found.result == result_of(x)
        assert found.duration_s is not None
        assert 0 < found.duration_s < 60
        assert found.age_s is not None
        assert found.age_s >= 0
    again = backwards.run(*sweep)
    assert "4 jobs: 4 skipped" in again.stderr


@pytest.mark.slow
def test_tables_of_runs_under_a_clock_that_runs_backwards_show_no_negative_times(backwards: App) -> None:
    assert backwards.run("x=range(0,2)").returncode == 0
    for command in (["ls"], ["ls", "--json"], ["show"], ["table"]):
        where = backwards.sweep / "1" if command == ["show"] else backwards.sweep
        shown = subprocess.run(
            [str(Path(sys.executable).with_name("trainctl")), *command, str(where)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert shown.returncode == 0, shown.stderr
        assert " -" not in shown.stdout.replace(" - ", " ")
        assert "Traceback" not in shown.stderr


def test_job_that_runs_too_long_is_ended_under_a_clock_that_runs_backwards(backwards: App) -> None:
    done = backwards.run("x=7,0", "lr=1.0", "hydra.launcher.slots=1", "hydra.launcher.timeout_min=0.002")
    assert "ran longer than timeout_min=0.002" in done.stderr
    assert done.returncode == 1
    assert backwards.yaml("0/status.yaml")["state"] == "timeout"
    took = summarize(RunDir.at(backwards.sweep / "0")).duration_s
    assert took is not None
    assert 0.12 <= took < 60


def test_edits_under_a_clock_that_runs_backwards_are_applied_and_answered(
    backwards: App, wait_until: WaitUntil
) -> None:
    hold = backwards.path / "hold"
    hold.touch()
    launcher = backwards.start("x=1", "hydra.launcher.slots=1")
    run = RunDir.at(backwards.sweep / "0")
    wait_until(lambda: run.metrics.exists() and run.inbox.exists(), "the training has begun")
    request = file_request(run, {"lr": "0.25"}, via="cli")
    wait_until(lambda: events.latest(events.read_events(run)), "the request is taken")
    hold.unlink()
    answer = wait_until(lambda: events.answer(run, request), "the request is answered")
    assert answer.state == "applied", answer
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 0, output
    assert backwards.yaml("0/result.yaml")["value"] < result_of(1)


@pytest.mark.slow
def test_request_that_a_killed_run_left_is_refused_under_a_clock_that_runs_backwards(
    backwards: App, wait_until: WaitUntil
) -> None:
    hold = backwards.path / "hold"
    hold.touch()
    launcher = backwards.start("x=1")
    run = RunDir.at(backwards.sweep / "0")
    wait_until(run.metrics.exists, "the training has begun")
    launcher.kill()
    launcher.communicate()
    wait_until(lambda: not backwards.processes(), "all processes are gone")
    hold.unlink()
    request = file_request(run, {"lr": "0.25"}, via="cli")
    again = backwards.run("x=1")
    assert again.returncode == 0, again.stderr
    answer = events.answer(run, request)
    assert answer is not None
    assert (answer.state, answer.reason) == ("rejected", "the run ended")
    assert backwards.yaml("0/result.yaml")["value"] == result_of(1)
