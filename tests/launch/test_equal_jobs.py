"""Jobs of one sweep dir with the same identity run once, whatever their names, sweeper and way to be started."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainctl.rundir.job_index import IndexedJob, JobIndex

Wait = Callable[..., Any]
CLI = ["-c", "from trainctl.cli import main; main()"]

# Hydra as a library, which shows the JobReturns
RETURNS = """
import os, sys
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_automatic_config_search_path

def task(cfg):
    with open(os.path.join(os.path.dirname(__file__), "ran.txt"), "a") as file: file.write("start\\n")
    return {"x": cfg.get("x"), "from": object()} if cfg.get("x") else None

if __name__ == "__main__":
    search = create_automatic_config_search_path(__file__, None, ".")
    hydra = Hydra.create_main_hydra2(task_name="returns", config_search_path=search)
    function = eval(sys.argv[1])
    (jobs,) = hydra.multirun(None, function, ["hydra/launcher=slots", "hydra.sweep.dir=sweep", *sys.argv[2:]])
    for job in jobs: print(job.overrides, job.return_value and job.return_value["x"], dict(job.cfg))
"""


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_equal_job_is_skipped_and_returns_what_the_first_returned(tmp_path: Path, start: str) -> None:
    (tmp_path / "returns.py").write_text(RETURNS)
    command = ["returns.py", "task", f"hydra.launcher.start={start}", "+x=1,2,1"]
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['+x=1'] 1 {'x': 1}", "['+x=2'] 2 {'x': 2}", "['+x=1'] 1 {'x': 1}"]
    assert (tmp_path / "ran.txt").read_text().count("start") == 2
    assert re.search(r"^SKIP  (1/3 same as sweep/2|3/3 same as sweep/0)$", done.stderr, re.MULTILINE)  # both are ready
    assert "3 jobs: 2 done, 1 skipped" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("task", ["task", "lambda cfg: task(cfg)"])  # with an empty config; without a name
def test_job_without_an_identity_is_never_equal(tmp_path: Path, task: str) -> None:
    (tmp_path / "returns.py").write_text(RETURNS)
    swept = ["hydra.sweeper.max_batch_size=2", *(["+x=1,1"] if task != "task" else [])]
    command = [sys.executable, "returns.py", task, *swept]
    for ran in (2, 4) if task != "task" else (1, 2):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert "SKIP" not in done.stderr
        assert (tmp_path / "ran.txt").read_text().count("start") == ran


def test_equal_job_waits_for_the_first(app: Any, wait_until: Wait) -> None:
    launcher = app.start("x=1,1", "mode=wait", "hydra.launcher.slots=2")
    wait_until(lambda: app.ran() == ["start 1"], "the first runs")
    app.go()
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 0, output
    assert app.ran() == ["start 1", "end 1"]
    assert "same as sweep/" in output
    assert "2 jobs: 1 done, 1 skipped" in output


@pytest.mark.slow
def test_equal_job_fails_as_the_first_has(app: Any) -> None:
    done = app.run("x=1,1", "mode=raise", "hydra.launcher.slots=1")
    assert done.returncode == 1
    assert app.ran() == ["start 1"]
    equal = r"FAIL  [12]/2 \(not started\) after 0\.0 s: same as [01], which failed: ValueError: it broke"
    assert re.search(equal, done.stderr)
    assert "2 jobs: 2 failed" in done.stderr
    app.run("x=1,1", "mode=raise", "hydra.launcher.slots=1", "hydra.launcher.rerun=none")
    assert app.ran() == ["start 1"]


def test_equal_job_has_the_outcome_of_the_last_try(app: Any) -> None:
    done = app.run("x=1,1", "mode=second_time", "hydra.launcher.slots=2", "hydra.launcher.retries=1")
    assert done.returncode == 0, done.stderr
    assert app.ran() == ["start 1", "start 1", "end 1"]
    assert "2 jobs: 1 done, 1 skipped" in done.stderr


@pytest.mark.slow
def test_run_again_means_once_each(app: Any) -> None:
    app.run("x=1,1")
    done = app.run("x=1,1", "hydra.launcher.rerun=all")
    assert app.ran() == ["start 1", "end 1"] * 2
    assert [app.yaml(path.relative_to(app.sweep))["attempt"] for path in app.sweep.glob("*/status.yaml")] == [2]
    assert "1 done, 1 skipped" in done.stderr


def test_sweeper_that_asks_again_gets_the_same_answer(app: Any) -> None:
    done = app.run("x=1,2,1", "hydra.sweeper.max_batch_size=1")
    assert done.returncode == 0, done.stderr
    assert app.ran() == ["start 1", "end 1", "start 2", "end 2"]
    assert "SKIP  1/1 same as sweep/0: finished earlier" in done.stderr


@pytest.mark.slow
def test_equal_job_of_an_earlier_command_counts(app: Any) -> None:
    app.run("x=1,2")
    path = app.sweep / ".trainctl" / "jobs.jsonl"
    whole = path.read_bytes()
    for index in (whole, None, whole[:-40]):  # the index is as it was left, lost, torn
        if index is None:
            path.unlink()
        else:
            path.write_bytes(index)
        done = app.run("x=2,1")
        assert "SKIP  1/2 same as sweep/1: finished earlier" in done.stderr
    assert sorted(app.ran()) == ["end 1", "end 2", "start 1", "start 2"]
    other = app.run("x=1", "hydra.sweep.dir=elsewhere")
    assert "1 job: 1 done" in other.stderr


def test_dry_run_shows_equal_jobs(app: Any) -> None:
    done = app.run("x=1,1", "hydra.launcher.dry_run=true")
    assert "1/2  run    sweep/0  x=1  (new)\n2/2  skip   x=1  (same as sweep/0)\n" in done.stdout
    assert app.ran() == []


@pytest.mark.slow
def test_jobs_that_run_other_commands_are_not_equal(tmp_path: Path) -> None:
    commands = "commands: {one: 'echo one >> ran.txt', two: 'echo two >> ran.txt'}\n"
    (tmp_path / "params.yaml").write_text(
        f"defaults: [trainctl, _self_]\nlr: 0.1\ntrainctl: {{panel: {{enabled: false}}}}\n{commands}"
    )
    command = [sys.executable, *CLI, "run", "--config", "params.yaml", "-m", "trainctl.run.only=[one],[two]"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted((tmp_path / "ran.txt").read_text().split()) == ["one", "two"]


# -- the index itself --------------------------------------------------------------------------------------------------


def test_index_passes_over_what_it_cannot_use(tmp_path: Path) -> None:
    (tmp_path / ".trainctl").mkdir()
    path = tmp_path / ".trainctl" / "jobs.jsonl"
    index = JobIndex(tmp_path)
    assert index.find("0" * 16) == []
    index.add(IndexedJob("a" * 16, "one", "launch", 1))
    path.write_text(path.read_text() + '[1]\n{"identity": "' + "a" * 16 + '", "run": "../two"}\nrubbish "' + "a" * 16)
    index.add(IndexedJob("a" * 16, "three"))
    assert [each.run for each in index.find("a" * 16)] == ["three", "one"]
    assert index.find("b" * 16) == []


def test_index_that_grew_too_long_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".trainctl").mkdir()
    monkeypatch.setattr("trainctl.rundir.job_index.MOST_BYTES", 200)
    index = JobIndex(tmp_path)
    for number in range(20):
        index.add(IndexedJob(f"{number:016}", "gone", "launch", number))
    index.mend()
    assert (tmp_path / ".trainctl" / "jobs.jsonl").read_bytes() == b""
