"""Which directory a job gets when it is not the first that wants the name."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainctl.errors import RunDirError
from trainctl.launch.claim import find_claim
from trainctl.run import files
from trainctl.run.rundir import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir.at(tmp_path / "Norm_new")
    run.create()
    return run


def test_job_killed_before_its_record_was_written_keeps_its_directory(run: RunDir) -> None:
    run.lock.touch()
    (run.path / ".run.yaml.4242.tmp").write_text("name: Norm_n")
    assert find_claim(run.path, "abc").run == run


@pytest.mark.parametrize("name", ["model.pt", ".run.yaml.tmp", ".model.pt.4242.tmp", "status.yaml"])
def test_directory_with_something_in_it_is_passed_over(run: RunDir, name: str) -> None:
    (run.path / name).touch()
    assert find_claim(run.path, "abc").run.name == "Norm_new.2"


def test_directory_of_another_job_is_passed_over(run: RunDir) -> None:
    files.write_yaml(run.run, {"identity": "other"})
    assert find_claim(run.path, "abc").run.name == "Norm_new.2"
    assert find_claim(run.path, "other").run == run


def test_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Norm_new").touch()
    with pytest.raises(RunDirError, match="Norm_new' is to be a run dir, but a file stands there; move it away"):
        find_claim(tmp_path / "Norm_new", "abc")
