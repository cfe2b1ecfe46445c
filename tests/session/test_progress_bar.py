"""The bar of `live.track`: on a terminal, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pseudo_terminal import on_terminal

TRAINING = """
import sys
from omegaconf import OmegaConf
import trainctl

live = trainctl.live(OmegaConf.create({"n": 1}), run_dir="run")
for _ in live.track(range(50)):
    live.log(loss=0.5 / live.step_number, note="x")
print("over")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(TRAINING)
    return path


def test_terminal_shows_steps_rate_and_latest_metrics(script: Path) -> None:
    written = on_terminal([sys.executable, script.name], script.parent, columns=100)
    *_, last, over = written.replace("\r\n", "\n").replace("\r", "\n").strip().split("\n")
    assert over == "over"
    assert "100% ████████████████████████ 50/50  " in last
    assert last.endswith("/s  loss 0.01")
    assert len(last) < 100


def test_pipe_shows_nothing(script: Path) -> None:
    command = [sys.executable, script.name]
    done = subprocess.run(command, cwd=script.parent, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("over\n", "")


@pytest.mark.parametrize("arguments", [["hydra/launcher=slots", "hydra.launcher.slots=1", "-m"], []])
def test_bar_is_in_no_log_and_not_in_a_job_of_the_launcher(task: Any, arguments: list[str]) -> None:
    written = on_terminal([sys.executable, "app.py", *arguments], task.path, columns=100)
    log = task.only_run().log.read_text()
    assert "begin 0.1" in log
    assert "█" not in log
    assert ("█" in written) == (not arguments)
