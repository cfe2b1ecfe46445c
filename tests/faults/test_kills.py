"""Whatever is killed and whenever: no process stays behind, and the same command completes each job exactly once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status, state_of

WaitUntil = Callable[..., Any]


def zygote_of(app: Any, launcher: int) -> psutil.Process:
    (zygote,) = psutil.Process(launcher).children()
    return zygote


def ends_once_all(app: Any, jobs: int) -> None:
    """Run the same command again: every job must have been completed exactly once, over all runs together."""
    app.go()
    done = app.run(f"x=range(0,{jobs})", "mode=wait", "hydra.launcher.slots=2")
    assert done.returncode == 0, done.stderr
    ends = Counter(line for line in app.ran() if line.startswith("end"))
    assert ends == {f"end {number}": 1 for number in range(jobs)}
    assert all(app.yaml(f"{number}/status.yaml")["state"] == "done" for number in range(jobs))


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_kill_9_of_the_launcher_leaves_nothing_behind(app: Any, wait_until: WaitUntil, start: str) -> None:
    launcher = app.start("x=range(0,4)", "mode=family", "hydra.launcher.slots=2", f"hydra.launcher.start={start}")
    wait_until(lambda: len(app.ran()) == 2 and len(app.processes()) >= 7, "two jobs with two children each")
    launcher.kill()
    launcher.wait()
    wait_until(lambda: not app.processes(), "all processes are gone")
    runs = [RunDir.at(app.sweep / line.removeprefix("start ")) for line in app.ran()]
    assert [(read_status(run).state, state_of(run)) for run in runs] == [("running", "interrupted")] * 2


def test_kill_9_of_the_launcher_is_resumed_by_the_same_command(app: Any, wait_until: WaitUntil) -> None:
    launcher = app.start("x=range(0,5)", "mode=wait", "hydra.launcher.slots=2")
    wait_until(lambda: len(app.ran()) == 2, "two jobs run")
    launcher.kill()
    wait_until(lambda: not app.processes(), "all processes are gone")
    ends_once_all(app, 5)
    assert app.yaml("0/status.yaml")["attempt"] == 2


def test_kill_9_of_the_zygote_fails_running_jobs_and_leaves_nothing_behind(app: Any, wait_until: WaitUntil) -> None:
    launcher = app.start("x=range(0,5)", "mode=family", "hydra.launcher.slots=2")
    wait_until(lambda: len(app.ran()) == 2 and len(app.processes()) >= 7, "two jobs with two children each")
    zygote_of(app, launcher.pid).kill()
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    assert "run the same command again to resume" in output
    wait_until(lambda: not app.processes(), "all processes are gone")


def test_kill_9_of_a_job_ends_its_children_and_not_the_sweep(app: Any, wait_until: WaitUntil) -> None:
    launcher = app.start("x=range(0,3)", "mode=family", "hydra.launcher.slots=1")
    wait_until(lambda: app.ran() == ["start 0"] and len(app.processes()) >= 5, "a job with two children")
    os.kill(app.yaml("0/status.yaml")["pid"], signal.SIGKILL)
    wait_until(lambda: app.ran() == ["start 0", "start 1"], "the next job runs")
    app.go()
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    assert "was killed by SIGKILL (9)" in output
    assert "3 jobs: 2 done, 1 failed" in output
    assert not app.processes()


def test_one_ctrl_c_lets_running_jobs_end(app: Any, wait_until: WaitUntil) -> None:
    launcher = app.start("x=range(0,5)", "mode=wait", "hydra.launcher.slots=2")
    wait_until(lambda: len(app.ran()) == 2, "two jobs run")
    launcher.send_signal(signal.SIGINT)
    wait_until(lambda: len(app.processes()) <= 4, "jobs that waited for a slot have gone")
    app.go()
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 130
    assert "5 jobs: 2 done, 3 not finished: the same command resumes" in output
    assert "Traceback" not in output
    ends_once_all(app, 5)


@pytest.mark.slow
def test_two_ctrl_c_end_running_jobs(app: Any, wait_until: WaitUntil) -> None:
    launcher = app.start("x=range(0,5)", "mode=wait", "hydra.launcher.slots=2")
    wait_until(lambda: len(app.ran()) == 2, "two jobs run")
    launcher.send_signal(signal.SIGINT)
    assert launcher.stdout is not None
    assert any("no new jobs" in line for line in launcher.stdout), "the first one was heard: two at once would be one"
    launcher.send_signal(signal.SIGINT)
    wait_until(lambda: launcher.poll() is not None, "the launcher ends")
    output = launcher.stdout.read()
    assert output.count(": interrupted by Ctrl-C\n") == 2
    assert "5 jobs: 2 interrupted, 3 not finished: the same command resumes" in output
    assert launcher.returncode == 130
    assert app.yaml("0/status.yaml")["state"] == "interrupted"
    assert not app.processes()
    ends_once_all(app, 5)


def test_sigterm_ends_all_after_the_grace(app: Any, wait_until: WaitUntil) -> None:
    launcher = app.start("x=1,2", "mode=stubborn", "hydra.launcher.slots=1", "hydra.launcher.grace_s=0.3")
    wait_until(lambda: "stubborn" in app.ran(), "the job has begun to ignore SIGTERM")
    launcher.send_signal(signal.SIGTERM)
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + signal.SIGTERM
    assert "interrupted by SIGTERM; it did not end after TERM and was killed" in output
    assert app.yaml("0/status.yaml")["signal"] == "SIGKILL"
    assert not app.processes()


def test_two_launchers_of_one_sweep_share_the_work(app: Any, wait_until: WaitUntil) -> None:
    first = app.start("x=range(0,6)", "mode=wait", "hydra.launcher.slots=1")
    wait_until(lambda: len(app.ran()) == 1, "a job runs")
    second = app.start("x=range(0,6)", "mode=wait", "hydra.launcher.slots=1")
    wait_until(lambda: len(app.ran()) == 2, "the other launcher runs another job")
    third = app.start("x=0", "mode=wait", "hydra.launcher.slots=1")
    assert third.stdout is not None
    assert any("is being run by another process" in line for line in third.stdout)
    third.send_signal(signal.SIGINT)
    output, _ = third.communicate(timeout=60)
    assert output.splitlines()[0] == "interrupted: no new jobs"
    assert third.returncode == 130
    app.go()
    for launcher in (first, second):
        output, _ = launcher.communicate(timeout=60)
        assert launcher.returncode == 0, output
    assert Counter(app.ran()) == {f"{word} {number}": 1 for word in ("start", "end") for number in range(6)}


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_daemon_that_a_job_left_behind_is_ended_with_it(app: Any, start: str) -> None:
    done = app.run("mode=daemon", f"hydra.launcher.start={start}")
    assert done.returncode == 0, done.stderr
    assert "daemon runs" in app.ran()
    assert not app.processes()


def test_daemons_of_other_jobs_live_on(app: Any, wait_until: WaitUntil) -> None:
    launcher = app.start("mode=daemon,daemon_and_wait", "hydra.launcher.slots=2")
    wait_until(lambda: app.yaml_or_none("0/status.yaml", "state") == "done", "the first job is done")
    wait_until(lambda: app.ran().count("daemon runs") == 2, "both daemons were started")
    wait_until(lambda: len(app.processes()) == 4, "launcher, zygote, one job and its daemon")
    app.go()
    launcher.communicate(timeout=60)
    assert not app.processes()
