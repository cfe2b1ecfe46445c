"""Configs of MLflow runs, from a real server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from earlier_runs import Compose
from hydra.errors import HydraException
from mlflow_server import serving
from omegaconf import OmegaConf

from trainctl.config import yaml
from trainctl.errors import SourceError
from trainctl.sources.kinds import read_source

pytest.importorskip("mlflow")

LOGGED = """
import sys
from mlflow.tracking import MlflowClient
client = MlflowClient()
plain, typed = (client.create_run("0").info.run_id for _ in range(2))
params = {"lr": 0.5, "steps": 20, "betas": [1, 0.25], "verbose": True, "name": None, "norm.momentum": 1,
          "model/width": 16, "api_key": "OMITTED", "out": "/there"}
for key, value in params.items():
    client.log_param(plain, key, value)
client.log_param(typed, "lr", 0.5)
client.log_text(typed, "lr: 1.0\\nname: '7'\\nhydra: {job: 1}\\n", "trainctl/config.yaml")
print(plain, typed)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture(scope="module")
def runs(server: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The ids of a run with params alone, and of one with the artifact that trainctl writes too."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server}
    logged = subprocess.run(
        [sys.executable, "-c", LOGGED], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return logged.stdout.split()[-2:]


@pytest.fixture
def tracked(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)


@pytest.mark.slow
@pytest.mark.usefixtures("tracked")
def test_params_are_texts_that_become_what_the_config_has(runs: list[str], made: Compose) -> None:
    config = made(f"+from=mlflow/{runs[0]}", "steps=3")
    assert (config.lr, config.steps, config.betas, config.verbose, config.name) == (0.5, 3, [1, 0.25], True, None)
    assert (type(config.norm.momentum), config.norm.momentum, config.model.width) == (float, 1.0, 16)
    assert config.api_key == "from the target"
    assert OmegaConf.to_container(config)["out"] == "${hydra:runtime.output_dir}/checkpoints"  # not where that run was


@pytest.mark.usefixtures("tracked")
def test_typed_copy_that_trainctl_left_there_comes_first(runs: list[str], made: Compose) -> None:
    config = made(f"+from=mlflow/{runs[1]}")
    assert (config.lr, config.name) == (1.0, "7")


@pytest.mark.usefixtures("tracked")
def test_run_that_is_not_there_is_refused_in_one_sentence(made: Compose, server: str) -> None:
    with pytest.raises(HydraException, match=rf"^\+from=mlflow/none: run none cannot be read from {server}, nothing"):
        made("+from=mlflow/none")


def test_server_that_nobody_answers_on_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(SourceError, match=rf"run 1a2b cannot be read from {address}, nothing was loaded: "):
            read_source("mlflow/1a2b")


@pytest.mark.usefixtures("tracked")
def test_pull_writes_a_run_of_a_server_down(runs: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from trainctl.cli import main; main()", "pull", f"mlflow/{runs[1]}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines()[0] == "# @package _global_"
    assert done.stdout.splitlines()[1].startswith(f"# pulled from mlflow/{runs[1]}: run {runs[1]} on http://127.0.0.1:")
    assert yaml.loads(done.stdout) == {"lr": 1.0, "name": "7"}
