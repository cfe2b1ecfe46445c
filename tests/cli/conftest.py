"""The command line as a process, and a process that trains."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from made import CLI, PATIENT, TRAINER, Answer, Cli
from waiting import wait_until

from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}


@pytest.fixture
def cli(tmp_path: Path, environment: dict[str, str]) -> Cli:
    def call(*arguments: str, is_patient: bool = False) -> Answer:
        command = [*(PATIENT if is_patient else CLI), *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    return call


@pytest.fixture
def trainer(tmp_path: Path, environment: dict[str, str]) -> Iterator[RunDir]:
    """A run that trains until the test is over."""
    (tmp_path / "trainer.py").write_text(TRAINER)
    run = RunDir.at(tmp_path / "outputs" / "train" / "Norm_new")
    command = [sys.executable, "trainer.py", str(run.path)]
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        try:
            wait_until(lambda: run.progress.exists() and "step" in files.read_mapping(run.progress))
            yield run
        finally:
            (tmp_path / "stop").touch()
            try:
                process.wait(60)
            finally:
                process.kill()
