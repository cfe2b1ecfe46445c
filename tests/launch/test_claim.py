"""Which directory a job gets when it is not the first that wants the name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from trainctl.errors import RunDirError
from trainctl.launch.local.claim import find_claim
from trainctl.rundir import files
from trainctl.rundir.job_identity import JobIdentity
from trainctl.rundir.paths import RunDir
from trainctl.rundir.program import Program


def job(lr: float = 0.1, script: str = "/p/train.py", function: str | None = "main", **env: str) -> JobIdentity:
    name = script.removeprefix("/p/").removeprefix("/q/")
    config = OmegaConf.create({"lr": lr, "hydra": {"job": {"env_set": env}}})
    return JobIdentity.of(config, [], Program(name, script, function), only="a token")


def recorded(run: RunDir, own: JobIdentity, **status: Any) -> None:
    run.create()
    files.write_yaml(run.run, own.record(run))


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir.at(tmp_path / "Norm_new")
    run.create()
    return run


def test_job_killed_before_its_record_was_written_keeps_its_directory(run: RunDir) -> None:
    run.lock.touch()
    (run.path / ".run.yaml.4242.tmp").write_text("name: Norm_n")
    assert find_claim(run.path, job()).run == run


@pytest.mark.parametrize("name", ["model.pt", ".run.yaml.tmp", ".model.pt.4242.tmp", "status.yaml"])
def test_directory_with_something_in_it_is_passed_over(run: RunDir, name: str) -> None:
    (run.path / name).touch()
    assert find_claim(run.path, job()).run.name == "Norm_new.2"


def test_directory_of_another_config_is_passed_over(run: RunDir) -> None:
    recorded(run, job(lr=0.2))
    claim = find_claim(run.path, job(lr=0.1))
    assert (claim.run.name, claim.passed) == ("Norm_new.2", "Norm_new differs in a value that is not recorded")
    assert find_claim(run.path, job(lr=0.2)).run == run


def test_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Norm_new").touch()
    with pytest.raises(RunDirError, match="Norm_new' should be a run dir, but it is a file; move it away"):
        find_claim(tmp_path / "Norm_new", job())


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (job(script="/p/b/train.py"), "is of another program, train.py (this is b/train.py)"),
        (job(function="evaluate"), "is of another task function, main (this is evaluate)"),
        (job(DATA="b"), "had another hydra.job.env_set"),
        (job(function=None), "cannot be told from this job, whose task function has no name to import it by"),
    ],
)
def test_directory_of_another_program_function_or_environment_is_passed_over_and_says_so(
    run: RunDir, other: JobIdentity, why: str
) -> None:
    recorded(run, job())
    claim = find_claim(run.path, other)
    assert (claim.run.name, claim.passed) == ("Norm_new.2", f"Norm_new {why}")


def test_program_elsewhere_is_another_one_while_the_first_is_still_there(tmp_path: Path) -> None:
    one, two = tmp_path / "one" / "train.py", tmp_path / "two" / "train.py"
    for script in (one, two):
        script.parent.mkdir()
        script.touch()
    run = RunDir.at(tmp_path / "sweep" / "Lr_0.1")
    config = OmegaConf.create({"lr": 0.1})
    own, moved = (JobIdentity.of(config, [], Program("train.py", str(each), "main")) for each in (one, two))
    recorded(run, own)
    assert find_claim(run.path, moved).passed == f"Lr_0.1 is of another program, {one} (this is {two})"
    one.unlink()
    assert find_claim(run.path, moved).run == run


def test_project_that_is_copied_with_its_sweep_knows_its_runs(tmp_path: Path) -> None:
    script = tmp_path / "one" / "train.py"
    script.parent.mkdir()
    script.touch()
    run = RunDir.at(tmp_path / "one" / "outputs" / "Lr_0.1")
    config = OmegaConf.create({"lr": 0.1})
    recorded(run, JobIdentity.of(config, [], Program("train.py", str(script), "main")))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    copied = JobIdentity.of(config, [], Program("train.py", str(tmp_path / "two" / "train.py"), "main"))
    claim = find_claim(tmp_path / "two" / "outputs" / "Lr_0.1", copied)
    assert claim.run.name == "Lr_0.1"
