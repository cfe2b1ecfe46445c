"""Earlier runs as sources of real apps: recorded, replayed without them, and swept over."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from project_processes import run_python
from sweep_app import App

from trainctl.config import yaml

LIVE_APP = """
import hydra
import trainctl

@hydra.main(version_base=None, config_path=None, config_name="conf")
def main(cfg):
    live = trainctl.live(cfg)
    for step in live.track(range(cfg.steps)):
        pass
    print("lr is", cfg.lr)

main()
"""
CLI = "from trainctl.cli import main; main()"
CONF = "lr: 0.1\nsteps: 9\ngreeting: hello\n"


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    (tmp_path / "app.py").write_text(LIVE_APP)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "conf.yaml").write_text(CONF)
    return functools.partial(run_python, tmp_path)


@pytest.mark.slow
def test_run_keeps_what_it_loaded_and_goes_on_and_is_replayed_without_its_source(
    python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    first = tmp_path / "runs" / "one"
    (first / ".hydra").mkdir(parents=True)
    (first / ".hydra" / "config.yaml").write_text("lr: 0.2\nsteps: 5\ngreeting: ${oc.env:HOME}\n")
    again = ["app.py", "--config-dir", "conf", "+from=run/runs/one", "steps=3", "hydra.run.dir=runs/two"]
    done = python(*again)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "lr is 0.2"), done.stderr
    second = tmp_path / "runs" / "two"
    assert yaml.loads((second / ".hydra" / "overrides.yaml").read_text()) == ["+from=run/runs/one", "steps=3"]
    record = yaml.loads((second / "run.yaml").read_text())
    (copy,) = record["from"]
    assert (copy["source"], copy["origin"]) == ("run/runs/one", str(first))
    assert copy["values"] == {"lr": 0.2, "steps": 5, "greeting": "${oc.env:HOME}"}

    shutil.rmtree(first)
    refused = python(*again, "hydra.run.dir=runs/three")
    assert refused.returncode == 1
    assert f"+from=run/runs/one: there is no run dir {str(first)!r}" in refused.stderr.splitlines()
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "runs" / "three").exists()

    resumed = python(*again)
    assert (resumed.returncode, resumed.stdout.splitlines()[-1]) == (0, "lr is 0.2"), resumed.stderr
    assert yaml.loads((second / "status.yaml").read_text())["attempt"] == 2

    replayed = python("-c", CLI, "replay", "runs/two", "hydra.run.dir=runs/four")
    assert (replayed.returncode, replayed.stdout.splitlines()[-1]) == (0, "lr is 0.2"), replayed.stderr
    assert yaml.loads((tmp_path / "runs" / "four" / "run.yaml").read_text())["from"] == record["from"]


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_sources_are_an_axis_of_a_sweep_and_are_frozen_when_it_begins(app: App, wait_until: Any, start: str) -> None:
    for name, x in (("a", 1), ("b", 2)):
        folder = app.path / "earlier" / name / ".hydra"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(f"x: {x}\nnorm: {{name: new}}\n")
        (folder / "hydra.yaml").write_text("hydra: {runtime: {choices: {norm: new, hydra/launcher: basic}}}\n")
    sources = "+from=run/earlier/a,run/earlier/b"
    settings = ["hydra.launcher.slots=1", f"hydra.launcher.start={start}", "hydra.sweep.subdir=${x}"]
    process = app.start(sources, "mode=wait_and_tell", *settings)
    wait_until(lambda: app.ran() == ["start 1"], "the first job runs")
    shutil.rmtree(app.path / "earlier")
    app.go()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert app.ran() == ["start 1", "start 2"]
    for number, source in ((1, "run/earlier/a"), (2, "run/earlier/b")):
        record = app.yaml(f"{number}/run.yaml")
        assert [copy["source"] for copy in record["from"]] == [source]
        assert record["overrides"][0] == f"+from={source}"
        assert app.yaml(f"{number}/result.yaml")["value"] == "new"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_other_launchers_sweep_over_sources_too(app: App, launcher: str) -> None:
    for number, name in enumerate(("a", "b")):
        (app.path / f"{name}.ini").write_text(f"[DEFAULTS]\nx = {number}\n")
    command = [argument for argument in app.command("+from=ini/a.ini,ini/b.ini") if not argument.startswith("hydra/")]
    done = subprocess.run(
        [*command, f"hydra/launcher={launcher}"], cwd=app.path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(app.ran()) == ["end 0", "end 1", "start 0", "start 1"]


@pytest.mark.slow
def test_comments_of_an_ini_file_are_told_where_its_keys_are(
    python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "d.ini").write_text("[DEFAULTS]\n# how fast <b>it</b> goes\nlr = 0.3\nsteps = 5\n")
    given = ["--config-dir", "conf", "+from=ini/d.ini"]
    done = python("app.py", *given, "hydra.run.dir=runs/one")
    assert done.returncode == 0, done.stderr
    keys = yaml.loads((tmp_path / "runs" / "one" / "run.yaml").read_text())["keys"]
    assert keys["lr"] == {"type": "float", "help": "how fast <b>it</b> goes"}
    assert "help" not in keys["steps"]
    explained = python("-c", CLI, "explain", "runs/one")
    assert "how fast <b>it</b> goes" in explained.stdout
    assert python("-c", CLI, "explain", "runs/one", "lr").stdout.splitlines()[-1] == "# how fast <b>it</b> goes"
    assert python("-c", CLI, "explain", "runs/one", "steps", "--json").stdout.count("help") == 0
