"""How a sweep with failures ends: each failed job in a few lines, no way through Hydra, and never with exit code 0."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobStatus
from pseudo_terminal import on_terminal
from screen import Screen

from trainctl.launch.display.report import Report
from trainctl.launch.returns import as_told, failed_return
from trainctl.rundir import files

SOURCE = """
import os, sys
import hydra

def check(cfg):
    if cfg.mode == "raise":
        raise ValueError("the loss is not finite")
    if cfg.mode == "kill":
        os.kill(os.getpid(), 9)

@hydra.main(version_base=None, config_path="conf", config_name="config")
def train(cfg):
    check(cfg)
    return 0.5

def everything():
    train()

if __name__ == "__main__":
    everything()
"""
CONFIG = """
defaults: [trainctl, _self_]
lr: 0.1
mode: ok
api_token: none
trainctl: {panel: {enabled: false}}
"""
GRIDS = """
hydra: {sweeper: {grids: [{mode: "ok,raise"}]}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(SOURCE)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text(CONFIG)
    return tmp_path


def run(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "app.py", *arguments],
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_each_failed_job_is_told_at_the_end_with_the_command_that_runs_it_again(project: Path) -> None:
    failed = run(project, "-m", "mode=ok,raise,kill", "lr=0.3", "+hydra.sweep.subdir=${hydra.job.num}")
    assert failed.returncode != 0  # `+` of a key that is there: Hydra's own refusal is as it was
    assert "hydra.sweep.subdir" in failed.stderr
    of_hydra = ["hydra.launcher.slots=2", "hydra.sweep.subdir=${trainctl_name:}/it"]  # an override may interpolate
    failed = run(project, "-m", "mode=ok,raise,kill", "lr=0.3", *of_hydra)
    assert failed.returncode == 1
    end = failed.stderr[failed.stderr.index("FAILED ") :].splitlines()
    again = [line.partition(" again: ")[2] for line in end if " again: " in line]
    assert end[:-1] == [
        "FAILED outputs/app/Mode_raise/it: ValueError: the loss is not finite",
        "       at:    app.py:7 in check",
        "       log:   outputs/app/Mode_raise/it/job.log",
        f"       again: {again[0]}",
        "FAILED outputs/app/Mode_kill/it: was killed by SIGKILL (9)",
        "       log:   outputs/app/Mode_kill/it/job.log",
        f"       again: {again[1]}",
    ]
    assert end[-1].startswith("3 jobs: 1 done, 2 failed (")
    for words in ("Error executing job", "hydra/_internal", "HYDRA_FULL_ERROR"):
        assert words not in failed.stderr
    words = shlex.split(again[0])
    assert words[1:] == ["app.py", "-m", "mode=raise", "lr=0.3", *of_hydra]
    source = (project / "app.py").read_text()
    (project / "app.py").write_text(source.replace("raise ValueError", "return; raise ValueError"))
    mended = subprocess.run(words, cwd=project, capture_output=True, text=True, timeout=120, check=False)
    assert mended.returncode == 0, mended.stderr
    status = files.read_mapping(project / "outputs" / "app" / "Mode_raise" / "it" / "status.yaml")
    assert (status["state"], status["attempt"]) == ("done", 2)


def test_failed_sweep_on_a_terminal_ends_so_too(project: Path) -> None:
    command = [sys.executable, "app.py", "-m", "mode=ok,raise"]
    # a program that ends 1, whose words the terminal is to show
    shell = ["/bin/sh", "-c", f"{shlex.join(command)}; test $? = 1"]
    shown = on_terminal(shell, project, columns=100, env={**os.environ, "TERM": "xterm-256color"})
    screen = Screen(100, 100)
    screen.feed(shown)
    plain = "\n".join(screen.shown())
    assert re.search(
        r"^FAILED outputs/app/Mode_raise: ValueError: the loss is not finite\n"
        r" +at: +app.py:7 in check\n +log: .*job.log\n +again: .*\n2 jobs: 1 done, 1 failed \(.*\)\Z",
        plain,
        re.MULTILINE,
    ), plain


@pytest.mark.slow
def test_grids_end_in_the_same_way_and_their_jobs_run_again_alone(project: Path) -> None:
    (project / "conf" / "config.yaml").write_text(
        CONFIG.replace("[trainctl,", "[trainctl, {override hydra/sweeper: grids},") + GRIDS
    )
    failed = run(project, "-m", "lr=0.3")
    assert failed.returncode == 1
    assert "Error executing job" not in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith("2 jobs: 1 done, 1 failed (")
    again = shlex.split(re.findall(r" again: (.*)", failed.stderr)[0])
    assert again[1:] == ["app.py", "mode=raise", "lr=0.3", "hydra.run.dir=outputs/app/Mode_raise"]
    source = (project / "app.py").read_text()
    (project / "app.py").write_text(source.replace("raise ValueError", "return; raise ValueError"))
    repeated = subprocess.run(again, cwd=project, capture_output=True, text=True, timeout=120, check=False)
    assert repeated.returncode == 0, repeated.stderr
    both = run(project, "-m", "lr=0.3")
    assert "2 jobs: 2 skipped (" in both.stderr, both.stderr


@pytest.mark.slow
@pytest.mark.skipif(find_spec("hydra_plugins.hydra_optuna_sweeper") is None, reason="hydra-optuna-sweeper is not there")
def test_sweeper_that_raises_what_failed_shows_no_way_through_hydra(project: Path) -> None:
    search = [
        "hydra/sweeper=optuna",
        "hydra.sweeper.n_jobs=2",
        "hydra.sweeper.n_trials=2",
        "lr=interval(0,1)",
        "mode=raise",
    ]
    failed = run(project, "-m", *search)
    assert failed.returncode == 1
    assert failed.stderr.count("FAILED outputs/app/") == 2
    for words in ("Traceback", "Error executing job", "hydra/_internal"):
        assert words not in failed.stderr, failed.stderr
    assert "the loss is not finite" in failed.stderr[failed.stderr.index("2 jobs: 2 failed") :]


class OddError(Exception):
    """One that takes two arguments, and has an attribute."""

    def __init__(self, what: str, at: int) -> None:
        super().__init__(f"{what} at {at}")
        self.at = at


@pytest.mark.parametrize(
    "error", [OddError("x", 3), OSError(2, "no", "f"), UnicodeDecodeError("utf-8", b"x", 0, 1, "y")]
)
def test_sweeper_can_catch_what_a_job_raised_by_its_class(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        _ = as_told(failed_return([], error)).return_value
    assert (str(caught.value), caught.value.args) == (str(error), error.args)
    assert vars(caught.value).items() >= vars(error).items()


@pytest.mark.slow
def test_hydra_shows_all_where_that_is_asked_for(project: Path) -> None:
    failed = run(project, "-m", "mode=raise,ok", HYDRA_FULL_ERROR="1")
    assert failed.returncode == 1
    assert "Error executing job with overrides: ['mode=raise'" in failed.stderr
    assert "hydra/_internal" in failed.stderr
    silent = run(project, "-m", "mode=raise,ok", "hydra.launcher.progress=off")  # else nobody would say why
    assert silent.returncode == 1
    assert "ValueError: the loss is not finite" in silent.stderr


def test_secrets_stand_in_no_command(project: Path) -> None:
    failed = run(project, "-m", "mode=raise,ok", "api_token=abcdef0123456789")
    assert "again: " in failed.stderr
    assert "abcdef0123456789" not in failed.stderr


def test_who_catches_the_failure_gets_the_exception_of_the_job() -> None:
    returned = as_told(failed_return(["x=1"], ValueError("no")))
    assert returned.status is JobStatus.FAILED
    with pytest.raises(ValueError, match="no"):
        _ = returned.return_value


def test_many_failures_have_a_line_each_and_the_first_ones_all(tmp_path: Path, capsys: Any) -> None:
    report = Report(30)
    for position in range(30):
        report.fail(position, tmp_path / f"Lr_{position}", 1.0, "ValueError: " + "x" * 500, "", tmp_path / "job.log")
    capsys.readouterr()
    report.sum_up(0, 1.0, lambda position: f"python app.py -m lr={position}")
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith("FAILED ")]
    assert len(told) == 30
    assert all(len(line) < 300 and line.endswith("x…") for line in told)
    assert sum(" again: " in line for line in lines) == 20
