"""The examples run as their docstrings say, on real data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainctl.config.changelog import loads
from trainctl.config.yaml import loads as read
from trainctl.run.events import read_events
from trainctl.run.inbox import file_request
from trainctl.run.rundir import RunDir

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


def run_example(name: str, cwd: Path, *overrides: str) -> RunDir:
    """Run an example in `cwd/run` until it ends."""
    command = [sys.executable, str(EXAMPLES / name), "hydra.run.dir=run", "trainctl.panel.enabled=false", *overrides]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False, env=environment)
    assert done.returncode == 0, f"{command} ended {done.returncode}\n{done.stdout}\n{done.stderr}"
    return RunDir.at(cwd / "run")


def asked_beforehand(cwd: Path, *requests: dict[str, Any]) -> None:
    """File requests for a run that has not begun yet, so that each is there at its step on any machine."""
    run = RunDir.at(cwd / "run")
    run.create()
    for request in requests:
        file_request(run, request.pop("edits", {}), via="test", **request)


def metric(run: RunDir, name: str) -> dict[int, Any]:
    records = map(json.loads, run.metrics.read_text().splitlines())
    return {record["step"]: record[name] for record in records if name in record}


def answers(run: RunDir) -> list[tuple[str, int | None]]:
    return [(event.state, event.step) for event in read_events(run) if event.is_final]


class TestTorchDigits:
    @pytest.fixture(autouse=True)
    def needs_torch(self) -> None:
        pytest.importorskip("torch", reason="PyTorch is not installed")

    def test_learns_digits_with_edits_under_its_cosine(self, tmp_path: Path) -> None:
        asked_beforehand(tmp_path, {"edits": {"optim.lr": 0.005, "model.dropout": 0.3}, "at": 151})
        run = run_example("torch_digits.py", tmp_path)
        assert answers(run) == [("applied", 151)]
        rates = metric(run, "lr")
        assert rates[1] == 0.01
        assert rates[151] == pytest.approx(0.0025)  # half of the way down, and half of it
        assert len(rates) == 300
        assert read(run.result.read_text())["value"] > 0.9

    def test_goes_on_from_a_checkpoint_as_though_it_had_not_been_stopped(self, tmp_path: Path) -> None:
        edit = {"edits": {"optim.lr": 0.02, "optim.weight_decay": 0.05}, "at": 30}
        whole, stopped = tmp_path / "whole", tmp_path / "stopped"
        asked_beforehand(whole, dict(edit))
        asked_beforehand(stopped, dict(edit), {"action": "checkpoint", "at": 40}, {"action": "stop", "at": 45})
        settings = ["steps=80", "trainctl.seed=7"]
        expected = metric(run_example("torch_digits.py", whole, *settings), "loss")
        run = run_example("torch_digits.py", stopped, *settings)
        assert max(metric(run, "loss")) == 45
        assert (run.path / "checkpoint.pt").exists()
        resumed = metric(run_example("torch_digits.py", stopped, *settings), "loss")
        assert resumed == expected
        changelog = loads(run.changelog.read_text(), source="run")
        assert [edit.step for edit in changelog.edits] == [30]
