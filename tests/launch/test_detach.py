"""`hydra.launcher.detach=true`: the sweep goes on without its terminal, and can be found, seen and stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from trainctl.config import yaml
from trainctl.config.overrides import quoted
from trainctl.errors import SettingError
from trainctl.launch import detach as detach_module
from trainctl.launch.detach import MARK, detach, take_sweep_dir
from trainctl.launch.registry import find

Wait = Callable[..., Any]


def pid_in(words: str) -> int:
    found = re.search(r"the sweep goes on as process (\d+), log sweep/sweep.log", words)
    assert found is not None, words
    return int(found[1])


def test_sweep_goes_on_in_the_background(app: Any, wait_until: Wait) -> None:
    done = app.run("x=1,2", "mode=wait", "hydra.launcher.slots=1", "hydra.launcher.detach=true")
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.endswith("see it with `trainctl ls sweep`, end it with `trainctl stop sweep`")
    pid = pid_in(line)
    assert [launcher.pid for launcher in find(app.sweep)] == [pid]
    assert os.getsid(pid) == pid != os.getsid(0)
    app.go()
    wait_until(lambda: find(app.sweep) == [], "the sweep ends")
    assert app.ran() == ["start 1", "end 1", "start 2", "end 2"]
    log = (app.sweep / "sweep.log").read_text()
    assert "DONE  1/2 sweep/0 after" in log
    assert "2 jobs: 2 done" in log


@pytest.mark.slow
def test_sweep_dir_with_the_time_in_its_name_stays_the_same(app: Any, wait_until: Wait) -> None:
    app.go()
    done = app.run("x=1", "hydra.sweep.dir=sweeps/${now:%S-%f}", "hydra.launcher.detach=true", "-cn", "config")
    assert done.returncode == 0, done.stderr
    (sweep,) = (app.path / "sweeps").iterdir()
    wait_until(lambda: "1 job: 1 done" in (sweep / "sweep.log").read_text(), "the sweep ends")
    assert list((app.path / "sweeps").iterdir()) == [sweep]
    assert yaml.loads((sweep / "0" / "status.yaml").read_text())["state"] == "done"


@pytest.mark.slow
def test_detached_sweep_outlives_its_terminal(app: Any, wait_until: Wait) -> None:
    ours, theirs = os.openpty()
    command = app.command("x=1", "mode=wait", "hydra.launcher.detach=true")
    shell = subprocess.Popen(
        ["sh", "-c", '"$@"; read line', "sh", *command],
        cwd=app.path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    wait_until(lambda: find(app.sweep), "the sweep works")
    os.close(ours)
    shell.send_signal(signal.SIGHUP)
    shell.wait(60)
    wait_until(lambda: app.ran() == ["start 1"], "the job starts")
    assert find(app.sweep)
    app.go()
    wait_until(lambda: app.ran() == ["start 1", "end 1"], "the job ends")
    wait_until(lambda: find(app.sweep) == [], "the sweep ends")


@pytest.mark.slow
def test_what_keeps_it_from_starting_is_told(app: Any) -> None:
    app.sweep.mkdir()
    (app.sweep / ".trainctl").write_text("precious")
    done = app.run("x=1", "hydra.launcher.detach=true")
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "goes on" not in done.stderr
    assert app.ran() == []


@pytest.mark.slow
def test_finished_sweep_says_so_or_is_gone(app: Any) -> None:
    assert app.run("x=1").returncode == 0
    done = app.run("x=1", "hydra.launcher.detach=true")
    assert done.returncode == 0
    assert "1 skipped" in done.stderr or pid_in(done.stderr)


@pytest.mark.slow
def test_earlier_log_is_kept(app: Any, wait_until: Wait) -> None:
    app.sweep.mkdir()
    (app.sweep / "sweep.log").write_text("precious\n")
    app.run("x=1", "hydra.launcher.detach=true")
    wait_until(lambda: "1 job: 1 done" in (app.sweep / "sweep.log").read_text(), "the sweep ends")
    assert (app.sweep / "sweep.log").read_text().startswith("precious\n")


@pytest.mark.parametrize(
    "original", ["python -X dev train.py -m a=1,2", "python -m pack.train -m -cn y", "python -c code a=1"]
)
def test_command_is_the_very_same(
    original: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started: dict[str, Any] = {}

    def start(command: list[str], **options: Any) -> Any:
        started.update(command=command, **options)
        return subprocess.Popen([sys.executable, "-c", "exit(3)"], stderr=options["stderr"])

    monkeypatch.setattr(sys, "orig_argv", original.split())
    monkeypatch.setattr(detach_module, "script_path", lambda: None if "-c" in original.split() else "/app/train.py")
    monkeypatch.setattr(sys, "argv", ["train.py", "set=inside"])  # by the program, which will set it again
    monkeypatch.setattr(detach_module, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": start}))
    with pytest.raises(SystemExit, match="3"):
        detach(tmp_path)
    assert started["command"] == [sys.executable, *original.split()[1:]]
    assert started["env"][MARK] == str(tmp_path)
    assert capsys.readouterr().err == ""


def test_background_process_does_not_detach_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert take_sweep_dir() is None
    monkeypatch.setenv(MARK, str(tmp_path))
    assert take_sweep_dir() == str(tmp_path)
    detach(tmp_path)
    assert take_sweep_dir() is None  # another sweep of the same program has a sweep dir of its own
    detach(tmp_path)


def test_interactive_session_is_told_that_it_cannot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python"])
    monkeypatch.setattr(detach_module, "script_path", lambda: None)
    with pytest.raises(SettingError, match="this is an interactive session; put the program into a file"):
        detach(tmp_path)


@pytest.mark.parametrize("name", ["sweep", "a b", "x=1,y=[2]", "it's", "50%", "a\\'", "${oc.env:HOME}"])
def test_any_sweep_dir_survives_the_command_line(name: str, tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    override = OverridesParser.create().parse_override(f"hydra.sweep.dir={quoted(str(tmp_path / name))}")
    assert OmegaConf.create({"dir": override.value()}).dir == str(tmp_path / name)
