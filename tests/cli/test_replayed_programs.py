"""`trainctl replay --verify` of programs however they were started: module, command, archive, launcher, hydra-zen."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import zipapp
from collections.abc import Callable
from pathlib import Path

import pytest

from trainctl.rundir import files

NEEDS_ZEN = pytest.mark.skipif(importlib.util.find_spec("hydra_zen") is None, reason="hydra-zen is not installed")
TRAINING = """
import random
import trainctl

def train(cfg):
    live = trainctl.live(cfg)
    total = 0.0
    for _ in live.track(range(5)):
        total += cfg.lr * random.random()
        live.log(total=total)
    return total
"""
APP = """
import hydra
from hydra.core.config_store import ConfigStore

ConfigStore.instance().store("config", {"lr": 0.1, "trainctl": {"panel": {"enabled": False}}})

@hydra.main(version_base=None, config_path=None, config_name="config")
def main(cfg):
    return train(cfg)
"""
ZEN_APP = """
from hydra_zen import make_config, store, zen

def task(zen_cfg, lr: float):
    return train(zen_cfg)

if __name__ == "__main__":
    store(make_config(lr=0.1, trainctl={"panel": {"enabled": False}}), name="config")
    store.add_to_hydra_store()
    zen(task).hydra_main(config_path=None, config_name="config", version_base="1.3")
"""
ZEN_LAUNCH = """
import sys
from hydra_zen import launch, make_config

def task(cfg):
    return train(cfg)

if __name__ == "__main__":
    job = launch(make_config(lr=0.1), task, overrides=eval(sys.argv[1]), version_base="1.3")
    print(job.return_value)
"""
ZEN_LOOP = """
from hydra_zen import launch, make_config

def answers(task, *overrides):
    jobs, = launch(make_config(x=1), task, overrides=["x=1,2", *overrides], multirun=True, version_base="1.3")
    return [job.return_value for job in jobs]

if __name__ == "__main__":
    slots = ["hydra/launcher=slots", "hydra.launcher.progress=off"]
    print([answers(lambda cfg: cfg.x + i, *slots) for i in range(3)])
    print([answers(lambda cfg: cfg.x + i, *slots, "hydra.sweep.dir=same") for i in range(2)])
    print([answers(f, *slots, "hydra.sweep.dir=same") for f in (lambda cfg: 5, lambda cfg: 6)])
"""
RECORDED = ["hydra/callbacks=[trainctl]", "hydra.job.chdir=false", "hydra.run.dir=run"]
JOBS = ["-m", "lr=0.3,0.4", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${hydra.job.num}"]
NO_RECORD = "hydra.output_subdir=null"  # what a replay needs stands in run.yaml
MAIN = "\nif __name__ == '__main__': main()\n"


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def trainctl(folder: Path, *arguments: str, code: int = 0) -> str:
    return run(folder, "-c", "from trainctl.cli import main; main()", *arguments, code=code)


def as_module(folder: Path) -> list[str]:
    (folder / "project").mkdir()
    (folder / "project" / "__init__.py").touch()
    (folder / "project" / "train.py").write_text(TRAINING + APP + MAIN)
    return ["-m", "project.train"]


def as_command(folder: Path) -> list[str]:
    """Make a package and the script that an installer writes for its entry point."""
    as_module(folder)
    (folder / "bin").mkdir()
    (folder / "bin" / "train").write_text(
        f"import sys\nsys.path.insert(0, {str(folder)!r})\nfrom project.train import main\nsys.exit(main())\n"
    )
    return ["bin/train"]


def as_archive(folder: Path) -> list[str]:
    (folder / "source").mkdir()
    (folder / "source" / "__main__.py").write_text(TRAINING + APP + MAIN)
    zipapp.create_archive(folder / "source", folder / "train.pyz")
    return ["train.pyz"]


def as_directory(folder: Path) -> list[str]:
    as_archive(folder)
    return ["source"]


def as_zen(folder: Path) -> list[str]:
    (folder / "zen.py").write_text(TRAINING + ZEN_APP)
    return ["zen.py"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "started"),
    [
        (as_module, RECORDED),
        pytest.param(as_command, [*RECORDED, NO_RECORD], marks=pytest.mark.slow),
        pytest.param(as_archive, RECORDED, marks=pytest.mark.long),
        pytest.param(as_directory, RECORDED, marks=pytest.mark.long),
        pytest.param(as_zen, RECORDED, marks=[pytest.mark.slow, NEEDS_ZEN]),
        pytest.param(as_command, [*JOBS, "hydra/launcher=slots"], marks=pytest.mark.slow),
        pytest.param(
            as_module,
            [*JOBS, "hydra/launcher=slots", "hydra.launcher.start=spawn", "hydra.job.chdir=true", NO_RECORD],
            marks=pytest.mark.slow,
        ),
        pytest.param(as_module, [*JOBS, "hydra/launcher=joblib"], marks=pytest.mark.slow),  # without our callback
        pytest.param(as_command, [*JOBS, "hydra/launcher=joblib", RECORDED[0]], marks=pytest.mark.long),
        pytest.param(as_zen, [*JOBS, "hydra/launcher=slots"], marks=[pytest.mark.slow, NEEDS_ZEN]),
    ],
)
def test_program_is_replayed_however_it_was_started(
    tmp_path: Path, make: Callable[[Path], list[str]], started: list[str]
) -> None:
    flags = [text for text in started if text == "-m"]  # hydra-zen parses them in front of the overrides alone
    run(tmp_path, *make(tmp_path), *flags, *(text for text in started if text not in flags))
    name = "sweep/1" if flags else "run"
    said = trainctl(tmp_path, "replay", name, "--verify")
    told = ", return value " if "hydra/launcher=joblib" not in started or RECORDED[0] in started else ""
    assert said.startswith(f"identical: 5 metric records{told}"), said


@pytest.mark.slow
@pytest.mark.parametrize("program", ["-c", "-"])
def test_program_that_is_no_file_cannot_be_replayed(tmp_path: Path, program: str) -> None:
    text, more = TRAINING + APP + "main()\n", [*RECORDED, "lr=0.2"]
    command = [sys.executable, program, *([text] if program == "-c" else []), *more]
    subprocess.run(command, cwd=tmp_path, input=text, text=True, timeout=180, check=True)
    said = trainctl(tmp_path, "replay", "run", code=1)
    assert "was started from no file (python -c, standard input, a notebook); start it yourself with trainctl." in said


@NEEDS_ZEN
@pytest.mark.slow
def test_run_that_python_code_has_launched_says_how_it_is_replayed(tmp_path: Path) -> None:
    (tmp_path / "zen.py").write_text(TRAINING + ZEN_LAUNCH)
    first = run(tmp_path, "zen.py", str(["lr=0.3", "+trainctl.panel.enabled=false", *RECORDED])).split()[0]
    assert files.read_mapping(tmp_path / "run" / "run.yaml")["takes_overrides"] is False
    said = trainctl(tmp_path, "replay", "run", "--verify", code=1)
    assert "was started by Python code, such as hydra_zen.launch, and not by its command line" in said
    overrides = ast.literal_eval(said.partition("overrides=")[2].strip())
    assert run(tmp_path, "zen.py", str([*overrides, "hydra.run.dir=again"])).split()[0] == first
    assert not (tmp_path / "outputs").exists()


@NEEDS_ZEN
@pytest.mark.slow
def test_functions_that_hydra_zen_launches_in_a_loop_have_their_own_results(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(ZEN_LOOP)
    lines = [line for line in run(tmp_path, "loop.py").splitlines() if line.startswith("[[")]
    assert lines == ["[[1, 2], [2, 3], [3, 4]]", "[[1, 2], [2, 3]]", "[[5, 5], [6, 6]]"]
