"""Jobs that a person stops or pauses by name: a state of their own in every place, and what the same command does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status
from trainctl.track.tracker import KILLED

SOURCE = """
import time
import hydra, trainctl

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    live = trainctl.live(cfg)
    live.total = 100_000
    for step in range(live.total):
        live.step()
        live.log(loss=1.0)
        if live.should_stop:
            return 0.25
        time.sleep(0.01)

if __name__ == "__main__":
    main()
"""
CLI = [sys.executable, "-c", "from trainctl.cli import main; main()"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(SOURCE)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text(
        "defaults: [trainctl, _self_]\nx: 0\ntrainctl: {panel: {enabled: false}}\n"
    )
    return tmp_path


def call(project: Path, *arguments: str) -> str:
    done = subprocess.run([*CLI, *arguments], cwd=project, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


@pytest.mark.slow
def test_stopped_and_paused_jobs(project: Path) -> None:
    sweep = [sys.executable, "app.py", "-m", "x=1,2", "hydra.launcher.slots=2"]
    asked, killed = (RunDir.at(project / "outputs" / "app" / f"X_{x}") for x in (1, 2))
    process = subprocess.Popen(sweep, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for run in (asked, killed):
            wait_until(lambda run=run: (files.read_mapping(run.progress).get("step") or 0) > 5, "some steps")
        # paused: everywhere while it lasts, and not longer
        call(project, "do", "X_1", "pause", "--wait", "60")
        wait_until(lambda: files.read_mapping(asked.status)["state"] == "paused", "status.yaml says paused")
        states = {row["name"]: row["state"] for row in json.loads(call(project, "ls", "--json"))}
        assert states == {"X_1": "paused", "X_2": "running"}
        (row,) = json.loads(call(project, "ls", "--state", "paused", "--json"))
        assert row["path"] == str(asked.path)
        assert re.search(r"^state +paused$", call(project, "show", "X_1"), re.MULTILINE)
        assert re.search(r"^app/X_1\tpaused\t", call(project, "table"), re.MULTILINE)
        call(project, "do", "X_1", "resume", "--wait", "60")
        wait_until(lambda: files.read_mapping(asked.status)["state"] == "running", "status.yaml says that it goes on")
        # stopped: by its loop, with a value; by its processes, without one
        call(project, "do", "X_1", "stop", "--wait", "60")
        call(project, "stop", "X_2")
        out, _ = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    for run in (asked, killed):
        status = read_status(run)
        assert status is not None
        assert status.state == "stopped"
        assert re.fullmatch(r"by \S+ at step \d+ of 100000 \(\d+ %\)", str(status.reason)), status.reason
    assert (
        len(re.findall(r"^STOP  [12]/2 outputs/app/X_[12] after .*: stopped by \S+ at step \d+ of", out, re.MULTILINE))
        == 2
    )
    assert "2 jobs: 2 stopped (" in out
    assert "FAIL" not in out
    assert process.returncode == 1, "the one that was killed has no value"
    listed = call(project, "ls")
    assert len(re.findall(r"^stopped\tapp/X_[12]\t.*\tby \S+ at step ", listed, re.MULTILINE)) == 2
    assert re.search(r"^state +stopped: by ", call(project, "show", "X_2"), re.MULTILINE)
    assert "stopped" in KILLED, "what MLflow calls a run that a person has ended"


@pytest.mark.slow
def test_same_command_skips_what_was_stopped_with_a_value_and_resumes_the_other(project: Path) -> None:
    runs = [RunDir.at(project / "outputs" / "app" / f"X_{x}") for x in (1, 2)]
    sweep = [sys.executable, "app.py", "-m", "x=1,2", "hydra.launcher.slots=2"]

    def start(*more: str) -> Any:
        return subprocess.Popen(
            [*sweep, *more], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def steps(run: RunDir, attempt: int) -> bool:
        status = read_status(run)
        if status is None or (status.state, status.attempt) != ("running", attempt):
            return False
        return (files.read_mapping(run.progress).get("step") or 0) > 5

    with start() as first:
        for run in runs:
            wait_until(lambda run=run: steps(run, 1), "some steps")
        call(project, "do", "X_1", "stop", "--wait", "60")
        call(project, "stop", "X_2")
    assert first.returncode == 1
    with start() as second:
        wait_until(lambda: steps(runs[1], 2), "the killed one runs again")
        call(project, "do", "X_2", "stop", "--wait", "60")
        out, _ = second.communicate(timeout=120)
    assert re.search(r"SKIP  1/2 outputs/app/X_1: stopped earlier by \S+ at step \d+ of 100000 .*rerun=all", out), out
    assert "START 2/2 outputs/app/X_2 on slot" in out
    assert second.returncode == 0
    assert "2 jobs: 1 skipped, 1 stopped (" in out
    with start("hydra.launcher.dry_run=true") as preview:
        out, _ = preview.communicate(timeout=120)
    assert len(re.findall(r"skip +outputs/app/X_[12] .*\(stopped by", out)) == 2, out
