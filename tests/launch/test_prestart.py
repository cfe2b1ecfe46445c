"""Jobs that are run up to their task function before they have a slot: nobody but the clock can tell."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from typing import Any

import pytest

from trainctl.config import yaml
from trainctl.rundir.lock import is_locked
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status, state_of

RECORDER = """
import json, os
from hydra.experimental.callback import Callback

class Recorder(Callback):
    def on_job_start(self, config, *, task_function, **kwargs):
        with open(os.path.join(os.path.dirname(__file__), "ran.txt"), "a") as file:
            file.write(f"callback {os.environ.get('TRAINCTL_SLOT')}\\n")
"""

TASK = """
import logging, os, sys
import numpy
import hydra
from threadpoolctl import threadpool_info

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    logging.getLogger("task").info("says %s", cfg.x)
    pools = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
    return {"threads": sorted(pools), "omp": os.environ.get("OMP_NUM_THREADS"), "slot": os.environ["TRAINCTL_SLOT"]}

if __name__ == "__main__":
    main()
"""


def ready(app: Any) -> list[str]:
    """List the run dirs that were taken by jobs which wait at their task, while others run."""
    runs = [RunDir.at(path) for path in app.sweep.glob("[0-9]*")] if app.ran() else []
    return [run.name for run in runs if run.config.exists() and not run.status.exists()]


def test_next_job_waits_at_its_task_and_is_queued(app: Any, wait_until: Any) -> None:
    launcher = app.start("x=range(0,3)", "mode=wait", "hydra.launcher.slots=1")
    wait_until(lambda: "1" in ready(app), "the next job is ready")
    run = RunDir.at(app.sweep / "1")
    assert state_of(run) == "queued"
    assert yaml.loads(run.run.read_text())["identity"]
    assert app.ran() == ["start 0"]
    app.go()
    launcher.communicate(timeout=60)
    assert launcher.returncode == 0
    assert [yaml.loads((app.sweep / f"{n}/result.yaml").read_text()) for n in range(3)] == [
        {"value": float(n)} for n in range(3)
    ]


def test_job_that_waits_is_begun_again_in_its_directory_whatever_ended_it(app: Any, wait_until: Any) -> None:
    for attempt, number in enumerate((signal.SIGINT, signal.SIGKILL), start=1):
        launcher = app.start("x=range(0,3)", "mode=wait", "hydra.launcher.slots=1")
        wait_until(lambda: app.ran().count("start 0") == attempt and "1" in ready(app), "the next job is ready")  # noqa: B023
        launcher.send_signal(number)
        if number == signal.SIGINT:
            wait_until(lambda: len(app.processes()) <= 3, "the job that waited has gone")
            launcher.send_signal(number)
        launcher.communicate(timeout=60)
        wait_until(lambda: not app.processes(), "all processes are gone")
        assert state_of(RunDir.at(app.sweep / "1")) == "queued"
    app.go()
    done = app.run("x=range(0,3)", "mode=wait", "hydra.launcher.slots=1")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in app.sweep.glob("[0-9]*")) == ["0", "1", "2"]
    assert [app.yaml(f"{number}/status.yaml")["attempt"] for number in range(3)] == [3, 1, 1]


def test_run_keeps_its_state_and_its_files_while_its_next_attempt_waits(app: Any, wait_until: Any) -> None:
    app.go()
    command = ["mode=wait,raise", "hydra.launcher.slots=1"]
    assert app.run(*command).returncode == 1
    (app.path / "go").unlink()
    (app.path / "ran.txt").unlink()
    run = RunDir.at(app.sweep / "1")
    before = {path.name: path.read_text() for path in (run.run, run.status, run.log)}
    launcher = app.start(*command, "hydra.launcher.rerun=all")
    wait_until(lambda: app.ran() == ["start 0"] and is_locked(run.lock), "the next attempt has taken its dir")
    wait_until(lambda: len(app.processes()) == 4, "launcher, zygote, a job that runs and one that is ready")
    assert state_of(run) == "failed"
    assert "it broke" in before["job.log"]
    assert {path.name: path.read_text() for path in (run.run, run.status, run.log)} == before
    app.go()
    launcher.communicate(timeout=60)
    assert app.yaml("1/status.yaml")["attempt"] == 2
    assert (run.path / "job.1.log").read_text() == before["job.log"]


@pytest.mark.slow
def test_launchers_that_share_a_sweep_take_no_job_from_each_other(app: Any, wait_until: Any) -> None:
    first = app.start("x=range(0,2)", "mode=wait", "hydra.launcher.slots=1")
    wait_until(lambda: ready(app) == ["1"], "the next job is ready")
    second = app.start("x=range(0,2)", "mode=wait", "hydra.launcher.slots=1")
    # the job that the first one keeps ready is given up, so that the second can run it now
    wait_until(lambda: set(app.ran()) == {"start 0", "start 1"}, "both jobs run")
    app.go()
    for launcher in (first, second):
        launcher.communicate(timeout=60)
        assert launcher.returncode == 0
    assert sorted(app.ran()) == ["end 0", "end 1", "start 0", "start 1"]


def test_callback_of_the_user_sees_the_slot(app: Any) -> None:
    (app.path / "recorder.py").write_text(RECORDER)
    (app.path / "conf" / "config.yaml").write_text(
        "defaults: [norm: batch, _self_]\nx: 0\nmode: ok\n"
        "hydra: {callbacks: {recorder: {_target_: recorder.Recorder}}}\n"
    )
    done = app.run("x=range(0,3)", "hydra.launcher.slots=[cpu]")
    assert done.returncode == 0, done.stderr
    assert app.ran().count("callback cpu") == 3


def test_error_of_hydras_own_part_fails_the_job_and_no_other(app: Any) -> None:
    (app.path / "conf" / "config.yaml").write_text(
        "defaults: [norm: batch, _self_]\nx: 0\nmode: ok\npick: good\n"
        "kind: {good: rich.logging.RichHandler, bad: no.Handler}\n"
        "hydra: {job_logging: {handlers: {more: {class: '${kind.${pick}}'}}, root: {handlers: [file, more]}}}\n"
    )
    done = app.run("pick=good,bad", "hydra.launcher.slots=1")
    assert done.returncode == 1
    states = [read_status(RunDir.at(app.sweep / str(number))) for number in (0, 1)]
    assert [status.state for status in states if status] == ["done", "failed"], done.stderr
    assert "Unable to configure handler 'more'" in str(states[1])
    assert "no.Handler" in (app.sweep / "1" / "job.log").read_text()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("threadpoolctl") is None, reason="threadpoolctl is not installed")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_libraries_keep_to_the_share_of_the_slot_or_to_what_the_job_sets(app: Any, start: str) -> None:
    (app.path / "app.py").write_text(TASK)
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    command = ["x=0,1", "hydra.launcher.slots=2", f"hydra.launcher.start={start}"]
    environment = {"OMP_NUM_THREADS": "", "OPENBLAS_NUM_THREADS": ""}
    for name in environment:
        os.environ.pop(name, None)
    done = app.run(*command)
    assert done.returncode == 0, done.stderr
    assert yaml.loads((app.sweep / "0/result.yaml").read_text())["value"] == {
        "threads": [share],
        "omp": str(share),
        "slot": "cpu",
    }
    assert "says 0" in (app.sweep / "0/job.log").read_text()
    own = app.run(*command, "+hydra.job.env_set.OMP_NUM_THREADS='2'", "hydra.sweep.dir=own")
    assert own.returncode == 0, own.stderr
    value = yaml.loads((app.path / "own/0/result.yaml").read_text())["value"]
    assert (value["threads"], value["omp"]) == ([min(2, len(os.sched_getaffinity(0)))], "2")
