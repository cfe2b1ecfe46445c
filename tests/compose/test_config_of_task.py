"""A task's config is the user's: what an app with the preset gets, by any way that Hydra runs or shows it."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainctl.config import yaml
from trainctl.rundir import files

ROOT = Path(__file__).resolve().parents[2]
LIB = """
class Trainer:
    def __init__(self, lr, seed=None):
        self.lr = lr
"""
APP = """
import json, os, sys
from dataclasses import dataclass, field
import hydra, trainctl
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig

def listed(*names):
    return field(default_factory=lambda: list(names))

@dataclass
class First:
    defaults: list = listed("trainctl", "_self_")
    _target_: str = "lib.Trainer"
    lr: float = 0.1

@dataclass
class Last(First):
    defaults: list = listed("_self_", "trainctl")

store = ConfigStore.instance()
store.store(name="first", node=First)
store.store(name="last", node=Last)
store.store(name="schema", node=First(defaults=[]))

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    trainer = hydra.utils.instantiate(cfg) if "trainctl" not in cfg else None
    live = trainctl.live(cfg)
    job = HydraConfig.get()
    told = {"keys": list(cfg), "lr": cfg.lr, "built": trainer and trainer.lr, "seed": live.seed, "own": cfg.get("seed")}
    told |= {"poll_s": job.trainctl.poll_s, "dirname": job.job.override_dirname}
    with open(os.path.join(job.runtime.output_dir, "told.json"), "w") as file:
        json.dump(told, file)

if __name__ == "__main__":
    main()
"""
CONFIG = "_target_: lib.Trainer\nlr: 0.1\ntrainctl: {panel: {enabled: false}, poll_s: 0.5}\n"
CONFIGS = {
    "config": f"defaults: [trainctl, _self_]\n{CONFIG}",
    "end": f"defaults: [schema, _self_, trainctl]\n{CONFIG}",
    "middle": f"defaults: [schema, trainctl, _self_]\n{CONFIG}",
    "callback": f"defaults: [override hydra/callbacks: trainctl, _self_]\n{CONFIG}",
    "referring": f"defaults: [trainctl, _self_]\n{CONFIG}seed: ${{trainctl.seed}}\n",
}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "conf").mkdir()
    (tmp_path / "lib.py").write_text(LIB)
    (tmp_path / "app.py").write_text(APP)
    for name, text in CONFIGS.items():
        (tmp_path / "conf" / f"{name}.yaml").write_text(text)

    def run_app(*arguments: str, app: str = "app.py") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "ignore", app, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return run_app


def told(directory: Path) -> list[dict[str, Any]]:
    return [yaml.loads(path.read_text()) for path in sorted(directory.glob("**/told.json"))]


def assert_done(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["slots", "basic", "joblib"])
def test_jobs_of_any_launcher_get_a_config_without_settings(run: Run, tmp_path: Path, launcher: str) -> None:
    choice = f"hydra/launcher={launcher}"
    assert_done(run("-m", choice, "hydra.sweep.dir=out", "lr=1,2", "trainctl.seed=3,4", "trainctl.poll_s=0.25"))
    found = told(tmp_path / "out")
    assert [(each["keys"], each["poll_s"]) for each in found] == [(["_target_", "lr"], 0.25)] * 4
    expected = [(lr, lr, seed, f"lr={lr}") for lr in (1, 2) for seed in (3, 4)]
    assert sorted((each["lr"], each["built"], each["seed"], each["dirname"]) for each in found) == expected
    for path in (tmp_path / "out").glob("**/.hydra/config.yaml"):
        assert files.read_yaml(path).keys() == {"_target_", "lr"}
        recorded = files.read_yaml(path.parents[1] / "changelog.yaml")[0]
        assert recorded["trainctl"]["seed"] in (3, 4)
        assert recorded["trainctl"]["panel"]["enabled"] is False


@pytest.mark.parametrize("name", ["config", "first", "last", "middle", "end", "callback"])
def test_run_gets_a_config_without_settings_wherever_the_preset_stands(run: Run, tmp_path: Path, name: str) -> None:
    given = [] if name == "callback" else ["trainctl.panel.enabled=false", "trainctl.seed=3"]
    assert_done(run("-cn", name, "hydra.run.dir=out", "lr=0.5", *given))
    (found,) = told(tmp_path / "out")
    assert (found["keys"], found["built"], found["dirname"]) == (["_target_", "lr"], 0.5, "lr=0.5")
    assert found["poll_s"] == (0.05 if name in ("first", "last") else 0.5)
    assert name == "callback" or found["seed"] == 3
    recorded = files.read_yaml(tmp_path / "out" / "changelog.yaml")[0]
    assert recorded["trainctl"]["seed"] == found["seed"]


@pytest.mark.slow
def test_what_hydra_shows_of_a_job_is_the_users(run: Run) -> None:
    shown = yaml.loads(run("--cfg", "job", "trainctl.seed=3").stdout)
    assert shown == {"_target_": "lib.Trainer", "lr": 0.1}
    everything = yaml.loads(run("--cfg", "all", "trainctl.seed=3").stdout)
    assert everything["hydra"]["trainctl"] == {"seed": 3, "poll_s": 0.5, "panel": {"enabled": False}}
    of_hydra = yaml.loads(run("--cfg", "hydra", "--resolve", "hydra.job.name=${hydra:trainctl.sync_every}").stdout)
    assert of_hydra["hydra"]["trainctl"] == {"poll_s": 0.5, "panel": {"enabled": False}}
    assert of_hydra["hydra"]["job"]["name"] == "10"  # what is not printed is there all the same
    assert "trainctl" not in yaml.loads(run("-cn", "first", "--cfg", "hydra").stdout)["hydra"]
    assert everything.keys() == {"_target_", "lr", "hydra"}
    about = run("--info", "config", "trainctl.seed=3")
    assert "poll_s" not in about.stdout.partition("Config\n")[2]


@pytest.mark.slow
def test_value_that_the_users_config_refers_to_stays_with_the_seed_that_is_drawn(run: Run, tmp_path: Path) -> None:
    shown = yaml.loads(run("-cn", "referring", "--cfg", "job", "trainctl.seed=3").stdout)
    assert shown == {"_target_": "lib.Trainer", "lr": 0.1, "seed": "${trainctl.seed}", "trainctl": {"seed": 3}}
    assert_done(run("-cn", "referring", "-m", "hydra.sweep.dir=out", "lr=1,2"))
    found = told(tmp_path / "out")
    assert [each["own"] for each in found] == [each["seed"] for each in found]
    assert None not in {each["own"] for each in found}


def test_setting_that_is_none_is_refused_by_its_name(run: Run) -> None:
    done = run("trainctl.contrls=3")
    assert done.returncode != 0
    assert "Could not override 'trainctl.contrls'" in done.stderr
    assert "Key 'contrls' not in 'Settings'" in done.stderr


@pytest.mark.slow
def test_run_that_has_its_settings_apart_is_resumed_replayed_and_explained(run: Run, tmp_path: Path) -> None:
    assert_done(run("hydra.run.dir=out", "lr=0.5"))
    (first,) = told(tmp_path / "out")
    assert_done(run("hydra.run.dir=out", "lr=0.5"))
    assert told(tmp_path / "out") == [first]
    assert_done(run("hydra.run.dir=again", "lr=0.5", "trainctl.replay=out"))
    assert told(tmp_path / "again") == [first]
    explained = run("lr=0.5", "trainctl.seed=3", "trainctl.explain=trainctl.seed")
    assert explained.stdout.splitlines()[:2] == ["trainctl.seed: 3", "    command line trainctl.seed=3"]


COMPOSED = """
import sys, hydra, trainctl
with hydra.initialize("conf", version_base=None):
    cfg = hydra.compose("config", ["trainctl.seed=3"])
live = trainctl.live(cfg, run_dir="out")
print(live.seed, cfg.trainctl.poll_s)
"""


def test_program_that_composes_for_itself_has_its_settings_in_the_config(run: Run, tmp_path: Path) -> None:
    (tmp_path / "composed.py").write_text(COMPOSED)
    done = run(app="composed.py")
    assert_done(done)
    assert done.stdout == "3 0.5\n"


SPAWNED = """
import multiprocessing, os
import hydra, trainctl
from trainctl.config.settings import settings_of

def work(cfg, answers):
    live = trainctl.live(cfg, run_dir=os.environ["OUT"])
    answers.put([list(cfg), live.seed, settings_of(cfg).poll_s, settings_of(cfg).sync_every])
    live.step()

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    os.environ["OUT"] = hydra.core.hydra_config.HydraConfig.get().runtime.output_dir
    start = multiprocessing.get_context("spawn")
    answers = start.Queue()
    child = start.Process(target=work, args=(cfg, answers))
    child.start()
    print("told", answers.get(timeout=100))
    child.join()

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_process_that_a_job_spawns_has_its_settings(run: Run, tmp_path: Path) -> None:
    (tmp_path / "spawned.py").write_text(SPAWNED)
    done = run("hydra.run.dir=out", "trainctl.seed=3", "trainctl.sync_every=7", app="spawned.py")
    assert_done(done)
    assert "told [['_target_', 'lr'], 3, 0.5, 7]" in done.stdout
    assert files.read_yaml(tmp_path / "out" / "changelog.yaml")[0]["trainctl"]["poll_s"] == 0.5


ZEN = """
import json, sys
from hydra.conf import HydraConf, RunDir, SweepDir
from hydra_zen import launch, make_config, zen
from omegaconf import OmegaConf
import trainctl

def task(cfg):
    return [sorted(cfg), trainctl.live(cfg).seed]

Config = make_config(defaults=["trainctl", "_self_"], lr=0.1)
job = launch(Config, task, overrides=["hydra.run.dir=out", "trainctl.seed=3", "trainctl.panel.enabled=false"],
             version_base="1.3")
print("told", job.return_value)
(jobs,) = launch(Config, task, multirun=True, version_base="1.3", overrides=[
    "hydra.sweep.dir=sweep", "hydra/launcher=basic", "lr=1,2", "trainctl.seed=4", "trainctl.panel.enabled=false"])
print("told", [job.return_value for job in jobs])
"""


@pytest.mark.skipif(importlib.util.find_spec("hydra_zen") is None, reason="hydra-zen is not installed")
def test_hydra_zens_launch_gives_a_config_without_settings(run: Run, tmp_path: Path) -> None:
    (tmp_path / "zen.py").write_text(ZEN)
    done = run(app="zen.py")
    assert_done(done)
    assert re.findall("told (.*)", done.stdout) == ["[['lr'], 3]", "[[['lr'], 4], [['lr'], 4]]"]


ZEN_MAIN = """
from hydra_zen import store, zen
import trainctl

def task(lr: float):
    return lr

if __name__ == "__main__":
    store(task, name="config", lr=0.1, hydra_defaults=["_self_", "trainctl"])
    store.add_to_hydra_store()
    zen(task).hydra_main(config_name="config", version_base="1.3", config_path=None)
"""


@pytest.mark.skipif(importlib.util.find_spec("hydra_zen") is None, reason="hydra-zen is not installed")
def test_runs_of_hydra_zen_have_the_name_of_the_program(run: Run, tmp_path: Path) -> None:
    (tmp_path / "fit.py").write_text(ZEN_MAIN)
    assert_done(run("-m", "lr=1,2", "trainctl.panel.enabled=false", app="fit.py"))
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("outputs/*/*/result.yaml"))
    assert found == ["outputs/fit/Lr_1/result.yaml", "outputs/fit/Lr_2/result.yaml"]
