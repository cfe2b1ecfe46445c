"""Parts of ours alone, and under launchers that know nothing of us: still full runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from task_app import CALLBACK, FILES, NOTHING_OF_OURS, Task, status_of

from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import state_of

WaitUntil = Callable[..., Any]


def test_live_session_works_in_a_program_with_nothing_of_ours(task: Task) -> None:
    task.configure(NOTHING_OF_OURS)
    done = task.run("lr=0.2")
    assert done.returncode == 0, done.stderr
    run = task.only_run()
    assert {path.name for path in run.path.iterdir()} >= FILES - {"job.log"}
    assert files.read_yaml(run.changelog) == {0: {"lr": 0.2, "mode": "ok"}}
    assert status_of(run).state == "done"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_jobs_of_other_launchers_are_full_runs(task: Task, launcher: str) -> None:
    task.configure(CALLBACK)
    done = task.run(
        "-m", f"hydra/launcher={launcher}", "lr=1,2,3", "mode=ok,raise", "hydra.sweep.dir=sweep",
        *(["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []),
    )  # fmt: skip
    assert done.returncode == 1
    runs = [RunDir.at(task.path / "sweep" / str(number)) for number in range(6)]
    assert [state_of(run) for run in runs] == ["done", "failed"] * 3
    for number, run in enumerate(runs):
        lr = number // 2 + 1
        assert run.log.read_text().startswith(f"begin {lr}\n")
        assert run.log.read_text().count("begin") == 1
        assert ("ValueError: the loss is not finite" in run.log.read_text()) == (number % 2 == 1)
        assert files.read_mapping(run.run)["overrides"] == [f"lr={lr}", f"mode={'raise' if number % 2 else 'ok'}"]
        if number % 2 == 0:
            assert {path.name for path in run.path.iterdir()} >= FILES


def test_output_comes_back_to_the_launcher_after_each_job(task: Task) -> None:
    task.configure(CALLBACK)
    done = task.run("-m", "hydra/launcher=basic", "lr=1,2", "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("begin 1") < done.stdout.index("#1 : lr=2") < done.stdout.index("begin 2")
    assert done.stdout.endswith("after main\n")
    logs = [(task.path / "sweep" / number / "job.log").read_text() for number in "01"]
    assert logs == ["begin 1\n", "begin 2\n"]
