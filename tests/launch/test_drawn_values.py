"""Which values make a job another one: drawn ones do not, those of the environment do, and START says which."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainctl.config import yaml

CONFIG = """
defaults: [trainctl, _self_]
lr: 0.1
wd: 0.0
run_id: ${uuid:}
data: {path: "${oc.env:DATA,/a}", out: "${data.path}/${run_id}", token: "${oc.env:SECRET,x}"}
trainctl: {panel: {enabled: false}}
"""
APP = """
import os, signal, uuid
import hydra, trainctl
from omegaconf import OmegaConf

CACHED = os.environ.get("CACHED") == "1"
OmegaConf.register_new_resolver("uuid", lambda: uuid.uuid4().hex[:8], use_cache=CACHED)

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    trainctl.live(cfg).step()
    print("seen", cfg.run_id, cfg.data.out, cfg.run_id, flush=True)
    if os.environ.get("DIE") and not os.path.exists("died"):
        open("died", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__": main()
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


def start(app: Path, *overrides: str, code: int = 0, multirun: bool = True, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "app.py", *(["-m"] if multirun else []), *overrides],
        cwd=app,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr


def seen(path: Path) -> list[str]:
    """Return run id, data.out and again run id as the attempts in a run dir have seen them."""
    logs = sorted(path.glob("job*.log"))
    return [line for log in logs for line in log.read_text().splitlines() if line.startswith("seen")]


def record(path: Path) -> Any:
    return yaml.loads((path / "run.yaml").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("cached", ["0", "1"])
@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_drawn_values_do_not_make_another_job(app: Path, cached: str, how: str) -> None:
    start(app, "lr=0.1,0.2", f"hydra.launcher.start={how}", CACHED=cached)
    said = start(app, "lr=0.1,0.2", f"hydra.launcher.start={how}", CACHED=cached)
    assert "2 jobs: 2 skipped" in said
    runs = sorted((app / "outputs" / "app").glob("Lr*"))
    assert [run.name for run in runs] == ["Lr_0.1", "Lr_0.2"]
    for run in runs:
        name = record(run)["drawn"]["run_id"]
        assert seen(run) == [f"seen {name} /a/{name} {name}"]
    assert seen(runs[0]) != seen(runs[1])


@pytest.mark.slow
@pytest.mark.parametrize("again", ["retry", "resume"])
@pytest.mark.parametrize("cached", ["0", "1"])
def test_next_attempt_keeps_what_was_drawn(app: Path, cached: str, again: str) -> None:
    if again == "retry":
        said = start(app, "lr=0.1", "hydra.launcher.retries=1", DIE="1", CACHED=cached)
    else:
        start(app, "lr=0.1", DIE="1", CACHED=cached, code=1)
        said = start(app, "lr=0.1", CACHED=cached)
    assert "START 1/1 outputs/app/Lr_0.1 on slot cpu, attempt 2" in said
    first, second = seen(app / "outputs" / "app" / "Lr_0.1")
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("cached", ["0", "1"])
def test_single_run_that_was_killed_keeps_what_was_drawn_and_so_does_its_replay(app: Path, cached: str) -> None:
    for code in (-signal.SIGKILL, 0):
        start(app, "lr=0.1", "hydra.run.dir=o", DIE="1", CACHED=cached, code=code, multirun=False)
    first, second = seen(app / "o")
    assert first == second
    assert record(app / "o")["drawn"]["run_id"] in first
    start(app, "lr=0.1", "hydra.run.dir=p", "trainctl.replay=o", CACHED=cached, multirun=False)
    assert seen(app / "p") == [first]
    start(app, "lr=0.1", "hydra.run.dir=q", CACHED=cached, multirun=False)
    assert seen(app / "q") != [first]
    assert record(app / "q")["identity"] == record(app / "o")["identity"]


@pytest.mark.slow
def test_value_of_the_environment_makes_another_job_and_start_says_which(app: Path) -> None:
    start(app, "lr=0.1", DATA="/a")
    said = start(app, "lr=0.1", DATA="/b")
    assert "START 1/1 outputs/app/Lr_0.1.2 on slot cpu; Lr_0.1 differs (data.path: /a -> /b)\n" in said
    assert "1 skipped" in start(app, "lr=0.1", DATA="/b")
    (app / "config.yaml").write_text(CONFIG.replace("wd: 0.0", "wd: 0.5\nnew: [1]"))
    assert "Lr_0.1 differs (wd: 0.0 -> 0.5, new: not set -> [1])" in start(app, "lr=0.1", DATA="/a")


@pytest.mark.slow
def test_excluded_key_covers_what_refers_to_it(app: Path) -> None:
    (app / "config.yaml").write_text(CONFIG + "train: '${oc.decode:${data.path}}'\n")
    exclude = "trainctl.identity.exclude=[data.path]"
    start(app, "lr=0.1", exclude, DATA="/a")
    assert "1 skipped" in start(app, "lr=0.1", exclude, DATA="/b")
    (app / "config.yaml").write_text((app / "config.yaml").read_text().replace("wd: 0.0", "wd: 0.5"))
    assert "Lr_0.1 differs (wd: 0.0 -> 0.5)\n" in start(app, "lr=0.1", exclude, DATA="/b")


@pytest.mark.slow
def test_secret_of_the_environment_is_neither_recorded_nor_said(app: Path) -> None:
    start(app, "lr=0.1", SECRET="hunter2-1")
    said = start(app, "lr=0.1", SECRET="hunter2-2")
    assert "Lr_0.1.2 on slot cpu; Lr_0.1 differs in a value that is not recorded\n" in said
    runs = app / "outputs" / "app"
    assert "hunter2" not in said + "".join((runs / name / "run.yaml").read_text() for name in ("Lr_0.1", "Lr_0.1.2"))


@pytest.mark.slow
def test_default_that_is_given_is_the_job_without_it(app: Path) -> None:
    start(app, "lr=0.1,0.2")
    said = start(app, "lr=0.1,0.2", "wd=0.0,0.5")
    assert "4 jobs: 2 done, 2 skipped" in said
    assert said.count("same as outputs/app/Lr_0.") == 2
