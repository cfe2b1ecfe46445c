"""Retries, time limits, fail-fast, reruns: what a sweep does about jobs that do not succeed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WaitUntil = Callable[..., Any]


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def starts(app: Any) -> int:
    return sum(line.startswith("start") for line in app.ran())


MODES = {"kill": ("crash", "failed"), "raise": ("error", "failed"), "exit": ("error", "failed"), "oom": ("oom", "oom")}


@pytest.mark.parametrize("retry_on", ["[crash]", "[error]", "[oom]", "[timeout]"])
def test_retries_follow_the_cause(app: Any, retry_on: str) -> None:
    sweep = [f"mode={','.join(MODES)}", "hydra.launcher.slots=1"]
    done = app.run(*sweep, "hydra.launcher.retries=2", f"hydra.launcher.retry_on={retry_on}")
    assert done.returncode == 1
    assert "4 jobs: 4 failed" in done.stderr
    begun = 0
    for number, (cause, state) in enumerate(MODES.values()):
        attempts = 3 if cause in retry_on else 1
        status = app.yaml(f"{number}/status.yaml")
        assert (status["state"], status["attempt"]) == (state, attempts)
        logs = sorted(path.name for path in (app.sweep / str(number)).glob("job*.log"))
        assert logs == sorted(["job.log", *(f"job.{earlier}.log" for earlier in range(1, attempts))])
        begun += attempts
    assert starts(app) == begun


def test_retried_job_that_succeeds_is_done(app: Any) -> None:
    done = app.run("mode=second_time", "hydra.launcher.retries=1")
    assert done.returncode == 0, done.stderr
    assert "RETRY 1/1 will be tried again (1 of 1)" in done.stderr
    assert "1 job: 1 done" in done.stderr


@pytest.mark.slow
def test_job_that_runs_too_long_is_ended_with_all_its_children(app: Any) -> None:
    limits = ["hydra.launcher.timeout_min=0.1", "hydra.launcher.grace_s=0.2"]
    done = app.run("mode=family,stubborn,ok", "hydra.launcher.slots=2", *limits)
    assert done.returncode == 1
    assert done.stderr.count("ran longer than timeout_min=0.1") >= 2
    assert [app.yaml(f"{number}/status.yaml")["state"] for number in range(3)] == ["timeout", "timeout", "done"]
    assert not app.processes()


def test_fail_fast_starts_no_more_jobs(app: Any) -> None:
    done = app.run("mode=raise", "x=range(0,6)", "hydra.launcher.slots=1", "hydra.launcher.stop_after_failures=2")
    assert done.returncode == 1
    assert starts(app) == 2
    assert "6 jobs: 2 failed, 4 not finished: the same command resumes" in done.stderr


def test_fail_fast_lets_running_jobs_end(app: Any) -> None:
    launcher = app.start("mode=wait,raise,ok", "hydra.launcher.slots=2", "hydra.launcher.stop_after_failures=1")
    assert launcher.stdout is not None
    assert any(line.startswith("FAIL") for line in launcher.stdout), "the launcher has heard of the second job"
    app.go()
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    assert "3 jobs: 1 done, 1 failed, 1 not finished" in output


@pytest.mark.slow
def test_rerun_says_which_jobs_run_again(app: Any) -> None:
    sweep = ["mode=raise,ok", "hydra.launcher.slots=1"]
    app.run(*sweep)
    expected = {"none": [], "failed": ["start 0"], "all": ["start 0", "start 0", "end 0"]}
    for rerun, again in expected.items():
        before = len(app.ran())
        done = app.run(*sweep, f"hydra.launcher.rerun={rerun}")
        assert done.returncode == 1
        assert Counter(app.ran()[before:]) == Counter(again)
        assert ("failed earlier, and rerun=none: ValueError: it broke" in done.stderr) == (rerun == "none")


@pytest.mark.parametrize("extra", [[], ["+new=1"]], ids=["shared", "composed in full"])
def test_pending_jobs_are_immune_to_edits_of_yaml_and_code(app: Any, wait_until: WaitUntil, extra: list[str]) -> None:
    keys = ["norm=new,batch", "x=1,2", "mode=wait_and_tell", *extra]
    launcher = app.start(*keys, "hydra.launcher.slots=1")
    wait_until(lambda: starts(app) == 1, "the first job runs")
    (app.path / "conf" / "norm" / "batch.yaml").write_text("name: edited\n")
    (app.path / "conf" / "config.yaml").write_text("not: {even: [valid\n")
    (app.path / "conf" / "norm" / "new.yaml").unlink()
    (app.path / "app.py").write_text("raise SystemExit('edited')\n")
    app.go()
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 0, output
    assert [app.yaml(f"{number}/result.yaml")["value"] for number in range(4)] == ["new", "new", "batch", "batch"]


@pytest.mark.parametrize("subdir", [".", "..", "../out", "a/../..", "/tmp/out", "../${hydra.job.num}"])
def test_job_dir_outside_of_the_sweep_dir_is_refused_and_nothing_written_there(app: Any, subdir: str) -> None:
    before = {path.name for path in app.path.iterdir()}
    done = app.run("mode=ok", f"hydra.sweep.subdir={subdir}")
    assert done.returncode == 1
    assert f"hydra.sweep.subdir='{subdir.replace('${hydra.job.num}', '0')}' is not below the sweep dir" in done.stderr
    assert ("FAILED job" in done.stderr) == ("$" in subdir)  # what is wrong for each job is said once
    assert "Traceback" not in done.stderr
    assert app.ran() == []
    assert {path.name for path in app.path.iterdir()} - before <= {app.sweep.name, "ran.txt"}
    assert not app.sweep.exists() or {path.name for path in app.sweep.iterdir()} <= {".trainctl", "multirun.yaml"}


def test_sweep_dir_may_be_the_working_directory(app: Any) -> None:
    done = app.run("mode=ok", "hydra.sweep.dir=.")
    assert done.returncode == 0, done.stderr
    assert files_of(app.path / "0") >= {"status.yaml", "result.yaml"}


def test_dry_run_lists_jobs_and_writes_nothing(app: Any) -> None:
    app.run("x=1,2", "mode=ok,raise")
    (app.sweep / "1" / "status.yaml").unlink()
    before = sorted((str(path), path.stat().st_mtime_ns) for path in app.path.rglob("*"))
    ran = app.ran()
    done = app.run("x=1,2,3", "mode=ok,raise", "hydra.launcher.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert app.ran() == ran
    assert sorted((str(path), path.stat().st_mtime_ns) for path in app.path.rglob("*")) == before
    lines = [line.split(maxsplit=4) for line in done.stdout.splitlines() if line.strip()]
    assert [line[:2] for line in lines[:6]] == [
        ["1/6", "skip"],
        ["2/6", "run"],
        ["3/6", "skip"],
        ["4/6", "retry"],
        ["5/6", "run"],
        ["6/6", "run"],
    ]
    assert "sweep/0" in done.stdout
    assert "x=1 mode=ok" in done.stdout
