"""A job is taken for done only where the same program and task function have done it with the same environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import hydra.experimental.callbacks
import pytest

from trainctl.config import yaml

PICKLES = hasattr(hydra.experimental.callbacks, "PickleJobInfoCallback")  # Hydra 1.3
CLI = ["-c", "from trainctl.cli import main; main()"]
HERE = Path(__file__).parent
CONFIG = "defaults: [trainctl, _self_]\nlr: 0.1\ntrainctl: {panel: {enabled: false}}\n"
TRAIN = """
import os, hydra

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg): return "NAME" + os.environ.get("DATA", "")

if __name__ == "__main__": main()
"""
TWO_FUNCTIONS = """
import hydra

@hydra.main(version_base=None, config_path=".", config_name="config")
def train(cfg): return "trained"

@hydra.main(version_base=None, config_path=".", config_name="config")
def evaluate(cfg): return "evaluated"

if __name__ == "__main__":
    train()
    evaluate()
"""
# what hydra-zen's `launch` does: Hydra as a library, again and again in one process
LOOP = """
import sys
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.global_hydra import GlobalHydra

def launch(task, *overrides):
    search = create_automatic_config_search_path(__file__, None, ".")
    hydra = Hydra.create_main_hydra2(task_name="loop", config_search_path=search)
    try:
        (jobs,) = hydra.multirun("plain", task, ["hydra/launcher=slots", *overrides])
    finally:
        GlobalHydra.instance().clear()
    return [job.return_value for job in jobs]

if __name__ == "__main__":
    for number in range(3):
        print(launch(lambda cfg: cfg.x + number, "x=1,2", *sys.argv[1:]))
"""


# one named task function, whose returns a caller of Hydra as a library gets
RETURNS = (
    LOOP[: LOOP.index("if __name__")]
    + """
import numpy as np

def returning(cfg):
    return {1: (0.5, [np.float32(0.25)], np.arange(3)), 2: {1, 2}, 3: np.str_("a")}[cfg.x]

if __name__ == "__main__":
    print(launch(returning, "x=1,2,3", "hydra.sweep.dir=kept"))
"""
)


def start(project: Path, *arguments: str) -> str:
    """Run a program to its success and return what it said."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=project, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def value(path: Path) -> object:
    return yaml.loads((path / "result.yaml").read_text())["value"]


def program(path: Path, source: str = TRAIN) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(source.replace("NAME", path.parent.name))
    (path.parent / "config.yaml").write_text(CONFIG)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    return path


@pytest.mark.slow
def test_program_of_the_same_name_elsewhere_is_another_one(project: Path) -> None:
    program(project / "a" / "train.py")
    program(project / "b" / "train.py")
    start(project, "a/train.py", "-m", "lr=0.1")
    said = start(project, "b/train.py", "-m", "lr=0.1")
    assert "Lr_0.1.2 on slot cpu; Lr_0.1 is of another program, a/train.py (this is b/train.py)" in said
    runs = project / "outputs" / "train"
    assert (value(runs / "Lr_0.1"), value(runs / "Lr_0.1.2")) == ("a", "b")
    shutil.move(project, project.with_name("moved"))
    for name in ("a", "b"):
        assert "1 skipped" in start(project.with_name("moved"), f"{name}/train.py", "-m", "lr=0.1")


@pytest.mark.slow
def test_functions_of_one_program_have_runs_of_their_own(project: Path) -> None:
    program(project / "train.py", TWO_FUNCTIONS)
    said = start(project, "train.py", "-m", "lr=0.1", "hydra.launcher.start=spawn")
    assert "Lr_0.1 is of another task function, train (this is evaluate)" in said
    runs = project / "outputs" / "train"
    assert (value(runs / "Lr_0.1"), value(runs / "Lr_0.1.2")) == ("trained", "evaluated")
    assert start(project, "train.py", "-m", "lr=0.1").count("SKIP") == 2


@pytest.mark.slow
def test_environment_that_a_job_sets_tells_it_apart(project: Path) -> None:
    program(project / "train.py")
    name = "hydra.job.env_set.DATA"
    for chosen in ("x", "y", "x"):
        said = start(project, "train.py", "-m", "lr=0.1", f"+{name}={chosen}")
    assert "SKIP  1/1 outputs/train/Lr_0.1:" in said
    runs = project / "outputs" / "train"
    assert (value(runs / "Lr_0.1"), value(runs / "Lr_0.1.2")) == ("projectx", "projecty")
    assert "Lr_0.1 had another hydra.job.env_set" in start(project, "train.py", "-m", "lr=0.1")
    excluded = f"trainctl.identity.exclude=[{name}]"
    assert "1 skipped" in start(project, "train.py", "-m", "lr=0.1", f"+{name}=z", excluded)


@pytest.mark.slow
@pytest.mark.parametrize("sweep_dir", ["multirun/${now:%Y}", "kept"])  # the same for all launchers of a year
def test_function_without_a_name_is_never_taken_for_another(project: Path, sweep_dir: str) -> None:
    (project / "loop.py").write_text(LOOP)
    (project / "plain.yaml").write_text("x: 0\n")
    for _ in range(2):
        said = start(project, "loop.py", f"hydra.sweep.dir={sweep_dir}")
        assert re.findall(r"\[\d, \d\]", said) == ["[1, 2]", "[2, 3]", "[3, 4]"]
        assert "SKIP" not in said
    assert len(list(project.glob("*/multirun.yaml"))) == (sweep_dir == "kept")
    assert len(list(project.glob("multirun/*/multirun.yaml"))) == (0 if sweep_dir == "kept" else 6)


@pytest.mark.slow
def test_sweep_that_does_not_resume_runs_what_it_is_given(project: Path) -> None:
    program(project / "train.py")
    start(project, "train.py", "-m", "lr=0.1")
    said = start(project, "train.py", "-m", "lr=0.1,0.1", "hydra.launcher.resume=false")
    assert "Lr_0.1.2 on slot cpu; Lr_0.1 is of an earlier sweep (hydra.launcher.resume=false)\n" in said
    assert "2 jobs: 1 done, 1 skipped" in said  # equal jobs of one sweep run once all the same
    assert "Lr_0.1.3 on slot" in start(project, "train.py", "-m", "lr=0.1", "hydra.launcher.resume=false")
    assert "SKIP  1/1 outputs/train/Lr_0.1: finished earlier" in start(project, "train.py", "-m", "lr=0.1")


@pytest.mark.slow
def test_retry_of_a_sweep_that_does_not_resume_goes_on_where_it_was(app: Any) -> None:
    app.run("x=1")
    (app.path / "ran.txt").write_text("")
    done = app.run("x=1", "mode=second_time", "hydra.launcher.resume=false", "hydra.launcher.retries=1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"START 1/1 sweep/0\.2 on slot \w+, attempt 2", done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(("resume", "skipped"), [("auto", 0), ("true", 1), ("false", 0)])
def test_sweep_dir_with_the_time_in_its_name_is_shared_on_request_only(
    project: Path, resume: str, skipped: int
) -> None:
    program(project / "train.py")
    dated = ["hydra.sweep.dir=multirun/${now:%Y}", f"hydra.launcher.resume={resume}"]
    start(project, "train.py", "-m", "lr=0.1", *dated)
    assert start(project, "train.py", "-m", "lr=0.1", *dated).count("SKIP") == skipped
    assert len(list(project.glob("multirun/*/multirun.yaml"))) == 2 - skipped


def test_other_words_for_resume_are_refused(project: Path) -> None:
    program(project / "train.py")
    command = [sys.executable, "train.py", "-m", "lr=0.1", "hydra.launcher.resume=never"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "hydra.launcher.resume must be auto, true or false but got 'never'" in done.stderr


@pytest.mark.slow
def test_code_that_has_changed_is_said_of_a_skipped_job(project: Path) -> None:
    program(project / "train.py")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "train.py"], ["commit", "-qm", "first", "--no-verify"]):
        subprocess.run([*git, *command], cwd=project, check=True)
    start(project, "train.py", "-m", "lr=0.1")
    assert "code" not in start(project, "train.py", "-m", "lr=0.1")
    (project / "train.py").write_text(TRAIN.replace("NAME", "new"))
    sha = subprocess.run([*git, "rev-parse", "HEAD"], cwd=project, check=True, capture_output=True, text=True).stdout
    expected = f"finished earlier; the code has changed since {sha[:7]}; hydra.launcher.rerun=all runs it again"
    assert expected in start(project, "train.py", "-m", "lr=0.1")


@pytest.mark.slow
def test_skipped_job_returns_what_it_returned_or_says_that_it_cannot(project: Path) -> None:
    (project / "loop.py").write_text(RETURNS)
    (project / "plain.yaml").write_text("x: 0\n")
    first, again = start(project, "loop.py"), start(project, "loop.py")
    same = "(0.5, [np.float32(0.25)], array([0, 1, 2]))"
    assert f"[{same}, {{1, 2}}, np.str_('a')]" in first
    assert f"[{same}, None, 'a']" in again
    assert "SKIP  1/3 kept/0: finished earlier\n" in again
    assert "kept/1: finished earlier; its return value could not be stored, so None is given back\n" in again
    lost = "its return value is given back as plain Python, since numpy.str_ cannot be restored"
    assert f"kept/2: finished earlier; {lost}\n" in again


@pytest.mark.skipif(PICKLES, reason="Hydra 1.3 repeats what it has pickled, elsewhere")
def test_rerun_by_hydra_1_4_is_a_further_attempt_in_the_same_directory(project: Path) -> None:
    program(project / "train.py")
    start(project, "train.py", "-m", "lr=0.1")
    run = project / "outputs" / "train" / "Lr_0.1"
    before = value(run)
    start(project, "train.py", "--experimental-rerun", str(run))
    assert "attempt: 2" in (run / "status.yaml").read_text()
    assert value(run) == before
    assert "SKIP  1/1 outputs/train/Lr_0.1: finished earlier\n" in start(project, "train.py", "-m", "lr=0.1")


@pytest.mark.slow
@pytest.mark.skipif(not PICKLES, reason="Hydra 1.4 repeats a run in its own directory")
@pytest.mark.parametrize("flag", ["--experimental-rerun=", "--exp "])
def test_rerun_by_hydra_leaves_the_run_that_it_repeats_as_it_is(project: Path, flag: str) -> None:
    program(
        project / "train.py",
        TRAIN.replace("main(cfg): ", "main(cfg): trainctl.live(cfg).step(); ").replace(
            "hydra\n", "hydra, trainctl\n", 1
        ),
    )
    pickling = "hydra.experimental.callbacks.PickleJobInfoCallback"
    sweep = ["train.py", "-m", "lr=0.1", f"+hydra.callbacks.pickling._target_={pickling}"]
    start(project, *sweep)
    run = project / "outputs" / "train" / "Lr_0.1"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.suffix != ".log"}
    for name in ("Lr_0.1.rerun", "Lr_0.1.rerun.2"):
        start(project, "train.py", *f"{flag}{run / '.hydra' / 'config.pickle'}".split())
        assert "state: done" in (run.with_name(name) / "status.yaml").read_text()
    assert {path: path.read_bytes() for path in before} == before
    assert "SKIP  1/1 outputs/train/Lr_0.1: finished earlier\n" in start(project, *sweep)


# -- runs of the time when the identity was a hash of the config alone -------------------------------------------------


def earlier_run(project: Path) -> Path:
    """Put a run there as the launcher made it then."""
    run = project / "outputs" / "train" / "Lr_0.1"
    (run / ".hydra").mkdir(parents=True)
    for name in ("run.yaml", "status.yaml", "result.yaml", "hydra.yaml"):
        text = (HERE / "earlier_run" / name).read_text().replace("{project}", str(project))
        (run / (".hydra" if name == "hydra.yaml" else "") / name).write_text(text)
    return run


@pytest.mark.slow
def test_earlier_run_of_the_same_program_is_recognised_once(project: Path) -> None:
    program(project / "train.py")
    run = earlier_run(project)
    before = yaml.loads((run / "run.yaml").read_text())
    assert "Lr_0.1.2" in start(project, "train.py", "-m", "lr=0.1", "+hydra.job.env_set.DATA=x")
    assert "SKIP  1/1 outputs/train/Lr_0.1: finished earlier" in start(project, "train.py", "-m", "lr=0.1")
    after = yaml.loads((run / "run.yaml").read_text())
    assert after["program"]["function"] == "main"
    assert {**before, "identity": after["identity"], "program": after["program"]} == after
    (project / "train.py").write_text(TWO_FUNCTIONS.replace("    train()\n", ""))
    assert "Lr_0.1 is of another task function, main (this is evaluate)" in start(project, "train.py", "-m", "lr=0.1")
    assert value(run) == "earlier"


def test_earlier_run_that_was_interrupted_goes_on_where_it_was(project: Path) -> None:
    program(project / "train.py")
    run = earlier_run(project)
    (run / "result.yaml").unlink()
    said = start(project, "train.py", "-m", "lr=0.1")
    assert "START 1/1 outputs/train/Lr_0.1 on slot cpu, attempt 2" in said
    assert value(run) == "project"
    assert yaml.loads((run / "run.yaml").read_text())["program"]["name"] == "train.py"


def test_earlier_run_of_another_program_is_left_alone(project: Path) -> None:
    program(project / "train.py")
    program(project / "b" / "train.py")
    run = earlier_run(project)
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    said = start(project, "b/train.py", "-m", "lr=0.1")
    script = os.path.realpath(project / "b" / "train.py")
    assert f"Lr_0.1 is of another program, {project / 'train.py'} (this is {script})" in said
    assert value(run.with_name("Lr_0.1.2")) == "b"
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files


@pytest.mark.slow
def test_commands_of_another_config_file_are_another_program(project: Path) -> None:
    for name in ("a", "b"):
        (project / name).mkdir()
        text = CONFIG + f"commands: {{train: 'echo {name} > ${{run_dir:}}/said'}}\n"
        (project / name / "params.yaml").write_text(text)
        said = start(project, *CLI, "run", "--config", f"{name}/params.yaml", "-m", "lr=0.1")
    assert "Lr_0.1 is of another program, a/params.yaml (this is b/params.yaml)" in said
    runs = project / "outputs" / "params"
    assert [(runs / name / "said").read_text() for name in ("Lr_0.1", "Lr_0.1.2")] == ["a\n", "b\n"]
    assert "1 skipped" in start(project, *CLI, "run", "--config", "b/params.yaml", "-m", "lr=0.1")
